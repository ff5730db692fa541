"""Keys of a file as targets, in the grammar of the options: what fits together, and what is wrong.

Nothing here draws; a target is the mapping that stands in `options.yaml`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mace_app.options import DatasetOptions, Problem, problems_of
from mace_app.options.targets import current_name

Target = dict[str, Any]
DERIVATIVES = ("forces", "stress", "virial")
# Written so that metatomic, which has to accept them in the end, can read them.
UNITS = (
    "eV", "Hartree", "kcal/mol", "kJ/mol", "eV/Angstrom", "eV/Angstrom^3", "e*Angstrom", "Debye", "e", "Bohr^3",
    "Angstrom^3",
)  # fmt: skip
NUMBER, VECTOR, TENSOR, SPHERICAL = "number", "vector", "tensor 3×3", "spherical"
SHAPES = (NUMBER, VECTOR, TENSOR, SPHERICAL)
MASK_ENDINGS = {"": "_mask", ".forces": "_forces_mask", ".stress": "_stress_mask"}


@dataclass(frozen=True)
class Key:
    """An entry of the file that can be a label: ``width`` numbers for each structure, or for each atom."""

    name: str
    per_atom: bool
    width: int


def is_energy(name: str, target: Mapping[str, Any]) -> bool:
    """Whether forces and stress can be derived from it."""
    return target.get("quantity") == "energy" or name.split("/")[0] == "energy"


def shape_of(target: Mapping[str, Any]) -> str:
    """One of ``SHAPES``, from the type."""
    kind = target.get("type")
    if isinstance(kind, Mapping) and "spherical" in kind:
        return SPHERICAL
    if isinstance(kind, Mapping) and isinstance(kind.get("cartesian"), Mapping):
        return TENSOR if kind["cartesian"].get("rank") == 2 else VECTOR
    return NUMBER


def irreps_of(target: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of a spherical target; empty for anything else."""
    kind = target.get("type")
    spherical = kind.get("spherical") if isinstance(kind, Mapping) else None
    irreps = spherical.get("irreps") if isinstance(spherical, Mapping) else None
    return [dict(entry) for entry in irreps or [] if isinstance(entry, Mapping)] if isinstance(irreps, list) else []


def type_of(shape: str, width: int | None = None) -> Any:
    """The type of a shape, in the grammar; ``width`` values suggest the block of a spherical target."""
    if shape == VECTOR:
        return {"cartesian": {"rank": 1}}
    if shape == TENSOR:
        return {"cartesian": {"rank": 2}}
    if shape == SPHERICAL:
        highest = (width - 1) // 2 if width is not None and width % 2 and width <= 23 else 2
        return {"spherical": {"irreps": [{"o3_lambda": highest, "o3_sigma": 1}]}}
    return "scalar"


def values_in(target: Mapping[str, Any]) -> int | None:
    """Numbers in one sample if ``num_subtargets`` is 1; None while the type is not complete."""
    shape = shape_of(target)
    if shape != SPHERICAL:
        return {NUMBER: 1, VECTOR: 3, TENSOR: 9}[shape]
    try:
        return sum((2 * int(entry["o3_lambda"]) + 1) * int(entry.get("num", 1)) for entry in irreps_of(target)) or None
    except (KeyError, TypeError, ValueError):
        return None


def fitted(name: str, target: Mapping[str, Any], key: Key | None) -> Target:
    """The target with the sample kind and the number of values that its key has; an energy keeps its own."""
    result = dict(target)
    if key is None or is_energy(name, target):
        return result
    result.pop("sample_kind", None)
    if key.per_atom:
        result["sample_kind"] = "atom"
        result.pop("aggregate", None)
    unit = values_in(result)
    if unit is not None:
        result.pop("num_subtargets", None)
        if key.width % unit == 0 and key.width > unit:
            result["num_subtargets"] = key.width // unit
    return result


def with_shape(name: str, target: Mapping[str, Any], shape: str, key: Key | None) -> Target:
    """The target as a number, vector, tensor or spherical."""
    result = {part: value for part, value in target.items() if part not in ("type", "num_subtargets")}
    if shape != NUMBER:
        result["type"] = type_of(shape, None if key is None else key.width)
    return fitted(name, result, key)


def target_for(name: str, key: Key) -> Target:
    """What a key most likely is: three numbers are a vector, nine a tensor, anything else separate values."""
    return with_shape(name, {"key": key.name}, {3: VECTOR, 9: TENSOR}.get(key.width, NUMBER), key)


def new_target(targets: Mapping[str, Any], keys: Mapping[str, Key], chosen: str | None = None) -> tuple[str, Target]:
    """Name and target of ``chosen``, or of the first key that no target uses, or of none where no key is known."""
    key = keys.get(chosen) if chosen is not None else next(iter(unused(targets, keys)), next(iter(keys.values()), None))
    words = chosen or (key.name if key is not None else "target")
    base = "mtt::" + (re.sub(r"[^a-z0-9_+\-.]", "_", words.removeprefix("REF_").lower()).strip("_.") or "target")
    taken = {*targets, *(f"mtt::{name}" for name in targets)}
    name = next(name for name in (base, *(f"{base}_{n}" for n in range(2, 1000))) if name not in taken)
    return name, {"key": words} if key is None else target_for(name, key)


