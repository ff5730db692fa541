"""A first mapping of keys to targets, for a person to confirm or change."""

from typing import Any

from mace_app.data.inspection import Inspection, KeySummary
from mace_app.data.roles import likely_first, stem


def suggest_mapping(inspection: Inspection) -> dict[str, dict[str, Any]]:
    """Targets in the grammar of the options; empty where nothing looks like a label.

    The best energy becomes ``energy`` with its forces and stress (or virial, where there is no stress); other energies
    follow as variants only if forces belong to them. A dipole becomes ``mtt::dipole``, a polarisability
    ``mtt::polarizability``, partial charges ``charge``. Whatever else could be learnt is left to a person.
    """
    usable = [key for key in inspection.keys if key.count and key.numeric and not key.infinite]
    derivatives: dict[str, dict[str, KeySummary]] = {}
    for key in usable:
        if key.role in ("forces", "stress", "virial") and key.belongs_to is not None and not _flat(key):
            derivatives.setdefault(key.belongs_to, {}).setdefault(key.role, key)
    energies = {key.name: key for key in reversed(usable) if key.role == "energy"}
    with_forces = {name for name, found in derivatives.items() if "forces" in found}
    order = likely_first([key.name for key in usable if key.role == "energy"], with_forces)
    targets: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(order):
        variant = f"energy/{stem(name)}" if stem(name) else "energy/other"
        if number == 0 or (name in with_forces and variant not in targets):
            targets["energy" if number == 0 else variant] = _energy(energies[name], derivatives.get(name, {}))
    main = stem(order[0]) if order else ""
    dipole = _best(usable, "dipole", main)
    if dipole is not None:
        targets["mtt::dipole"] = {"key": dipole.name, "unit": dipole.unit, "type": {"cartesian": {"rank": 1}}}
    polarizability = _best(usable, "polarizability", main)
    if polarizability is not None:
        targets["mtt::polarizability"] = {"key": polarizability.name, "type": {"cartesian": {"rank": 2}}}
    charges = _best(usable, "charges", main)
    if charges is not None:
        targets["charge"] = {"key": charges.name, "unit": charges.unit, "sample_kind": "atom"}
    return targets


def _energy(key: KeySummary, derivatives: dict[str, KeySummary]) -> dict[str, Any]:
    target: dict[str, Any] = {"key": key.name, "unit": key.unit, "quantity": "energy"}
    for role in ("forces", "stress", "virial"):
        if role in derivatives and not (role == "virial" and "stress" in target):
            target[role] = {"key": derivatives[role].name}
    return target


def _best(keys: list[KeySummary], role: str, main: str) -> KeySummary | None:
    found = [key for key in keys if key.role == role]
    return next((key for key in found if stem(key.name) == main), found[0] if found else None)


def _flat(key: KeySummary) -> bool:
    """Zero everywhere, as some programs write what they did not calculate."""
    return key.minimum == key.maximum == 0.0
