"""What a key probably means, from its name, shape and values; always with the reason, always only a proposal."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Total energies of free atoms in Hartree, all electrons, H to Ar (Chakravorty et al., Phys. Rev. A 47, 3649 (1993)).
ALL_ELECTRON = {
    1: -0.5, 2: -2.904, 3: -7.478, 4: -14.667, 5: -24.654, 6: -37.845, 7: -54.589, 8: -75.067, 9: -99.734,
    10: -128.938, 11: -162.255, 12: -200.053, 13: -242.346, 14: -289.359, 15: -341.259, 16: -398.11, 17: -460.148,
    18: -527.54,
}  # fmt: skip
PER_HARTREE = {"Hartree": 1.0, "eV": 27.2114, "kcal/mol": 627.509, "kJ/mol": 2625.5}

_ENERGY = {"energy", "energies", "etot", "toten", "etotal"}
_FORCES = {"force", "forces", "frc"}
_GRADIENT = {"gradient", "gradients", "grad"}
_STRESS = {"stress", "stresses"}
_VIRIAL = {"virial", "virials"}
_DIPOLE = {"dipole", "dipoles"}
_CHARGES = {"charge", "charges"}
_POLARISABILITY = {"polarizability", "polarisability", "polarizabilities", "polar", "alpha"}
_NO_TARGET_ENERGY = {
    "tol", "tolerance", "cut", "cutoff", "off", "gap", "fermi", "sigma", "std", "var", "variance", "error", "err",
    "weight", "shift", "scale", "homo", "lumo", "units", "kinetic", "per", "zpve", "unc", "uncertainty",
}  # fmt: skip
_GEOMETRY = {
    "pos", "positions", "numbers", "cell", "pbc", "masses", "mass", "momenta", "tags", "frac", "move", "mask",
    "velocities", "velo", "initial", "occupancy", "spacegroup",
}  # fmt: skip
_QUANTITIES = _ENERGY | _FORCES | _GRADIENT | _STRESS | _VIRIAL | _DIPOLE | _CHARGES
_PREDICTED = {"mace", "pred", "predicted", "ml", "nn", "gap", "model"}


@dataclass(frozen=True)
class Role:
    name: str
    reason: str


def words(name: str) -> list[str]:
    """``TotEnergy`` → tot, energy; ``REF_forces`` → ref, forces."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def stem(name: str) -> str:
    """What is left of a name without the quantity: keys with the same stem belong together (energy_xtb, forces_xtb)."""
    return "_".join(word for word in words(name) if word not in _QUANTITIES)


def role_of(name: str, per_atom: bool, kind: str, width: int) -> Role:
    """From name and shape alone. ``kind`` is float, int, bool, text or other; ``width`` numbers a sample."""
    parts = set(words(name))
    if kind in ("text", "other"):
        if {"config", "type"} <= parts or name in ("group", "label", "subset"):
            return Role("config_type", "names a group of structures")
        return Role("text", "text is no label")
    if kind == "bool":
        return Role("setting", "true or false is no label")
    if parts & _GEOMETRY:
        return Role("geometry", "describes the structure")
    if "weight" in parts or "weights" in parts:
        return Role("weight", "weights are no labels")
    known = _known(parts, per_atom, width)
    if known is not None:
        return known
    if width < 1:
        return Role("irregular", "its shape differs between structures")
    return Role("property", _amount(width, per_atom))


def _amount(width: int, per_atom: bool) -> str:
    """What can be said of any label: how many numbers, and which irreducible block would have as many."""
    numbers = {1: "a number", 3: "three numbers", 9: "nine numbers"}.get(width, f"{width} numbers")
    kind = {3: ", perhaps a vector", 9: ", perhaps a tensor"}.get(width, "")
    if width in (5, 7, 11, 13):
        kind = f", perhaps spherical components with l = {(width - 1) // 2}"
    return f"{numbers} per {'atom' if per_atom else 'structure'}{kind}"


