"""Comparing an exported file, run by a fresh process through ASE, with the model it was made from."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from metatomic.torch import unit_conversion_factor

from mace_app.export.errors import ExportRefused
from mace_app.export.names import metatomic_unit
from mace_app.model import Batch, GraphSource, MaceModel

_SCRIPT = Path(__file__).with_name("fresh_process.py")
_TIMEOUT = 900

# Agreement that is asked for, relative to the largest value and to the scale of the target. In float64 both sides
# differ by rounding in sums of another order only. In float32 the same rounding is 1e-7 for each of some hundred
# operations, and derivatives lose another digit.
RELATIVE_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}


@dataclass(frozen=True)
class ExportCheck:
    """The largest difference between file and model in one label, over ``structures`` structures."""

    label: str
    max_difference: float
    tolerance: float
    unit: str
    structures: int

    @property
    def passed(self) -> bool:
        return self.max_difference <= self.tolerance  # False for NaN

    def to_json(self) -> dict[str, Any]:
        # JSON has no NaN; a difference that is none fails all the same.
        finite = np.isfinite(self.max_difference)
        return asdict(self) | {"max_difference": self.max_difference if finite else None}

    def __str__(self) -> str:
        verdict = "agrees" if self.passed else "DIFFERS"
        return (
            f"{self.label}: {verdict}, largest difference {self.max_difference:.3g} {self.unit} "
            f"(allowed {self.tolerance:.3g}) on {self.structures} structures"
        )


def compare_in_fresh_process(
    model: MaceModel, file: Path, structures: GraphSource, length_unit: str, max_structures: int
) -> list[ExportCheck]:
    """One check for each label. Stress is compared where a structure is periodic in all directions, as ASE has it."""
    count = min(len(structures), max_structures)
    chosen = np.unique(np.linspace(0, len(structures) - 1, count).round().astype(int))
    singles = [structures.collate([int(index)]) for index in chosen]
    angstrom = unit_conversion_factor(metatomic_unit(length_unit), "angstrom") if length_unit else 1.0
    with tempfile.TemporaryDirectory(prefix="mace-studio-export-") as folder:
        answers = _run(model, file, singles, angstrom, Path(folder))
    differences: dict[str, list[float]] = {}
    magnitudes: dict[str, float] = {}
    for index, arrays in enumerate(singles):
        for label, (reference, magnitude) in _references(model, arrays, angstrom).items():
            for repeat in ("first", "last"):
                answer = answers[f"{index}:{label}:{repeat}"]
                difference = np.abs(answer - reference)
                largest = float(difference.max()) if np.isfinite(difference).all() else float("nan")
                differences.setdefault(label, []).append(largest)
            magnitudes[label] = max(magnitudes.get(label, 0.0), magnitude)
    relative = RELATIVE_TOLERANCE[model.dtype]
    return [
        ExportCheck(label, float(np.max(values)), relative * magnitudes[label], _unit(model, label), len(values) // 2)
        for label, values in differences.items()
    ]


def _run(model: MaceModel, file: Path, singles: list[Any], angstrom: float, folder: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for index, single in enumerate(singles):
        arrays[f"{index}:numbers"] = single["numbers"]
        arrays[f"{index}:positions"] = np.asarray(single["positions"]) * angstrom
        arrays[f"{index}:cell"] = np.asarray(single["cells"])[0] * angstrom
        arrays[f"{index}:pbc"] = np.asarray(single["pbc"])[0].astype(bool)
    np.savez(folder / "structures.npz", **arrays)
    request = {
        "model": str(file.resolve()),
        "structures": len(singles),
        "outputs": [
            {
                "name": name,
                "unit": metatomic_unit(info.unit),
                "sample_kind": info.sample_kind,
                "forces": _through_calculator(model, name) and bool(info.has_forces),
                "stress": _through_calculator(model, name) and bool(info.has_stress),
            }
            for name, info in model.config.targets.items()
        ],
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    try:
        process = subprocess.run(
            [sys.executable, "-P", str(_SCRIPT), str(folder)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            start_new_session=True,  # a Ctrl-C or a stop asks the training to finish, not this check to die
        )
    except subprocess.TimeoutExpired as error:
        raise ExportRefused(
            f"The exported file was loaded in a fresh process, which gave no answer within {_TIMEOUT} s."
        ) from error
    if process.returncode != 0:
        lines = process.stderr.strip().splitlines() or [f"it ended with code {process.returncode}"]
        raise ExportRefused(f"The exported file could not be run in a fresh process: {lines[-1]}")
    with np.load(folder / "answers.npz") as answers:
        return dict(answers)


def _through_calculator(model: MaceModel, name: str) -> bool:
    """Whether ASE's calculator can be told to use this energy: only ``energy`` and its variants."""
    return name.split("/")[0] == "energy" and model.config.targets[name].is_energy


def _references(model: MaceModel, arrays: Any, angstrom: float) -> dict[str, tuple[np.ndarray, float]]:
    """The model's own answers for one structure in the units the fresh process answers in, and how large such values
    typically are: the tolerance is a fraction of that. An energy counts without its baseline, which is exact, except
    for the rounding of the sum to the dtype of the file."""
    batch = Batch.from_arrays(arrays, model.config.atomic_types, model.device, model.dtype)
    predictions = model(batch, model.labels)
    physical = model.physical(batch, predictions)
    periodic = bool(np.asarray(arrays["pbc"]).all())
    result = {}
    for name, info in model.config.targets.items():
        scale = float(model.scaler.scale(name).max())
        value = physical[name].cpu().numpy()
        own = predictions[name].abs().max().item() * scale + scale
        if model.config.divides_by_atoms(name):
            own *= len(batch.numbers)
        rounding = 4 * float(torch.finfo(model.dtype).eps) / RELATIVE_TOLERANCE[model.dtype]
        result[name] = (value, own + rounding * float(np.abs(value).max()))
        if not _through_calculator(model, name):
            continue
        electronvolt = unit_conversion_factor(metatomic_unit(info.unit), "eV")
        if info.has_forces:
            factor = electronvolt / angstrom
            forces = physical[f"{name}.forces"].cpu().numpy() * factor
            result[f"{name}.forces"] = (forces, float(np.abs(forces).max()) + scale * factor)
        if info.has_stress and periodic:
            factor = electronvolt / angstrom**3
            stress = physical[f"{name}.stress"].cpu().numpy()[0] * factor
            size = scale * factor * len(batch.numbers) / float(batch.volume[0])
            result[f"{name}.stress"] = (stress, float(np.abs(stress).max()) + size)
    return result


def _unit(model: MaceModel, label: str) -> str:
    if label in model.config.targets:
        return model.config.targets[label].unit
    return "eV/Å" if label.endswith(".forces") else "eV/Å³"
