"""Make copper_emt.xyz: strained and rattled copper with and without vacancies, and slabs, labelled by ASE's EMT.

Needs ``pip install ase==3.29.0`` only and takes seconds. EMT (effective medium theory, K. W. Jacobsen, P. Stoltze,
J. K. Nørskov, Surf. Sci. 366, 394 (1996)) is a toy potential here: exact derivatives and no cost, for trying out
stress and mixed periodicity. The numbers say nothing about copper that is worth publishing.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc100, fcc111
from ase.calculators.emt import EMT
from ase.io import write

SEED = 20260711
LATTICE_CONSTANT = 3.59  # Å, EMT's own at rest
STRAIN = 0.04  # largest change of any component


def deformed(atoms: Atoms, random: np.random.Generator) -> Atoms:
    """`atoms` under a random strain along the periodic directions, every atom moved by 0.02 to 0.2 Å."""
    strain = random.uniform(-STRAIN, STRAIN, size=(3, 3))
    strain = (strain + strain.T) / 2 + random.uniform(-STRAIN, STRAIN) * np.eye(3)
    strain[~np.outer(atoms.pbc, atoms.pbc)] = 0.0
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    atoms.positions += random.uniform(0.02, 0.2) * random.normal(size=atoms.positions.shape) / np.sqrt(3)
    return atoms


def slab(surface: str) -> Atoms:
    build = {"100": fcc100, "111": fcc111}[surface]
    atoms = build("Cu", size=(2, 2, 3), a=LATTICE_CONSTANT, vacuum=6.0)
    for tag in list(atoms.arrays):
        if tag not in ("numbers", "positions"):
            del atoms.arrays[tag]
    atoms.info.clear()
    return atoms


def structures(random: np.random.Generator) -> Iterator[Atoms]:
    """Copper, its kind in `info["config_type"]`, without labels."""
    yield kind("IsolatedAtom", Atoms("Cu", [[0.0, 0.0, 0.0]]))
    for scale in np.linspace(0.94, 1.08, 15):
        yield kind("volume", bulk("Cu", a=LATTICE_CONSTANT * scale, cubic=True))
    for _ in range(50):
        yield kind("bulk", deformed(bulk("Cu", a=LATTICE_CONSTANT, cubic=True), random))
    for _ in range(40):
        yield kind("bulk", deformed(bulk("Cu", a=LATTICE_CONSTANT) * (2, 2, 2), random))
    for _ in range(20):
        crystal = bulk("Cu", a=LATTICE_CONSTANT, cubic=True) * (2, 2, 1)
        del crystal[random.integers(len(crystal))]
        yield kind("vacancy", deformed(crystal, random))
    for index in range(34):
        yield kind("slab", deformed(slab("100" if index % 2 else "111"), random))


def kind(config_type: str, atoms: Atoms) -> Atoms:
    atoms.info["config_type"] = config_type
    return atoms


def labelled(atoms: Atoms) -> Atoms:
    """`atoms` with REF_energy, REF_forces and, where all three directions are periodic, REF_stress."""
    result = Atoms(atoms.numbers, np.round(atoms.positions, 8), cell=atoms.cell, pbc=atoms.pbc, info=atoms.info)
    result.calc = EMT()
    energy = float(result.get_potential_energy())
    forces = np.round(result.get_forces(), 10) + 0.0
    if result.pbc.all():
        # Of a slab it would depend on the vacuum. Written as nine numbers, since ASE puts a matrix into JSON.
        result.info["REF_stress"] = np.round(result.get_stress(voigt=False), 10).ravel() + 0.0
    result.info["REF_energy"] = energy
    if len(result) > 1:
        result.arrays["REF_forces"] = forces
    result.calc = None
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "copper_emt.xyz")
    arguments = parser.parse_args()
    frames = [labelled(atoms) for atoms in structures(np.random.default_rng(SEED))]
    write(arguments.output, frames, format="extxyz")


if __name__ == "__main__":
    main()
