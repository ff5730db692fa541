"""Units a person may look at errors in."""

import re

from mace_app.ui.charts import DisplayUnit, readable

# eV per unit (CODATA 2018), and Å per unit
ENERGIES = {"eV": 1.0, "meV": 1e-3, "kcal/mol": 0.0433641153087705, "kJ/mol": 0.0103642696562621, "Ha": 27.211386245988}
LENGTHS = {"Å": 1.0, "bohr": 0.529177210903}
_SPELT = {"ev": "eV", "mev": "meV", "kcal/mol": "kcal/mol", "kj/mol": "kJ/mol", "ha": "Ha", "hartree": "Ha"}
_ENERGY = re.compile(r"^(kcal/mol|kJ/mol|meV|eV|Hartree|Ha)(?![A-Za-z])(.*)$", re.IGNORECASE)
_LENGTH = re.compile(r"(Å|bohr)(²|³)?")
_POWER = {None: 1, "": 1, "²": 2, "³": 3}


def units_for(unit: str) -> list[DisplayUnit]:
    """The unit itself first, then those it can be told in: energies, and lengths in what follows the energy."""
    own = readable(unit)
    match = _ENERGY.match(own)
    if match is None:
        return [DisplayUnit(own, 1.0), *_with_lengths(own, 1.0)]
    energy, rest = _SPELT[match[1].lower()], match[2]
    found = [DisplayUnit(own, 1.0)]
    for name, size in ENERGIES.items():
        factor = ENERGIES[energy] / size
        found += [DisplayUnit(name + rest, factor), *_with_lengths(name + rest, factor)]
    unique = {entry.text: entry for entry in reversed(found)}
    return [unique.pop(own), *reversed(list(unique.values()))]


def _with_lengths(text: str, factor: float) -> list[DisplayUnit]:
    """The same with the other lengths in place of its own; nothing without a length."""
    match = _LENGTH.search(text)
    if match is None:
        return []
    power = _POWER[match[2]] * (-1 if text[: match.start()].endswith("/") else 1)
    start, end = text[: match.start()], (match[2] or "") + text[match.end() :]
    return [
        DisplayUnit(start + name + end, factor * (LENGTHS[match[1]] / size) ** power)
        for name, size in LENGTHS.items()
        if name != match[1]
    ]
