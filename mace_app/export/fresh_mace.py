"""Run by ``native.py`` in a process of its own: a ``.model`` file in mace-torch's ASE calculator, nothing of ours.

Reads the name of a folder from its input and answers as ``fresh_process.py`` does.
"""

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms


def main() -> None:
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        from mace.calculators import MACECalculator

    name_of_folder = sys.stdin.readline().strip()
    if not name_of_folder:
        return  # nobody asks any more
    folder = Path(name_of_folder)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    answers: dict[str, np.ndarray] = {}
    with np.load(folder / "structures.npz") as arrays:
        for output in request["outputs"]:
            name = output["name"]
            calculator = MACECalculator(
                request["model"], device="cpu", default_dtype=output["dtype"], head=output["head"]
            )
            for index in range(request["structures"]):
                parts = {key: arrays[f"{index}:{key}"] for key in ("numbers", "positions", "cell", "pbc")}
                for place in ("first", "last"):
                    atoms = Atoms(**parts)
                    atoms.calc = calculator
                    calculator.reset()
                    answers[f"{index}:{name}:{place}"] = np.array([[atoms.get_potential_energy()]])
                    answers[f"{index}:{name}.forces:{place}"] = atoms.get_forces()
                    if atoms.pbc.all():
                        answers[f"{index}:{name}.stress:{place}"] = atoms.get_stress(voigt=False)
    if "mace_app" in sys.modules:
        raise SystemExit("the file can't be used without mace_app")
    np.savez(folder / "answers.npz", allow_pickle=False, **answers)


if __name__ == "__main__":
    main()
