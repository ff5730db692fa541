"""Structures to compare a model on when nobody brought any: made of its own elements, the same ones every time."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import chemical_symbols, covalent_radii, reference_states

_MOLECULES = ("H2O", "CO2", "NH3", "SiH4", "SH2", "CH4", "LiF", "NaCl", "O2", "N2", "H2")
_CRYSTALS = ("fcc", "bcc", "diamond", "hcp")
# Large models take a tenth of a second an atom on a CPU, several times over, and somebody waits.
_IN_A_MIXTURE = 8
_MIXTURES = 3
_SEED = 20240731


def probe_structures(elements: Sequence[int]) -> list[Atoms]:
    """Small molecules, crystals of one element, and mixtures in which up to 24 elements occur, at distances near the
    sums of covalent radii; atoms are displaced and cells sheared, so that no force or stress vanishes by symmetry. In
    the mixture of the largest, where that costs the fewest neighbours, atoms are pressed together, so that repulsion
    between them acts. Å."""
    generator = np.random.default_rng(_SEED)
    known = sorted(set(elements), key=lambda z: (covalent_radii[z], z))
    structures = [*_molecules(set(known)), *_crystals(sorted(known))]
    for atoms in structures:
        _shake(atoms, generator, 0.06)
    # Neighbours in the list are of similar size, so that one distance fits them all.
    picked = np.unique(np.linspace(0, len(known) - 1, _MIXTURES * _IN_A_MIXTURE).round().astype(int))
    groups = np.array_split(np.array(known)[picked], max(1, min(_MIXTURES, len(picked) // 4)))
    for index, group in enumerate(groups):
        structures.append(_mixture(group, 0.9 if index == len(groups) - 1 else 1.05, generator))
    structures.append(_chain(np.array(known), generator))
    return structures


def _molecules(known: set[int]) -> list[Atoms]:
    found = [molecule(name) for name in _MOLECULES]
    return [atoms for atoms in found if set(atoms.numbers.tolist()) <= known][:1]


def _crystals(known: list[int]) -> list[Atoms]:
    """Up to two elements, far apart in the periodic table, whose ordinary crystal ASE can build."""
    usual = [z for z in known if (reference_states[z] or {}).get("symmetry") in _CRYSTALS]
    chosen = [usual[len(usual) // 4], usual[-(len(usual) // 3 + 1)]] if len(usual) > 1 else usual
    return [bulk(chemical_symbols[z]) for z in dict.fromkeys(chosen)]


def _mixture(group: np.ndarray, stretch: float, generator: np.random.Generator) -> Atoms:
    """Eight atoms on a body-centred grid, periodic, with every element of the group."""
    numbers = generator.permutation(np.resize(group, _IN_A_MIXTURE))
    nearest = stretch * 2 * float(np.mean(covalent_radii[numbers]))
    side = nearest * 2 / np.sqrt(3)
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = side * np.concatenate([corners, corners + 0.5])
    atoms = Atoms(numbers, positions=positions, cell=side * np.diag([2.0, 2.0, 1.0]), pbc=True)
    _shake(atoms, generator, 0.05 * nearest)
    return atoms


def _chain(known: np.ndarray, generator: np.random.Generator) -> Atoms:
    """A bent chain of four atoms spread over the elements, free in space."""
    picked = known[np.linspace(0, len(known) - 1, 4).round().astype(int)]
    steps = 1.05 * (covalent_radii[picked][1:] + covalent_radii[picked][:-1])
    directions = np.array([[1.0, 0.0, 0.2], [0.3, 0.9, 0.3], [0.9, 0.2, 0.4]])
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    atoms = Atoms(picked, positions=np.vstack([np.zeros(3), np.cumsum(steps[:, None] * directions, axis=0)]))
    _shake(atoms, generator, 0.03)
    return atoms


def _shake(atoms: Atoms, generator: np.random.Generator, size: float) -> None:
    atoms.positions += generator.uniform(-size, size, atoms.positions.shape)
    if atoms.pbc.any():
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + generator.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