def _known(parts: set[str], per_atom: bool, width: int) -> Role | None:
    if parts & _NO_TARGET_ENERGY:
        return None
    return _of_atoms(parts, width) if per_atom else _of_structures(parts, width)


def _of_atoms(parts: set[str], width: int) -> Role | None:
    if width == 3 and parts & _FORCES:
        return Role("forces", "its name, and three numbers per atom")
    if width == 3 and parts & _GRADIENT:
        return Role("gradient", "three numbers per atom; forces are the negative gradient, so change the sign first")
    if width == 1 and parts & _CHARGES:
        return Role("charges", "its name, and one number per atom")
    return None


def _of_structures(parts: set[str], width: int) -> Role | None:
    if width == 1 and parts & _ENERGY:
        return Role("energy", "its name, and one number per structure")
    if width in (6, 9) and parts & _STRESS:
        return Role("stress", f"its name, and {width} numbers per structure")
    if width == 9 and parts & _VIRIAL:
        return Role("virial", "its name, and nine numbers per structure")
    if width == 3 and parts & (_DIPOLE | {"mu"}):
        return Role("dipole", "its name, and three numbers per structure")
    if width == 9 and parts & _POLARISABILITY:
        return Role("polarizability", "its name, and nine numbers per structure")
    if width == 1 and parts & _CHARGES and parts <= {"charge", "charges", "total", "tot", "net", "system"}:
        return Role("total charge", "one charge per structure describes it, and is no label")
    return None


def total_energy_unit(
    energies: NDArray[np.float64], counts: NDArray[np.float64], elements: Sequence[int]
) -> str | None:
    """The unit in which these are total energies of all electrons, or None if they fit none.

    ``energies [n]``, ``counts [n, elements]``. Molecules have 99 to 103 % of the energy of their free atoms.
    """
    if any(element not in ALL_ELECTRON for element in elements) or not len(energies):
        return None
    free = counts @ np.array([ALL_ELECTRON[element] for element in elements])
    for unit, factor in PER_HARTREE.items():
        ratios = energies / (free * factor)
        if np.all((ratios > 0.97) & (ratios < 1.05)):
            return unit
    return None


def hydrogen_unit(energy: float) -> str | None:
    """The unit in which this is the energy of a free hydrogen atom (−13.6 eV; half-empirical methods give less)."""
    limits = {"Hartree": (-0.55, -0.38), "eV": (-15.0, -10.3), "kcal/mol": (-345.0, -238.0)}
    return next((unit for unit, (low, high) in limits.items() if low < energy < high), None)


def energy_unit(name: str, place: str, fitted: str | None, hydrogen: str | None) -> tuple[str, str]:
    """Unit and why, from the name, from all energies or from that of an isolated hydrogen atom."""
    if place == "results":
        return "eV", "ASE gives calculators' results in eV and Å"
    parts = set(words(name))
    for unit, marks in (("eV", {"ev"}), ("Hartree", {"ha", "hartree"}), ("kcal/mol", {"kcal"}), ("kJ/mol", {"kj"})):
        if parts & marks:
            return unit, f"its name says {unit}"
    if fitted is not None:
        return fitted, f"the values are those of total energies of all electrons in {fitted}"
    if hydrogen is not None:
        return hydrogen, f"the isolated hydrogen atom has the usual energy in {hydrogen}"
    return "eV", "files of this kind are usually in eV and Å; the values neither prove nor contradict it"


def likely_first(names: Iterable[str], paired: set[str]) -> list[str]:
    """Energies, the one to propose first: reference data before predictions, with forces before without."""

    def score(name: str) -> int:
        parts = set(words(name))
        points = 4 if "ref" in parts else 3 if not stem(name) or parts & {"dft", "cc", "ccsd", "qm", "u"} else 2
        points -= 3 * bool(parts & _PREDICTED) + 2 * ("free" in parts)
        return points + 2 * (name in paired)

    return sorted(names, key=score, reverse=True)
