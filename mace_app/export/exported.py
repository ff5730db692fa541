"""An exported file asked about many structures, in the form of the model it was made from. It runs the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from metatomic.torch import load_atomistic_model

from mace_app.export.fresh_process import through_metatomic
from mace_app.export.references import file_unit, in_angstrom, in_electronvolt
from mace_app.options import TargetInfo


class LoadedExport:
    """Physical predictions of the file ``path`` for the arrays of ``GraphSet.collate``, structure by structure, with
    the file's own neighbour list: label → float64 as of ``MaceModel.physical``, in the units of ``targets`` and
    ``length_unit``. The stress of a structure that is not periodic in three directions is NaN."""

    def __init__(self, path: Path, targets: Mapping[str, TargetInfo], length_unit: str) -> None:
        self._model: Any = load_atomistic_model(str(path))
        self._targets = dict(targets)
        self._angstrom = in_angstrom(length_unit)
        self._outputs = [
            {
                "name": name,
                "unit": file_unit(info.unit),
                "sample_kind": info.sample_kind,
                "forces": info.is_energy and bool(info.has_forces),
                "stress": info.is_energy and bool(info.has_stress),
            }
            for name, info in self._targets.items()
        ]

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        parts: dict[str, list[np.ndarray]] = {}
        for index in range(len(arrays["ptr"]) - 1):
            for label, values in self._alone(arrays, index).items():
                parts.setdefault(label, []).append(np.asarray(values, dtype=np.float64))
        return {label: torch.from_numpy(np.concatenate(values)) for label, values in parts.items()}

    def _alone(self, arrays: Mapping[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
        rows = slice(*arrays["ptr"][index : index + 2])
        atoms = Atoms(
            arrays["numbers"][rows],
            arrays["positions"][rows] * self._angstrom,
            cell=arrays["cells"][index] * self._angstrom,
            pbc=arrays["pbc"][index],
        )
        found = through_metatomic(atoms, self._outputs, self._model)
        for name, info in self._targets.items():
            if not info.is_energy:
                continue
            per_length = in_electronvolt(info.unit) / self._angstrom  # derivatives come in eV and Å
            if info.has_forces:
                found[f"{name}.forces"] = found[f"{name}.forces"] / per_length
            if info.has_stress:
                stress = found.get(f"{name}.stress", np.full((3, 3), np.nan))
                found[f"{name}.stress"] = stress.reshape(1, 3, 3) * self._angstrom**2 / per_length
        return found
