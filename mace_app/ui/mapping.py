"""A mapping of keys to targets while a person edits it: rows that are easy to show, and target options in the end."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mace_app.options import DatasetOptions, Problem, problems_of
from mace_app.options.targets import current_name

DERIVATIVES = ("forces", "stress", "virial")
# Written so that metatomic, which has to accept them in the end, can read them.
UNITS = ("eV", "Hartree", "kcal/mol", "kJ/mol", "eV/Angstrom", "e*Angstrom", "Debye", "e")
VECTOR = "vector"
VALUES = "separate values"


@dataclass(frozen=True)
class Key:
    """An entry of the file that can be a label: ``width`` numbers for each structure, or for each atom."""

    name: str
    per_atom: bool
    width: int


@dataclass(frozen=True)
class Row:
    """One target. An energy may have derivatives; anything else may be a vector if it has three values."""

    name: str
    key: str
    unit: str = ""
    description: str = ""
    energy: bool = False
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    shape: str = VALUES


def rows_of(targets: Mapping[str, Any]) -> list[Row]:
    """Rows for targets in the grammar of the options, as a suggestion or a stored mapping gives them."""
    return [_row(name, target) for name, target in targets.items()]


def _row(name: str, target: Mapping[str, Any]) -> Row:
    energy = target.get("quantity") == "energy" or name.split("/")[0] == "energy"
    vector = isinstance(target.get("type"), Mapping) and "cartesian" in target["type"]
    return Row(
        name=name,
        key=str(target.get("key") or name),
        unit=str(target.get("unit") or ""),
        description=str(target.get("description") or ""),
        energy=energy,
        shape=VECTOR if vector else VALUES,
        **{part: _derivative_key(part, target.get(part)) for part in DERIVATIVES} if energy else {},
    )


def _derivative_key(part: str, value: Any) -> str | None:
    if isinstance(value, Mapping):
        return str(value.get("key") or part)
    if isinstance(value, str):
        return value
    return part if value is True else None


def targets_of(rows: Iterable[Row], keys: Mapping[str, Key]) -> dict[str, dict[str, Any]]:
    """Target options of the rows; what a key is like decides sample kind and number of values."""
    targets = {}
    for row in rows:
        target: dict[str, Any] = {"key": row.key}
        for part in ("unit", "description"):
            if getattr(row, part):
                target[part] = getattr(row, part)
        key = keys.get(row.key)
        if row.energy:
            target |= _energy_options(row)
        elif key is not None:
            target |= _layout(row, key)
        targets[row.name] = target
    return targets


def _energy_options(row: Row) -> dict[str, Any]:
    """Derivatives are decided one way or the other, so that none is used only because the file happens to hold it."""
    found: dict[str, Any] = {} if row.name.split("/")[0] == "energy" else {"quantity": "energy"}
    for part in DERIVATIVES:
        chosen = getattr(row, part)
        if chosen:
            found[part] = {"key": chosen}
        elif part != "virial":
            found[part] = False
    return found


def _layout(row: Row, key: Key) -> dict[str, Any]:
    found: dict[str, Any] = {"sample_kind": "atom"} if key.per_atom else {}
    if key.width == 3 and row.shape == VECTOR:
        found["type"] = {"cartesian": {"rank": 1}}
    elif key.width > 1:
        found["num_subtargets"] = key.width
    return found


def mapping_problems(rows: list[Row], keys: Mapping[str, Key]) -> list[Problem]:
    """What is wrong with a mapping; the first part of a loc is the number of the row, or it is empty."""
    if not rows:
        return [Problem((), "No target is mapped; add at least one.")]
    return _name_and_key_problems(rows, keys) or _option_problems(rows, keys)


def _name_and_key_problems(rows: list[Row], keys: Mapping[str, Key]) -> list[Problem]:
    found = []
    for number, row in enumerate(rows):
        if not row.name:
            found.append(Problem((str(number), "name"), "This target has no name; write for example `mtt::dipole`."))
        elif any(row.name == other.name for other in rows[:number]):
            found.append(Problem((str(number), "name"), f"Two targets are named `{row.name}`; rename one of them."))
        for part in ("key", *DERIVATIVES):
            chosen = getattr(row, part)
            if chosen and chosen not in keys:
                found.append(Problem((str(number), part), f"The file has no key `{chosen}`; choose another one."))
    return found


def _option_problems(rows: list[Row], keys: Mapping[str, Key]) -> list[Problem]:
    numbers = {current_name(row.name): str(number) for number, row in enumerate(rows)}
    try:
        DatasetOptions.model_validate({"systems": "structures.xyz", "targets": targets_of(rows, keys)})
    except ValidationError as error:
        return [
            Problem((numbers[problem.loc[1]], *problem.loc[2:]), problem.message)
            if problem.loc[:1] == ("targets",) and problem.loc[1:2] and problem.loc[1] in numbers
            else Problem((), problem.message)
            for problem in problems_of(error)
        ]
    return []


def new_row(rows: list[Row], keys: Mapping[str, Key]) -> Row:
    """A row for the first key that no row uses."""
    used = {value for row in rows for value in (row.key, row.forces, row.stress, row.virial)}
    key = next((key for key in keys.values() if key.name not in used), next(iter(keys.values())))
    base = "mtt::" + re.sub(r"[^a-z0-9_+\-.]", "_", key.name.removeprefix("REF_").lower())
    taken = {row.name for row in rows}
    name = next(name for name in (base, *(f"{base}_{n}" for n in range(2, 1000))) if name not in taken)
    return Row(name=name, key=key.name, shape=VECTOR if key.width == 3 else VALUES)


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
