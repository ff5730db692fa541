"""What a data set says about one target: its name, where its values are, and what kind of thing it is."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, field_validator

from mace_app.options.base import Options, shown
from mace_app.options.errors import Problem, listed, nearest, refuse
from mace_app.options.fields import option
from mace_app.options.target_info import TargetInfo

# metatomic's standard quantities. Those with a fixed layout: (sample kind, rank).
STANDARD_LAYOUTS: dict[str, tuple[str, int]] = {
    "energy": ("system", 0),
    "non_conservative_force": ("atom", 1),
    "non_conservative_stress": ("system", 2),
    "charge": ("atom", 0),
    "mass": ("atom", 0),
    "momentum": ("atom", 1),
    "position": ("atom", 1),
    "velocity": ("atom", 1),
    "spin_multiplicity": ("system", 0),
    "heat_flux": ("system", 1),
}
STANDARD_NAMES = (*STANDARD_LAYOUTS, "feature")
_PLURALS = {
    "energies": "energy",
    "non_conservative_forces": "non_conservative_force",
    "non_conservative_stresses": "non_conservative_stress",
    "charges": "charge",
    "masses": "mass",
    "momenta": "momentum",
    "positions": "position",
    "velocities": "velocity",
    "features": "feature",
}
_DERIVATIVES = {"force": "forces", "forces": "forces", "stress": "stress", "virial": "virial", "virials": "virial"}
FILE_ENDINGS = (".xyz", ".extxyz", ".traj", ".db", ".mts", ".zip", ".cfg", ".vasp", ".cif")


def current_name(name: str) -> str:
    """A target's name with an outdated plural replaced: ``charges`` is ``charge`` today."""
    return _PLURALS.get(name, name)


def name_problem(name: str) -> str | None:
    """What is wrong with a target's name, in a sentence; None when it is fine."""
    if name.startswith("mtt::"):
        return _own_name_problem(name)
    if "::" in name:
        return f"`{name}` has a prefix other than `mtt::`; write `mtt::{name.split('::', 1)[1]}`."
    base, *variant = name.split("/")
    if base in _DERIVATIVES:
        kind = _DERIVATIVES[base]
        direct = "non_conservative_stress" if kind != "forces" else "non_conservative_force"
        return (
            f"`{name}` is no target of its own: write `{kind}:` inside the energy it is the derivative of, or "
            f"`{direct}` if the model shall predict it directly."
        )
    if base == "feature":
        return f"`{name}` can't be trained on: features are something an exported model offers by itself."
    if base in STANDARD_LAYOUTS:
        if len(variant) > 1 or any(not re.fullmatch(r"[A-Za-z0-9_+\-]+", part) for part in variant):
            return f"`{name}` has a variant that can't be used; write `{base}/` and letters, digits, `_`, `+` or `-`."
        return None
    close = nearest(base, STANDARD_NAMES)
    instead = f"did you mean `{close}`? Otherwise write" if close else "write"
    return f"`{name}` is no standard quantity; {instead} `mtt::{name}`."


def _own_name_problem(name: str) -> str | None:
    own = name.removeprefix("mtt::")
    if own.startswith("aux::"):
        return f"`{name}` is reserved for what exported models offer by themselves; choose a name without `aux::`."
    if not re.fullmatch(r"[A-Za-z0-9_+\-./]+", own):
        return f"`{name}` can't be used; after `mtt::` write letters, digits, `_`, `+`, `-`, `.` or `/`."
    if own.endswith((".forces", ".stress")):
        return f"`{name}` would be mistaken for the derivative of an energy; choose another ending."
    return None


class GradientOptions(Options):
    """Where the forces, stress or virial of an energy are."""

    key: str | None = option(
        None,
        title="Key",
        section="Source",
        help="The name under which the values stand in the file; empty means the usual one.",
        explanation=(
            "For extended xyz files this is a column or an entry of the comment line, for example `REF_forces`."
        ),
    )
    read_from: str | None = option(
        None,
        title="File",
        section="Source",
        widget="path",
        help="The file with the values; empty means the file of the structures.",
        explanation="It must hold one frame for each structure, in the same order and with the same atoms.",
    )


