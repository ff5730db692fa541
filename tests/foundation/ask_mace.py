"""Run in a process of its own: mace-torch's calculator loads the files, which executes them, and answers.

Arguments: a JSON file with ``[[name, path, head or null], …]``, a file of structures, a file to write.
"""

import json
import sys
import warnings

import numpy as np
from ase.io import read


def main(request: str, structures: str, output: str) -> None:
    warnings.simplefilter("ignore")
    from mace.calculators import MACECalculator

    answers = {}
    with open(request, encoding="utf-8") as stream:
        wanted = json.load(stream)
    for name, path, head in wanted:
        calculator = MACECalculator(path, device="cpu", default_dtype="float64", **({"head": head} if head else {}))
        for index, atoms in enumerate(read(structures, ":")):
            atoms.calc = calculator
            answers[f"{name}:{index}:energy"] = np.array(atoms.get_potential_energy())
            answers[f"{name}:{index}:forces"] = atoms.get_forces()
            if atoms.pbc.all():
                answers[f"{name}:{index}:stress"] = atoms.get_stress(voigt=False)
    np.savez(output, allow_pickle=False, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
