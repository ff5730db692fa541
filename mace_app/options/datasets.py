"""Where structures come from and which targets they carry."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from mace_app.options.base import Options, shown
from mace_app.options.errors import Problem, listed, refuse
from mace_app.options.fields import option
from mace_app.options.target_info import TargetInfo
from mace_app.options.targets import TargetOptions, current_name, layout_difference, target_problems

LENGTH_UNITS = ("", "angstrom", "bohr", "nanometer")
ANGSTROM_PER_UNIT = {"": 1.0, "angstrom": 1.0, "bohr": 0.529177210903, "nanometer": 10.0}
DERIVATIVES = ("forces", "stress", "virial")
_LENGTH_ALIASES = {"å": "angstrom", "ang": "angstrom", "a": "angstrom", "nm": "nanometer", "au": "bohr", "a0": "bohr"}


class SystemsOptions(Options):
    """The file of structures."""

    hints: ClassVar[dict[str, str]] = {"path": "it is called `read_from`.", "file": "it is called `read_from`."}

    read_from: str = option(
        title="File",
        section="Source",
        widget="path",
        help="The file with the structures.",
        explanation=(
            "Any file that ASE reads, extended xyz first of all. A relative path starts from the folder in which the "
            "program was started."
        ),
    )
    reader: Literal["ase", "metatensor"] | None = option(
        None,
        title="Reader",
        section="Source",
        help="The library that reads the file; empty chooses by the ending of its name.",
        explanation="ASE reads nearly all formats of the field.",
        not_built_values={"metatensor": "files of metatensor come with a later version."},
    )
    length_unit: Literal["", "angstrom", "bohr", "nanometer"] = option(
        "",
        title="Unit of length",
        section="Source",
        help="The unit of positions and cells in the file, for example `angstrom`.",
        explanation=(
            "Nothing is converted: the model works in the unit of the data, and the cutoff is in it too. It is written "
            "into the exported model so that a simulation engine can convert. Empty is taken as Å."
        ),
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"read_from": value} if isinstance(value, str) else value

    @field_validator("read_from", mode="after")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise refuse("`read_from` is empty; name the file with the structures.")
        return value

    @field_validator("length_unit", mode="before")
    @classmethod
    def _usual_spellings(cls, value: Any) -> Any:
        if value is None:
            return ""
        lowered = value.strip().lower() if isinstance(value, str) else value
        return _LENGTH_ALIASES.get(lowered, lowered)


def checked_indices(value: Any) -> list[int] | str:
    """Positions of structures, or the name of a file with them; otherwise raises the error for the field."""
    if isinstance(value, str) and value.strip():
        return value
    if not isinstance(value, list | tuple) or not value:
        raise refuse(f"`indices` must be a list of whole numbers or the name of a file; it is {shown(value)}.")
    wrong = [entry for entry in value if isinstance(entry, bool) or not isinstance(entry, int) or entry < 0]
    if wrong:
        raise refuse(f"`indices` must hold whole numbers from 0 up; one is {shown(wrong[0])}.")
    if len(set(value)) != len(value):
        seen: set[int] = set()
        twice = next(entry for entry in value if entry in seen or seen.add(entry))  # type: ignore[func-returns-value]
        raise refuse(f"`indices` holds {twice} more than once; name every structure once.")
    return list(value)


class IndicesOptions(Options):
    """A validation or test set picked from the training file by position."""

    indices: list[Annotated[int, Field(ge=0)]] | str = option(
        title="Indices",
        section="Split",
        help="Positions in the training file, counted from 0: a list, or a text file with one in each line.",
        explanation="These structures are taken out of the training set. Useful to repeat a published split exactly.",
    )

    @field_validator("indices", mode="before")
    @classmethod
    def _list_or_file(cls, value: Any) -> Any:
        return checked_indices(value)


MASK_ENDINGS = {"_forces_mask": ".forces", "_stress_mask": ".stress", "_mask": ""}


class MaskOptions(Options):
    """Which values of a label count: true or 1 where they do."""

    hints: ClassVar[dict[str, str]] = {"read_from": "a mask stands beside the structures it belongs to."}

    key: str | None = option(
        None,
        title="Key in the file",
        section="Source",
        help="The name under which the mask stands in the file; empty means its own name.",
        explanation=(
            "True or 1 where a value of the label counts, false or 0 where it does not; one entry for each value, or "
            "one for each structure or atom."
        ),
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        """metatrain describes a mask like a target; its layout is that of the label, so the rest says nothing new."""
        if isinstance(value, str):
            return {"key": value}
        if not isinstance(value, Mapping):
            return value
        known = ("quantity", "unit", "description", "sample_kind", "per_atom", "type", "num_subtargets", "reader")
        return {name: entry for name, entry in value.items() if name not in known}


class DatasetOptions(Options):
    """One file of structures and what is to be learnt from it."""

    hints: ClassVar[dict[str, str]] = {"target": "it is called `targets`.", "read_from": "it belongs under `systems`."}

    systems: SystemsOptions = option(
        title="Structures",
        section="Source",
        help="The file with the structures.",
        explanation="A file name alone, or a mapping with `read_from` and `length_unit`.",
    )
    targets: dict[str, TargetOptions] = option(
        default_factory=lambda: {"energy": TargetOptions(key="energy")},
        title="Targets",
        section="Targets",
        help="What is to be learnt, by name.",
        explanation=(
            "A name is a standard one such as `energy`, `charge` or `non_conservative_force`, one with a variant such "
            "as `energy/pbe`, or your own after `mtt::`. Nothing is taken from a file that isn't named here, except "
            "forces and stress of an energy."
        ),
    )
    extra_data: dict[str, MaskOptions] = option(
        default_factory=dict,
        title="Masks",
        section="Targets",
        help="Which values of a target count: `<target>_mask`, `<target>_forces_mask` or `<target>_stress_mask`.",
        explanation=(
            "For labels of which only a part is known or wanted, such as the converged part of a spectrum. A mask goes "
            "with a masked loss (`masked_mse`, `masked_mae`, `masked_huber`). Values that are NaN need no mask."
        ),
    )
    indices: list[Annotated[int, Field(ge=0)]] | str | None = option(
        None,
        title="Indices",
        section="Source",
        help="Use only these structures of the file: a list of positions from 0, or a text file with one in each line.",
        explanation=(
            "Useful to repeat a published split exactly. Empty uses all structures. A validation or test set that is "
            "`{indices: [...]}` alone picks from the whole training file, whatever is chosen here."
        ),
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A file name alone stands for its structures and their energy."""
        return {"systems": value} if isinstance(value, str) else value

    @field_validator("targets", mode="before")
    @classmethod
    def _names_and_keys(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            raise refuse("`targets` must name at least one target, for example `targets: {energy: {key: energy}}`.")
        targets: dict[str, Any] = {}
        for written, entry in value.items():
            name = current_name(str(written))
            if name in targets:
                raise refuse(f"`{written}` is the old name of `{name}`, which is there too; remove one of them.")
            targets[name] = _with_key(name, {} if entry is None else entry)
        return targets

    @field_validator("targets", mode="after")
    @classmethod
    def _files_of_their_own(cls, value: dict[str, TargetOptions], info: ValidationInfo) -> dict[str, TargetOptions]:
        """A file is kept only where it is not the one that would be read anyway."""
        systems = info.data.get("systems")
        return {name: _without_usual_files(entry, systems and systems.read_from) for name, entry in value.items()}

    @field_validator("indices", mode="before")
    @classmethod
    def _some_structures(cls, value: Any) -> Any:
        return None if value is None else checked_indices(value)

    def label_files(self) -> dict[tuple[str, str], str]:
        """The files of labels that don't stand beside the structures: (target, ``""`` or ``forces``…) → path.

        A derivative without a file of its own is read from that of its energy.
        """
        files = {}
        for name, target in self.targets.items():
            for kind, source in (("", target), *((kind, getattr(target, kind)) for kind in DERIVATIVES)):
                if source and source.read_from is not None:
                    files[name, kind] = source.read_from
        return files

    @field_validator("extra_data", mode="before")
    @classmethod
    def _mask_names(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise refuse(
                f"`extra_data` must be a mapping such as `{{mtt::dos_mask: {{key: mask}}}}`; it is {shown(value)}."
            )
        return {str(name): _with_key(str(name), {} if entry is None else entry, True) for name, entry in value.items()}

    def masks(self) -> dict[str, str]:
        """Label → key of its mask."""
        found = {}
        for name, mask in self.extra_data.items():
            label = masked_label(name, self.targets)
            if label is not None:
                found[label] = mask.key or name
        return found

    def _mask_problems(self) -> list[Problem]:
        found = []
        for name in self.extra_data:
            label = masked_label(name, self.targets)
            if label is None:
                found.append(
                    Problem(
                        ("extra_data", name),
                        f"`{name}` is no mask of a target here. Only masks are read: `<target>_mask`, and "
                        f"`<target>_forces_mask` or `<target>_stress_mask` for an energy; the targets are "
                        f"{listed(self.targets)}.",
                    )
                )
                continue
            target, _, part = label.rpartition(".") if label not in self.targets else (label, "", "")
            info = self.targets[target].info(target)
            absent = (part == "forces" and info.has_forces is False) or (part == "stress" and info.has_stress is False)
            if absent:
                found.append(
                    Problem(("extra_data", name), f"`{target}` has no {part} here, so the mask has no effect.")
                )
        return found

    def problems(self) -> list[Problem]:
        found = self._mask_problems()
        for name, target in self.targets.items():
            place = ("targets", name)
            for problem in target_problems(name, target):
                found.append(Problem((*place, *problem.loc), problem.message))
            if not name.startswith("mtt::") and f"mtt::{name}" in self.targets:
                found.append(Problem(place, f"`{name}` and `mtt::{name}` can't both be targets; rename one of them."))
        return found


def masked_label(name: str, targets: Iterable[str]) -> str | None:
    """The label that a mask of this name belongs to; None if it is none of a target's."""
    known = set(targets)
    for ending, part in MASK_ENDINGS.items():
        target = current_name(name.removesuffix(ending))
        if name.endswith(ending) and target in known:
            return target + part
    return None


def _without_usual_files(target: TargetOptions, structures: str | None) -> TargetOptions:
    changes: dict[str, Any] = {}
    own = target.read_from or structures
    if target.read_from == structures:
        changes["read_from"] = None
    for kind in DERIVATIVES:
        gradient = getattr(target, kind)
        if gradient and gradient.read_from is not None and gradient.read_from == own:
            changes[kind] = gradient.model_copy(update={"read_from": None})
    return target.model_copy(update=changes) if changes else target


def _with_key(name: str, target: Any, masked: bool = False) -> Any:
    """A target as written, with the key that stands in the file under its own name unless another is given."""
    if isinstance(target, TargetOptions | MaskOptions):
        return target if target.key is not None else target.model_copy(update={"key": name})
    if isinstance(target, str):
        return {"key": target} if masked else {"read_from": target, "key": name}
    if isinstance(target, Mapping) and target.get("key") is None:
        return {**target, "key": name}
    return target


def paired_key(energy_key: str, kind: str) -> str:
    """The usual key beside an energy's: ``REF_forces`` beside ``REF_energy``, else ``forces``."""
    for word in ("energy", "Energy", "ENERGY"):
        if word in energy_key:
            cased = {"energy": kind, "Energy": kind.capitalize(), "ENERGY": kind.upper()}[word]
            return energy_key.replace(word, cased)
    return kind


def merged_targets(datasets: Iterable[DatasetOptions]) -> dict[str, TargetInfo]:
    """The targets of several data sets together; forces are there if any of them has them."""
    merged: dict[str, TargetInfo] = {}
    virials: dict[str, list[bool]] = {}
    for dataset in datasets:
        for name, target in dataset.targets.items():
            info = target.info(name)
            if info.has_stress is not False:
                virials.setdefault(name, []).append(info.stress_from_virial)
            before = merged.get(name, info)
            merged[name] = replace(
                before,
                has_forces=_any_of(before.has_forces, info.has_forces),
                has_stress=_any_of(before.has_stress, info.has_stress),
            )
    return {
        name: replace(info, stress_from_virial=bool(virials.get(name)) and all(virials[name]))
        for name, info in merged.items()
    }


def _any_of(first: bool | None, second: bool | None) -> bool | None:
    """True wins over undecided, undecided over False."""
    if first or second:
        return True
    return None if first is None or second is None else False


def agreement_problems(datasets: list[tuple[tuple[str, ...], DatasetOptions]]) -> list[Problem]:
    """Where data sets, given with their places, define the same thing differently."""
    found = []
    first_place, first = datasets[0]
    known: dict[str, TargetInfo] = {}
    for place, dataset in datasets:
        unit = dataset.systems.length_unit
        if unit != first.systems.length_unit:
            found.append(
                Problem(
                    (*place, "systems", "length_unit"),
                    f"The unit of length is `{unit}` here but `{first.systems.length_unit}` in "
                    f"{'.'.join(first_place)}; "
                    "all data must share one.",
                )
            )
        for name, target in dataset.targets.items():
            info = target.info(name)
            difference = layout_difference(known.setdefault(name, info), info)
            if difference is not None:
                found.append(
                    Problem(
                        (*place, "targets", name),
                        f"`{name}` is defined differently in two data sets ({difference}); make them equal or rename "
                        "one.",
                    )
                )
    return found