def used_keys(targets: Mapping[str, Any]) -> set[str]:
    """Keys that stand behind a target or a derivative."""
    used = set()
    for name, target in targets.items():
        used.add(str(target.get("key") or name))
        used |= {key for part in DERIVATIVES if (key := derivative_key(part, target.get(part))) is not None}
    return used


def unused(targets: Mapping[str, Any], keys: Mapping[str, Key]) -> list[Key]:
    """Keys that could still become targets, in the order of the file."""
    used = used_keys(targets)
    return [key for key in keys.values() if key.name not in used]


def derivative_key(part: str, value: Any) -> str | None:
    """The key of forces, stress or virial; None where there is none or it is left to the data."""
    if isinstance(value, Mapping):
        return str(value.get("key") or part)
    if isinstance(value, str):
        return value
    return part if value is True else None


def decided(targets: Mapping[str, Any]) -> dict[str, Target]:
    """With every derivative decided one way or the other, so that none is used only because the file happens to hold
    it, and without what an energy can't have."""
    result = {}
    for name, given in targets.items():
        target = {part: value for part, value in given.items() if value not in ("", None)}
        if is_energy(name, target):
            if name.split("/")[0] == "energy":
                target.pop("quantity", None)
            for part in DERIVATIVES:
                chosen = derivative_key(part, target.pop(part, None))
                if chosen is not None:
                    target[part] = {"key": chosen}
                elif part != "virial":
                    target[part] = False
        result[name] = target
    return result


def rename(targets: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """The same targets in the same order."""
    return {new if name == old else name: target for name, target in targets.items()}


def fitting_keys(keys: Mapping[str, Key], part: str) -> list[str]:
    """The keys that can hold an energy, its forces, its stress or virial, or any other target."""
    fits = {
        "energy": lambda key: not key.per_atom and key.width == 1,
        "forces": lambda key: key.per_atom and key.width == 3,
        "stress": lambda key: not key.per_atom and key.width in (6, 9),
        "virial": lambda key: not key.per_atom and key.width in (6, 9),
        "other": lambda key: True,
    }[part]
    return [name for name, key in keys.items() if fits(key)]


def mapping_problems(targets: Mapping[str, Any], keys: Mapping[str, Key]) -> list[Problem]:
    """What is wrong with the targets of a file whose keys are known; locs begin with the name of the target."""
    if not targets:
        return [Problem((), "No target is mapped; add at least one.")]
    found = key_problems(targets, keys)
    if found:
        return found
    names = {current_name(name): name for name in targets}
    try:
        DatasetOptions.model_validate({"systems": "structures.xyz", "targets": dict(targets)})
    except ValidationError as error:
        return [
            Problem((names[problem.loc[1]], *problem.loc[2:]), problem.message)
            if problem.loc[:1] == ("targets",) and problem.loc[1:2] and problem.loc[1] in names
            else Problem((), problem.message)
            for problem in problems_of(error)
        ]
    return []


def key_problems(targets: Mapping[str, Any], keys: Mapping[str, Key]) -> list[Problem]:
    """Targets whose keys are not in the file or hold something of another layout; locs begin with the target's name."""
    found = []
    for name, target in targets.items():
        if not isinstance(target, Mapping) or target.get("read_from"):
            continue
        for part, chosen in _chosen_keys(name, target):
            if chosen not in keys:
                found.append(Problem((name, part), f"The file has no key `{chosen}`; choose another one."))
        key = keys.get(str(target.get("key") or name))
        if key is not None and not is_energy(name, target):
            found += [Problem((name, *problem.loc), problem.message) for problem in layout_problems(name, target, key)]
    return found


def _chosen_keys(name: str, target: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "key", str(target.get("key") or name)
    for part in DERIVATIVES:
        chosen = derivative_key(part, target.get(part))
        if chosen is not None and is_energy(name, target):
            yield part, chosen


def layout_problems(name: str, target: Mapping[str, Any], key: Key) -> Sequence[Problem]:
    """Where the target's layout is not that of its key."""
    kind = "atom" if key.per_atom else "system"
    if target.get("sample_kind", "system") != kind:
        words = "atom" if key.per_atom else "structure"
        return [Problem(("sample_kind",), f"`{key.name}` holds a value for each {words}; choose `{kind}`.")]
    unit = values_in(target)
    copies = target.get("num_subtargets", 1)
    if unit is None or not isinstance(copies, int) or unit * copies == key.width:
        return []
    values = f"{key.width} value{'' if key.width == 1 else 's'}"
    place = "type" if key.width % unit else "num_subtargets"
    todo = "choose another type" if key.width % unit else f"set {key.width // unit}"
    return [
        Problem(
            (place,),
            f"`{key.name}` holds {values} for each {'atom' if key.per_atom else 'structure'}, but this target has "
            f"{unit * copies}; {todo}.",
        )
    ]
