"""Comparing an exported file, run by a fresh process as any user of it would, with the model it was made from."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mace_app.export.auxiliary import auxiliary_names, auxiliary_references, uncertainty_references
from mace_app.export.fresh import FreshProcess, half_the_threads
from mace_app.export.names import uncertainty_name
from mace_app.export.references import (
    RELATIVE_TOLERANCE,
    Reference,
    file_unit,
    in_angstrom,
    original_references,
    references,
    structure_arrays,
)
from mace_app.model import EnergyUncertainty, GraphSource, MaceModel

SCRIPT = "fresh_process.py"


@dataclass(frozen=True)
class ExportCheck:
    """How far file and model are apart in one label, over ``structures`` structures.

    ``max_difference`` and ``tolerance`` are those of the structure that comes closest to what is allowed for it, or
    goes beyond: a large energy may differ by more than a small one. ``by_structure`` has the difference of each
    structure by its place among those that were compared.
    """

    label: str
    max_difference: float
    tolerance: float
    unit: str
    structures: int
    by_structure: Mapping[int, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.max_difference <= self.tolerance  # False for NaN

    def to_json(self) -> dict[str, Any]:
        # JSON has no NaN; a difference that is none fails all the same.
        finite = np.isfinite(self.max_difference)
        return {
            "label": self.label,
            "max_difference": self.max_difference if finite else None,
            "tolerance": self.tolerance,
            "unit": self.unit,
            "structures": self.structures,
        }

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
    process: FreshProcess | None = None,
    uncertainties: Mapping[str, EnergyUncertainty] | None = None,
) -> list[ExportCheck]:
    """One check for each label and each auxiliary output of a metatomic file. Stress is compared where a structure is
    periodic in all directions, as ASE has it. With an ``original``, of a model all of whose targets are energies in
    eV, it is the one the file must agree with; features are always those of ``model``.
    ``process`` may have been started for ``SCRIPT`` already."""
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

    uncertain = {name: entry for name, entry in (uncertainties or {}).items() if uncertainty_name(name)}
    auxiliary += [
        {
            "name": uncertainty_name(name),
            "unit": file_unit(model.config.targets[name].unit),
            "sample_kind": "system",
            "through": "metatomic",
            "forces": False,
            "stress": False,
        }
        for name in uncertain
    ]

    def expected(arrays: Mapping[str, np.ndarray]) -> dict[str, Reference]:
        beside = auxiliary_references(model, arrays) | uncertainty_references(model, arrays, uncertain)
        if original is not None:
            return original_references(model, arrays, original(arrays)) | beside
        return references(model, arrays, in_angstrom(length_unit)) | beside

    return compare(
        model, file, structures, length_unit, max_structures, process or SCRIPT, targets + auxiliary, expected
    )


def compare(
    model: MaceModel,
    file: Path,
    structures: GraphSource,
    length_unit: str,
    max_structures: int,
    process: FreshProcess | str,
    outputs: list[dict[str, Any]],
    expected: Callable[[Mapping[str, np.ndarray]], dict[str, Reference]],
) -> list[ExportCheck]:
    """Let ``process``, or a new one for a script of this package, answer for ``file``, and compare its first and last
    answer with ``expected``."""
    count = min(len(structures), max_structures)
    chosen = np.unique(np.linspace(0, len(structures) - 1, count).round().astype(int))
    singles = [structures.collate([int(index)]) for index in chosen]
    request = {"model": str(file.resolve()), "structures": len(singles), "outputs": outputs}
    with FreshProcess(process) if isinstance(process, str) else nullcontext(process) as fresh:
        shown = structure_arrays(singles, in_angstrom(length_unit))
        np.savez(fresh.folder / "structures.npz", allow_pickle=False, **shown)
        (fresh.folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        with ThreadPoolExecutor(max_workers=1) as pool, half_the_threads():  # our own answers meanwhile
            waiting = pool.submit(fresh.answers)
            wanted = [expected(arrays) for arrays in singles]
        answers = waiting.result()
    differences: dict[str, dict[int, float]] = {}
    allowed: dict[str, dict[int, float]] = {}
    relative = RELATIVE_TOLERANCE[model.dtype]
    for index, found in enumerate(wanted):
        for label, (reference, magnitude) in found.items():
            given = [answers[f"{index}:{label}:first"]]
            if f"{index}:{label}:last" in answers:
                given.append(answers[f"{index}:{label}:last"])
            largest = float(np.max([_largest(answer, reference) for answer in given]))
            differences.setdefault(label, {})[index] = largest
            allowed.setdefault(label, {})[index] = relative * magnitude
    checks = []
    for label, values in differences.items():
        bounds = allowed[label]
        used = {index: _part_used(value, bounds[index]) for index, value in values.items()}
        worst = max(used, key=used.__getitem__)
        checks.append(ExportCheck(label, values[worst], bounds[worst], _unit(model, label), len(values), values))
    return checks


def _part_used(difference: float, allowed: float) -> float:
    """Of what is allowed; without end for a difference that is no number."""
    if difference == 0:
        return 0.0
    return difference / allowed if np.isfinite(difference) and allowed > 0 else float("inf")


def _largest(answer: np.ndarray, reference: np.ndarray) -> float:
    """NaN, which passes no check, for an answer of another shape or without numbers."""
    if answer.shape != reference.shape or not np.isfinite(answer).all():
        return float("nan")
    return float(np.abs(answer - reference).max(initial=0.0))


def _through_calculator(model: MaceModel, name: str) -> bool:
    """Whether ASE's calculator can be told to use this energy: only ``energy`` and its variants."""
    return name.split("/")[0] == "energy" and model.config.targets[name].is_energy


def _unit(model: MaceModel, label: str) -> str:
    for name, info in model.config.targets.items():
        if label in (name, uncertainty_name(name)):
            return info.unit
    if label.endswith(".forces"):
        return "eV/Å"
    return "eV/Å³" if label.endswith(".stress") else ""
