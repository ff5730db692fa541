"""The same numbers in ASE: ``python compare_with_ase.py RUN_FOLDER STRUCTURES.xyz``.

Energy, forces and stress by ``metatomic_ase.MetatomicCalculator``; every other target by its ``run_model``.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from comparing import Row, finish, own_predictions, per_atom, row, structures_of
from metatomic.torch import ModelOutput
from metatomic_ase import MetatomicCalculator

RELATIVE = 1e-10  # of the largest value: sums in another order, in float64


def compare(run: Path, data: Path) -> list[Row]:
    warnings.simplefilter("ignore")
    calculator = MetatomicCalculator(run / "model.pt", device="cpu", check_consistency=True)
    theirs: dict[str, list[np.ndarray]] = {}
    ours: dict[str, list[np.ndarray]] = {}
    for atoms, own in zip(structures_of(data), own_predictions(run, data), strict=True):
        atoms.calc = calculator
        for label, values in own.items():
            if label == "energy":
                answer = np.array([atoms.get_potential_energy()])
            elif label == "energy.forces":
                answer = atoms.get_forces()
            elif label == "energy.stress":
                if not atoms.pbc.all():
                    continue
                answer = atoms.get_stress(voigt=False)
            else:
                kind = "atom" if label in per_atom(run) else "system"
                tensor = calculator.run_model(atoms, {label: ModelOutput(sample_kind=kind)})[label]
                blocks = [block.values.detach().numpy() for block in tensor.blocks()]
                answer = blocks[0] if len(blocks) == 1 else np.hstack([b.reshape(len(b), -1) for b in blocks])
                answer = answer if kind == "atom" else answer[0]
            theirs.setdefault(label, []).append(answer.ravel())
            ours.setdefault(label, []).append(values.ravel())
    return [row(label, np.concatenate(theirs[label]), np.concatenate(ours[label]), RELATIVE) for label in theirs]


if __name__ == "__main__":
    finish(compare(Path(sys.argv[1]), Path(sys.argv[2])))
