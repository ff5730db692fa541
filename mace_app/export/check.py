"""Comparing an exported file, run by a fresh process as any user of it would, with the model it was made from."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mace_app.export.auxiliary import auxiliary_names, auxiliary_references
from mace_app.export.errors import ExportRefused
from mace_app.export.references import (
    RELATIVE_TOLERANCE,
    Reference,
    file_unit,
    in_angstrom,
    original_references,
    references,
    structure_arrays,
)
from mace_app.model import GraphSource, MaceModel

_TIMEOUT = 900


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


Original = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""What another program says of the energies of one structure, their forces and stress, in eV and Å."""


def compare_in_fresh_process(
    model: MaceModel,
    file: Path,
    structures: GraphSource,
    length_unit: str,
    max_structures: int,
    original: Original | None = None,
) -> list[ExportCheck]:
    """One check for each label and each auxiliary output of a metatomic file. Stress is compared where a structure is
    periodic in all directions, as ASE has it. With an ``original``, of a model all of whose targets are energies in
    eV, it is the one the file must agree with; features are always those of ``model``."""
    targets = [
        {
            "name": name,
            "unit": file_unit(info.unit),
            "sample_kind": info.sample_kind,
            "through": "calculator" if _through_calculator(model, name) else "metatomic",
            "forces": info.is_energy and bool(info.has_forces),
            "stress": info.is_energy and bool(info.has_stress),
        }
        for name, info in model.config.targets.items()
    ]
    auxiliary = [
        {"name": name, "unit": "", "sample_kind": "atom", "through": "metatomic", "forces": False, "stress": False}
        for name in auxiliary_names(model.config)
    ]

    def expected(arrays: Mapping[str, np.ndarray]) -> dict[str, Reference]:
        if original is not None:
            return original_references(model, arrays, original(arrays)) | auxiliary_references(model, arrays)
        return references(model, arrays, in_angstrom(length_unit)) | auxiliary_references(model, arrays)

    return compare(
        model, file, structures, length_unit, max_structures, "fresh_process.py", targets + auxiliary, expected
    )


def compare(
    model: MaceModel,
    file: Path,
    structures: GraphSource,
    length_unit: str,
    max_structures: int,
    script: str,
    outputs: list[dict[str, Any]],
    expected: Callable[[Mapping[str, np.ndarray]], dict[str, Reference]],
) -> list[ExportCheck]:
    """Let ``script`` of this package answer for ``file`` and compare its first and last answer with ``expected``."""
    count = min(len(structures), max_structures)
    chosen = np.unique(np.linspace(0, len(structures) - 1, count).round().astype(int))
    singles = [structures.collate([int(index)]) for index in chosen]
    request = {"model": str(file.resolve()), "structures": len(singles), "outputs": outputs}
    with tempfile.TemporaryDirectory(prefix="mace-studio-export-") as folder:
        shown = structure_arrays(singles, in_angstrom(length_unit))
        np.savez(Path(folder) / "structures.npz", allow_pickle=False, **shown)
        (Path(folder) / "request.json").write_text(json.dumps(request), encoding="utf-8")
        with ThreadPoolExecutor(max_workers=1) as pool:  # our own answers meanwhile
            waiting = pool.submit(_answers, script, Path(folder))
            wanted = [expected(arrays) for arrays in singles]
        answers = waiting.result()
    differences: dict[str, list[float]] = {}
    magnitudes: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for index, found in enumerate(wanted):
        for label, (reference, magnitude) in found.items():
            given = [answers[f"{index}:{label}:first"]]
            if f"{index}:{label}:last" in answers:
                given.append(answers[f"{index}:{label}:last"])
            differences.setdefault(label, []).extend(_largest(answer, reference) for answer in given)
            magnitudes[label] = max(magnitudes.get(label, 0.0), magnitude)
            counts[label] += 1
    relative = RELATIVE_TOLERANCE[model.dtype]
    return [
        ExportCheck(label, float(np.max(values)), relative * magnitudes[label], _unit(model, label), counts[label])
        for label, values in differences.items()
    ]


def _largest(answer: np.ndarray, reference: np.ndarray) -> float:
    """NaN, which passes no check, for an answer of another shape or without numbers."""
    if answer.shape != reference.shape or not np.isfinite(answer).all():
        return float("nan")
    return float(np.abs(answer - reference).max(initial=0.0))


def _answers(script: str, folder: Path) -> dict[str, np.ndarray]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    try:
        process = subprocess.run(
            [sys.executable, "-P", str(Path(__file__).with_name(script)), str(folder)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            # A Ctrl-C or a stop asks the training to finish, not this check to die. It stays in a worker's session, so
            # that it is found and ended when the worker was killed.
            process_group=0,
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


def _unit(model: MaceModel, label: str) -> str:
    if label in model.config.targets:
        return model.config.targets[label].unit
    if label.endswith(".forces"):
        return "eV/Å"
    return "eV/Å³" if label.endswith(".stress") else ""