class CartesianRank(Options):
    rank: int = option(
        title="Rank",
        section="Type",
        ge=1,
        le=2,
        help=(
            "How many directions one value has: 1 for a vector such as a dipole, 2 for a tensor such as a "
            "polarisability."
        ),
        explanation=(
            "A tensor of rank 2 has nine entries, in the file as 3×3 or in one row xx, xy, xz, yx, … Higher ranks can "
            "be given as spherical targets."
        ),
    )
    symmetric: bool | None = option(
        None,
        title="Symmetric",
        section="Type",
        help="Whether a tensor of rank 2 equals its transpose; empty lets the data decide.",
        explanation=(
            "A polarisability or a stress is symmetric: six independent numbers, made of `0e` and `2e` features. A "
            "general tensor has an antisymmetric part too, which needs `1e` among the features of the model."
        ),
    )

    def problems(self) -> list[Problem]:
        if self.symmetric is not None and self.rank != 2:
            return [Problem(("symmetric",), "`symmetric` belongs to tensors of rank 2; remove it.")]
        return []


class CartesianType(Options):
    cartesian: CartesianRank = option(
        title="Cartesian",
        section="Type",
        help="A vector or tensor in x, y, z.",
        explanation="Values turn with the structure. The features of the model must hold the matching irreps.",
    )


class SphericalIrrep(Options):
    o3_lambda: int = option(
        title="Angular momentum",
        section="Type",
        ge=0,
        le=11,
        help="l of the block.",
        explanation="A block has 2l + 1 components in the order m = −l…l.",
    )
    o3_sigma: Literal[1, -1] = option(
        title="Inversion",
        section="Type",
        help="1 for a proper tensor, −1 for a pseudo-tensor.",
        explanation="The parity of the block is σ(−1)^l: a vector has l = 1 and σ = 1.",
    )
    num: int = option(
        1, title="Copies", section="Type", ge=1, help="How many blocks of this kind.", explanation="Usually one."
    )


class SphericalIrreps(Options):
    irreps: list[SphericalIrrep] = option(
        title="Irreps",
        section="Type",
        help="The blocks of the target.",
        explanation="One entry for each kind of block.",
    )

    @field_validator("irreps", mode="after")
    @classmethod
    def _different(cls, value: list[SphericalIrrep]) -> list[SphericalIrrep]:
        kinds = [(irrep.o3_lambda, irrep.o3_sigma) for irrep in value]
        if not kinds:
            raise refuse("`irreps` is empty; name at least one block, for example `{o3_lambda: 2, o3_sigma: 1}`.")
        repeated = next((kind for kind in kinds if kinds.count(kind) > 1), None)
        if repeated is not None:
            raise refuse(
                f"`o3_lambda: {repeated[0]}` with `o3_sigma: {repeated[1]}` is listed twice; use one entry with `num`."
            )
        return value

    product: None = option(
        None,
        title="Product",
        section="Type",
        help="How irreps are combined into a larger target.",
        explanation="metatrain can build products of irreps; here only the plain list exists.",
    )


class SphericalType(Options):
    spherical: SphericalIrreps = option(
        title="Spherical",
        section="Type",
        help="A tensor in real spherical components.",
        explanation=(
            "Blocks of 2l + 1 components in the standard real order m = −l…l (for l = 1: y, z, x). Several blocks "
            "stand in the file as one row, block after block, in each block the components slow and the copies fast."
        ),
    )


def _type(value: Any) -> Any:
    if value == "scalar" or isinstance(value, CartesianType | SphericalType):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        if "cartesian" in value:
            return CartesianType.model_validate(value)
        if "spherical" in value:
            return SphericalType.model_validate(value)
    raise refuse(
        "`type` must be `scalar`, `{cartesian: {rank: 1}}` or `{spherical: {irreps: [{o3_lambda: 2, o3_sigma: 1}]}}`; "
        f"it is {shown(value)}."
    )


def _gradient(name: str, value: Any) -> Any:
    """True becomes the usual key, text a key, a file name a file."""
    if value is None or value is False or isinstance(value, GradientOptions):
        return value
    if value is True:
        return GradientOptions(key=name)
    if isinstance(value, str):
        if not value.strip():
            raise refuse(f"`{name}` is empty; write the key, true or false.")
        is_file = PurePath(value).suffix.lower() in FILE_ENDINGS
        return GradientOptions(key=name, read_from=value) if is_file else GradientOptions(key=value)
    if isinstance(value, Mapping):
        reader = value.get("reader", "ase")
        if reader not in (None, "ase"):
            raise refuse(f"`{name}.reader: {shown(reader)}` is not built yet; files are read with ASE.")
        given = GradientOptions.model_validate({key: entry for key, entry in value.items() if key != "reader"})
        return given if given.key is not None else given.model_copy(update={"key": name})
    raise refuse(f"`{name}` must be true, false, a key or a mapping with `key`; it is {shown(value)}.")


