"""Run by ``check.py`` in a process of its own, as any user of the file would: with ASE and metatomic, nothing of ours.

Takes a folder with ``request.json`` and ``structures.npz`` and writes ``answers.npz`` there. Every structure is asked
several times, because TorchScript replaces its code after the first calls; first and last answers are handed back.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from metatomic.torch import ModelOutput
from metatomic_ase import MetatomicCalculator

REPEATS = 4


def variant_of(name: str) -> str | None:
    """``pbe`` for ``energy/pbe``, empty for ``energy``, None for what is no energy to ASE."""
    base, _, variant = name.partition("/")
    return variant if base == "energy" else None


def answers_for(atoms: Atoms, output: dict[str, Any], calculator: MetatomicCalculator) -> dict[str, np.ndarray]:
    name = output["name"]
    request = {name: ModelOutput(unit=output["unit"], sample_kind=output["sample_kind"])}
    block = calculator.run_model(atoms, request)[name].block()
    answers = {name: block.values.detach().cpu().numpy()}
    if output["forces"] or output["stress"]:
        atoms = atoms.copy()
        atoms.calc = calculator
        if output["forces"]:
            answers[f"{name}.forces"] = atoms.get_forces()
        if output["stress"] and atoms.pbc.all():
            answers[f"{name}.stress"] = atoms.get_stress(voigt=False)
    return answers


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    with np.load(folder / "structures.npz") as arrays:
        structures = [
            Atoms(
                arrays[f"{i}:numbers"],
                positions=arrays[f"{i}:positions"],
                cell=arrays[f"{i}:cell"],
                pbc=arrays[f"{i}:pbc"],
            )
            for i in range(request["structures"])
        ]
    variants = [variant_of(output["name"]) for output in request["outputs"]]
    first = next((variant for variant in variants if variant is not None), "")
    calculators = {
        variant: MetatomicCalculator(
            request["model"], device="cpu", check_consistency=True, variants={"energy": variant} if variant else None
        )
        for variant in dict.fromkeys(first if variant is None else variant for variant in variants)
    }
    answers: dict[str, np.ndarray] = {}
    for repeat in range(REPEATS):
        for index, atoms in enumerate(structures):
            for output, variant in zip(request["outputs"], variants, strict=True):
                for label, value in answers_for(
                    atoms, output, calculators[first if variant is None else variant]
                ).items():
                    if repeat in (0, REPEATS - 1):
                        answers[f"{index}:{label}:{'first' if repeat == 0 else 'last'}"] = value
    foreign = {"mace", "e3nn", "mace_app"} & set(sys.modules)
    if foreign:
        raise SystemExit(f"the file can't be used without {', '.join(sorted(foreign))}")
    np.savez(folder / "answers.npz", allow_pickle=False, **answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
