"""Energies and forces of an exported model, by the calculator that its own users use. Runs in any of the environments.

`python predict.py metatomic|mace MODEL STRUCTURES.xyz OUT.npz` writes `energies` [G] in eV and `forces` [N, 3] in eV/Å.
"""

import sys

import numpy as np
from ase.calculators.calculator import Calculator
from ase.io import read


def calculator(kind: str, path: str) -> Calculator:
    if kind == "metatomic":
        from metatomic_ase import MetatomicCalculator

        return MetatomicCalculator(path, device="cpu")
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=[path], device="cpu")  # the precision is the file's


def main() -> None:
    kind, model, structures, out = sys.argv[1:]
    calculate = calculator(kind, model)
    energies, forces = [], []
    for atoms in read(structures, ":"):
        atoms.calc = calculate
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    np.savez(out, energies=np.array(energies), forces=np.concatenate(forces))


if __name__ == "__main__":
    main()