GradientAsWritten = bool | str | GradientOptions | None
Type = Annotated[Literal["scalar"] | CartesianType | SphericalType, BeforeValidator(_type)]
Gradient = Literal[False] | GradientOptions | None
Forces = Annotated[Gradient, BeforeValidator(partial(_gradient, "forces"), json_schema_input_type=GradientAsWritten)]
Stress = Annotated[Gradient, BeforeValidator(partial(_gradient, "stress"), json_schema_input_type=GradientAsWritten)]
Virial = Annotated[
    Literal[False] | GradientOptions,
    BeforeValidator(partial(_gradient, "virial"), json_schema_input_type=bool | str | GradientOptions),
]


class TargetOptions(Options):
    """One target of one data set. ``forces`` and ``stress`` of None mean: used if found in the data."""

    hints: ClassVar[dict[str, str]] = {
        "name": "the name of a target is its key in `targets`.",
        "weight": "weights are given in `architecture.training.loss`.",
        "units": "it is called `unit`.",
    }

    quantity: str = option(
        "",
        title="Quantity",
        section="Meaning",
        help="`energy` for a target that forces and stress are derivatives of; otherwise free.",
        explanation=(
            "Only `energy` means something to the program. The target named `energy` is one without saying so; a "
            "target of another name becomes one, with forces and stress if the data hold them."
        ),
    )
    key: str | None = option(
        None,
        title="Key in the file",
        section="Source",
        help="The name under which the values stand in the file; empty means the name of the target.",
        explanation=(
            "A value per structure stands in the comment line of an extended xyz file, a value per atom in a column. "
            "MACE's data often use `REF_energy`, many others `energy`."
        ),
    )
    read_from: str | None = option(
        None,
        title="File",
        section="Source",
        widget="path",
        help="The file with the values; empty means the file of the structures.",
        explanation="It must hold one frame for each structure, in the same order and with the same atoms.",
    )
    unit: str = option(
        "",
        title="Unit",
        section="Meaning",
        help="The unit of the values in the file, for example `eV`.",
        explanation=(
            "Nothing is converted: the model predicts in the unit of the data. The unit is written into the exported "
            "model so that a simulation engine can convert, and an export without it is refused."
        ),
    )
    description: str = option(
        "",
        title="Description",
        section="Meaning",
        help="A few words for people, kept in the exported model.",
        explanation=(
            "Worth writing when there are several targets of the same quantity, for example the level of theory."
        ),
    )
    sample_kind: Literal["system", "atom"] = option(
        "system",
        title="One value per",
        section="Type",
        help="Whether there is one value for each structure or one for each atom.",
        explanation=(
            "A value per structure is the sum of atomic contributions. Partial charges and direct forces are values "
            "per atom."
        ),
    )
    type: Type = option(
        "scalar",
        title="Type",
        section="Type",
        help="A number, a vector (`{cartesian: {rank: 1}}`) or a tensor.",
        explanation=(
            "Scalars don't change when the structure turns; vectors such as a dipole turn with it, and the model "
            "guarantees that exactly. A vector needs `1o` among the features of the model, a tensor `0e` and `2e`."
        ),
    )
    aggregate: Literal["sum", "mean"] = option(
        "sum",
        title="Per structure as",
        section="Type",
        help="Whether the value of a structure is the sum or the mean of what its atoms contribute.",
        explanation=(
            "A sum suits what grows with the structure, such as a total energy or a dipole. A mean suits what does "
            "not, such as a band gap or a density. metatrain has sums only."
        ),
    )
    num_subtargets: int = option(
        1,
        title="Values",
        section="Type",
        ge=1,
        le=100_000,
        help="How many values of this kind belong to each sample.",
        explanation="For example the points of a spectrum. They share one head. An energy has exactly one.",
    )
    forces: Forces = option(
        None,
        title="Forces",
        section="Derivatives",
        help="The forces of an energy: a key, true (required), false (ignored), or empty (used if found).",
        explanation=(
            "Forces are the negative derivative of the energy and carry most of the information in a data set. Empty "
            "uses them if the data hold them, for targets that are energies by name or quantity; true or a key makes "
            "it an error if they are missing."
        ),
    )
    stress: Stress = option(
        None,
        title="Stress",
        section="Derivatives",
        help="The stress of an energy: a key, true (required), false (ignored), or empty (used if found).",
        explanation=(
            "Needed for simulations at constant pressure and for elastic properties. The sign is ASE's: positive under "
            "tension. Structures without periodic boundaries simply have none."
        ),
    )
    virial: Virial = option(
        False,
        title="Virial",
        section="Derivatives",
        help="The virial of an energy instead of its stress: a key, true or false.",
        explanation=(
            "The virial is the stress times the volume with the opposite sign, in the unit of the energy. Give it or "
            "the stress, not both. Errors are then reported per atom."
        ),
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A file name stands for ``read_from``; ``per_atom`` is an older way to write ``sample_kind``."""
        if isinstance(value, str):
            return {"read_from": value}
        if not isinstance(value, Mapping):
            return value
        expanded = dict(value)
        reader = expanded.pop("reader", None)
        if reader not in (None, "ase"):
            raise refuse(f"`reader: {shown(reader)}` is not built yet; labels are read with ASE.")
        if "per_atom" in expanded:
            per_atom = expanded.pop("per_atom")
            if not isinstance(per_atom, bool):
                raise refuse(f"`per_atom` must be true or false; it is {shown(per_atom)}.")
            kind = "atom" if per_atom else "system"
            if expanded.setdefault("sample_kind", kind) != kind:
                raise refuse(
                    f"`per_atom: {shown(per_atom)}` and `sample_kind: {expanded['sample_kind']}` contradict each other."
                )
        if expanded.get("sample_kind") == "atom_pair":
            raise refuse("`sample_kind: atom_pair` is not possible with MACE; use `system` or `atom`.")
        return expanded

    def problems(self) -> list[Problem]:
        found = []
        if self.aggregate == "mean" and self.sample_kind == "atom":
            found.append(Problem(("aggregate",), "`aggregate: mean` has no effect on a value per atom; remove it."))
        if self.stress and self.virial:
            found.append(Problem(("virial",), "`stress` and `virial` are the same information; give one of them."))
        return found

    def info(self, name: str) -> TargetInfo:
        """The target under its name, with "used if found" still undecided."""
        info = TargetInfo(
            name=name,
            quantity=self.quantity,
            unit=self.unit,
            description=self.description,
            sample_kind=self.sample_kind,
            type=self.type if isinstance(self.type, str) else self.type.model_dump(),
            num_subtargets=self.num_subtargets,
            stress_from_virial=bool(self.virial),
            aggregate=self.aggregate,
        )
        if info.rank == 2 and info.name.split("/")[0] == "non_conservative_stress":
            info = info.resolve(has_forces=False, has_stress=False, symmetric=True)
        automatic = name == "energy" or self.quantity == "energy"
        return replace(
            info,
            quantity="energy" if info.is_energy else self.quantity,
            has_forces=None if self.forces is None and automatic else bool(self.forces),
            has_stress=None
            if self.stress is None and automatic and not self.virial
            else bool(self.stress or self.virial),
        )


def target_problems(name: str, target: TargetOptions) -> list[Problem]:
    """What is wrong with a target that only shows together with its name; locs are relative to the target."""
    message = name_problem(name)
    if message is not None:
        return [Problem((), message)]
    info = target.info(name)
    base = "energy" if info.is_energy else name.split("/")[0]
    if base in STANDARD_LAYOUTS:
        sample_kind, rank = STANDARD_LAYOUTS[base]
        if info.sample_kind != sample_kind or info.rank != rank or (base == "energy" and info.num_subtargets > 1):
            shape = ["one number", "one vector (`type: {cartesian: {rank: 1}}`)", "one 3×3 tensor"][rank]
            return [
                Problem(
                    (),
                    f"`{name}` is by definition {shape} for each {sample_kind}: set `sample_kind: {sample_kind}` and "
                    "the type "
                    "to match, or choose a name of your own with `mtt::`.",
                )
            ]
    if info.is_energy:
        if target.aggregate == "mean":
            return [Problem(("aggregate",), f"`{name}` is an energy, which is a sum over atoms; leave it at `sum`.")]
        return []
    given = [kind for kind in ("forces", "stress", "virial") if getattr(target, kind)]
    return [
        Problem((kind,), f"`{name}` is no energy, so it has no {kind}; set `quantity: energy` if it is one.")
        for kind in given
    ]


def layout_difference(first: TargetInfo, second: TargetInfo) -> str | None:
    """The properties in which two definitions of the same target differ, or None."""
    names = ("quantity", "unit", "description", "sample_kind", "type", "num_subtargets", "aggregate")
    different = [name for name in names if getattr(first, name) != getattr(second, name)]
    return listed(different) if different else None
