"""Run by ``check.py`` in a process of its own, as any user of the file would: with ASE and metatomic, nothing of ours.

Waits until a line of its input names a folder with ``request.json`` and ``structures.npz``, and writes ``answers.npz``
there. The first structures are asked again after the others, and often enough that TorchScript has replaced its code,
which it does after the first calls; first and last answers are handed back.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import all_changes
from metatomic.torch import AtomisticModel, ModelEvaluationOptions, ModelOutput, System, load_atomistic_model
from metatomic_ase import MetatomicCalculator
from vesin.metatomic import neighbor_lists_for_model

FEWEST_CALLS = 4
ASKED_AGAIN = 3


def variant_of(name: str) -> str:
    """``pbe`` for ``energy/pbe``, empty for ``energy``."""
    return name.partition("/")[2]


def through_calculator(atoms: Atoms, output: dict[str, Any], calculator: MetatomicCalculator) -> dict[str, np.ndarray]:
    """One energy in its unit, its forces and stress in eV and Å, and the calculator's additional outputs, computed
    with them at once as ASE's own dynamics would: large models are slow."""
    name = output["name"]
    derivatives = ["forces"] * output["forces"] + ["stress"] * (output["stress"] and bool(atoms.pbc.all()))
    answers = {}
    if output["unit"] != "eV" or output["sample_kind"] != "system" or not derivatives:
        request = {name: ModelOutput(unit=output["unit"], sample_kind=output["sample_kind"])}
        answers[name] = values_of(calculator.run_model(atoms, request)[name])
    atoms = atoms.copy()
    if derivatives:
        atoms.calc = calculator
        calculator.calculate(atoms, ["energy", *derivatives], all_changes)
        answers.setdefault(name, np.array([[atoms.get_potential_energy()]]))
        answers |= {other: values_of(tensor) for other, tensor in calculator.additional_outputs.items()}
    if "forces" in derivatives:
        answers[f"{name}.forces"] = atoms.get_forces()
    if "stress" in derivatives:
        answers[f"{name}.stress"] = atoms.get_stress(voigt=False)
    return answers


def through_metatomic(atoms: Atoms, outputs: list[dict[str, Any]], model: AtomisticModel) -> dict[str, np.ndarray]:
    """All ``outputs`` at once; forces and stress of energies by differentiation, in eV and Å."""
    wanted = {o["name"]: ModelOutput(unit=o["unit"], sample_kind=o["sample_kind"]) for o in outputs}
    results = evaluate(atoms, wanted, model)[0]
    answers = {name: values_of(results[name]) for name in wanted}
    for output in outputs:
        name = output["name"]
        if not output["forces"] and not output["stress"]:
            continue
        results, positions, strain = evaluate(atoms, {name: ModelOutput(unit="eV", sample_kind="system")}, model)
        results[name].block().values.sum().backward()
        if output["forces"]:
            answers[f"{name}.forces"] = -gradient(positions)
        if output["stress"] and atoms.pbc.all():
            answers[f"{name}.stress"] = gradient(strain) / atoms.cell.volume
    return answers


def evaluate(
    atoms: Atoms, outputs: dict[str, ModelOutput], model: AtomisticModel
) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The results, the positions and the strain they can be differentiated by."""
    dtype = getattr(torch, model.capabilities().dtype)
    positions = torch.tensor(atoms.positions, dtype=dtype, requires_grad=True)
    strain = torch.eye(3, dtype=dtype, requires_grad=True)
    cell = torch.tensor(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0), dtype=dtype)
    types = torch.tensor(atoms.numbers, dtype=torch.int32)
    system = System(types, positions @ strain, cell @ strain, torch.tensor(atoms.pbc))
    for neighbours in neighbor_lists_for_model("angstrom", model):
        neighbours.add_neighbor_list(system)
    options = ModelEvaluationOptions(length_unit="angstrom", outputs=outputs)
    return model([system], options, check_consistency=True), positions, strain


def values_of(tensor: Any) -> np.ndarray:
    """The block's values; several blocks flattened and one after the other."""
    blocks = [to_numpy(block.values) for block in tensor.blocks()]
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate([values.reshape(len(values), -1) for values in blocks], axis=1)


def gradient(leaf: torch.Tensor) -> np.ndarray:
    return np.zeros(leaf.shape) if leaf.grad is None else to_numpy(leaf.grad)


def to_numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def asked_beside(energies: list[dict[str, Any]], others: list[dict[str, Any]]) -> dict[str, ModelOutput]:
    """Outputs without derivatives, which the calculator of the first of ``energies`` can be asked for in passing."""
    if not energies or not (energies[0]["forces"] or energies[0]["stress"]):
        return {}
    plain = [output for output in others if not output["forces"] and not output["stress"]]
    return {o["name"]: ModelOutput(unit=o["unit"], sample_kind=o["sample_kind"]) for o in plain}


def main() -> None:
    warnings.simplefilter("ignore")
    name = sys.stdin.readline().strip()
    if not name:
        return  # nobody asks any more
    folder = Path(name)
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
    model = load_atomistic_model(request["model"])
    energies = [output for output in request["outputs"] if output["through"] == "calculator"]
    others = [output for output in request["outputs"] if output["through"] == "metatomic"]
    beside = asked_beside(energies, others)
    others = [output for output in others if output["name"] not in beside]
    calculators = {
        output["name"]: MetatomicCalculator(
            model,
            additional_outputs=beside if output is energies[0] else None,
            device="cpu",
            check_consistency=True,
            variants={"energy": variant_of(output["name"])} if variant_of(output["name"]) else None,
        )
        for output in energies
    }
    answers: dict[str, np.ndarray] = {}
    repeats = 2 if len(structures) >= FEWEST_CALLS else FEWEST_CALLS
    for repeat in range(repeats):
        for index, atoms in enumerate(structures[:ASKED_AGAIN] if repeat else structures):
            found = through_metatomic(atoms, others, model) if others else {}
            for output in energies:
                found |= through_calculator(atoms, output, calculators[output["name"]])
            if repeat in (0, repeats - 1):
                place = "first" if repeat == 0 else "last"
                answers |= {f"{index}:{label}:{place}": value for label, value in found.items()}
    foreign = {"mace", "e3nn", "mace_app"} & set(sys.modules)
    if foreign:
        raise SystemExit(f"the file can't be used without {', '.join(sorted(foreign))}")
    np.savez(folder / "answers.npz", allow_pickle=False, **answers)


if __name__ == "__main__":
    main()
