"""Structures to compare a model on when nobody brought any: made of its own elements, the same ones every time."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import chemical_symbols, covalent_radii, reference_states

_MOLECULES = ("CH3CH2OH", "H2O", "CO2", "NH3", "CH4", "SiH4", "PH3", "SH2", "NaCl", "LiF", "H2", "O2", "N2")
_CRYSTALS = ("fcc", "bcc", "diamond", "hcp")
_ATOMS_EACH = 16
_SEED = 20240731


def probe_structures(elements: Sequence[int]) -> list[Atoms]:
    """Molecules, crystals of one element, and mixtures in which every element occurs, at distances near the sums of
    covalent radii; atoms are displaced and cells sheared, so that no force or stress vanishes by symmetry. Å."""
    generator = np.random.default_rng(_SEED)
    known = set(elements)
    structures = [*_molecules(known), *_crystals(known)]
    for atoms in structures:
        _shake(atoms, generator, 0.06)
    groups = np.array_split(np.array(sorted(known)), -(-len(known) // _ATOMS_EACH))
    for index, group in enumerate(groups):
        # Every other mixture is compressed, where repulsion between atoms acts.
        structures.append(_mixture(group, 0.85 if index % 2 else 1.1, generator))
    if len(groups) == 1:
        structures.append(_mixture(groups[0], 0.85, generator))
    structures.append(_cluster(sorted(known), generator))
    return structures


def _molecules(known: set[int]) -> list[Atoms]:
    found = [molecule(name) for name in _MOLECULES]
    return [atoms for atoms in found if set(atoms.numbers.tolist()) <= known][:2]


def _crystals(known: set[int]) -> list[Atoms]:
    """Up to two elements, far apart in the periodic table, whose ordinary crystal ASE can build."""
    usual = [z for z in sorted(known) if (reference_states[z] or {}).get("symmetry") in _CRYSTALS]
    chosen = [usual[len(usual) // 4], usual[-(len(usual) // 3 + 1)]] if len(usual) > 1 else usual
    return [bulk(chemical_symbols[z]) for z in dict.fromkeys(chosen)]


def _mixture(group: np.ndarray, stretch: float, generator: np.random.Generator) -> Atoms:
    """A sheared cubic grid, periodic, with every element of the group and at least eight atoms."""
    numbers = np.resize(group, max(8, len(group)))
    side = int(np.ceil(len(numbers) ** (1 / 3)))
    spacing = stretch * 2 * float(np.max(covalent_radii[numbers]))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    layers = int(np.ceil(len(numbers) / side**2))
    cell = spacing * np.diag([layers, side, side]).astype(float)
    atoms = Atoms(generator.permutation(numbers), positions=spacing * grid[: len(numbers)], cell=cell, pbc=True)
    _shake(atoms, generator, 0.06 * spacing / 2)
    return atoms


def _cluster(elements: list[int], generator: np.random.Generator) -> Atoms:
    """A chain of up to eight atoms spread over the elements, free in space."""
    picked = np.array(elements)[np.linspace(0, len(elements) - 1, 8).round().astype(int)]
    steps = 1.05 * (covalent_radii[picked][1:] + covalent_radii[picked][:-1])
    angles = np.arange(7) * 1.9
    directions = np.stack([np.cos(angles), np.sin(angles), np.full(7, 0.8)], axis=1)
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    positions = np.vstack([np.zeros(3), np.cumsum(steps[:, None] * directions, axis=0)])
    atoms = Atoms(picked, positions=positions)
    _shake(atoms, generator, 0.03)
    return atoms


def _shake(atoms: Atoms, generator: np.random.Generator, size: float) -> None:
    atoms.positions += generator.uniform(-size, size, atoms.positions.shape)
    if atoms.pbc.any():
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + generator.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
