"""Where structures come from and which targets they carry."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from mace_app.options.base import Options, shown
from mace_app.options.errors import Problem, refuse
from mace_app.options.fields import option
from mace_app.options.target_info import TargetInfo
from mace_app.options.targets import TargetOptions, current_name, layout_difference, target_problems

LENGTH_UNITS = ("", "angstrom", "bohr", "nanometer")
ANGSTROM_PER_UNIT = {"": 1.0, "angstrom": 1.0, "bohr": 0.529177210903, "nanometer": 10.0}
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
        if isinstance(value, str) and value.strip():
            return value
        if not isinstance(value, list | tuple) or not value:
            raise refuse(f"`indices` must be a list of whole numbers or the name of a file; it is {shown(value)}.")
        wrong = [entry for entry in value if isinstance(entry, bool) or not isinstance(entry, int) or entry < 0]
        if wrong:
            raise refuse(f"`indices` must hold whole numbers from 0 up; one is {shown(wrong[0])}.")
        if len(set(value)) != len(value):
            twice = next(entry for entry in value if value.count(entry) > 1)
            raise refuse(f"`indices` holds {twice} more than once; name every structure once.")
        return list(value)


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
    extra_data: dict[str, Any] = option(
        default_factory=dict,
        title="Extra data",
        section="Targets",
        help="Further values such as masks.",
        explanation="metatrain uses them for masked losses.",
        not_built="masks come with a later version.",
    )
    indices: list[int] | str | None = option(
        None,
        title="Indices",
        section="Source",
        help="Use only these structures of the file.",
        explanation="metatrain can pick structures of a data set by position.",
        not_built=(
            "for a validation or test set write `{indices: [...]}` alone; otherwise put the structures in a "
            "file of their own."
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

    def problems(self) -> list[Problem]:
        found = []
        for name, target in self.targets.items():
            place = ("targets", name)
            for problem in target_problems(name, target):
                found.append(Problem((*place, *problem.loc), problem.message))
            if not name.startswith("mtt::") and f"mtt::{name}" in self.targets:
                found.append(Problem(place, f"`{name}` and `mtt::{name}` can't both be targets; rename one of them."))
            sources: list[tuple[tuple[str, ...], str | None]] = [(place, target.read_from)]
            for kind in ("forces", "stress", "virial"):
                gradient = getattr(target, kind)
                if gradient:
                    sources.append(((*place, kind), gradient.read_from))
            for where, file in sources:
                if file is not None and file != self.systems.read_from:
                    found.append(
                        Problem(
                            (*where, "read_from"),
                            f"Labels in a file of their own (`{file}`) are not built yet; they must stand beside the "
                            "structures in "
                            f"`{self.systems.read_from}`.",
                        )
                    )
        return found


def _with_key(name: str, target: Any) -> Any:
    """A target as written, with the key that stands in the file under its own name unless another is given."""
    if isinstance(target, TargetOptions):
        return target if target.key is not None else target.model_copy(update={"key": name})
    if isinstance(target, str):
        return {"read_from": target, "key": name}
    if isinstance(target, Mapping) and target.get("key") is None:
        return {**target, "key": name}
    return target


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
