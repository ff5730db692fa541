"""The model's own answers, in the form and the units in which an exported file is asked for them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from metatomic.torch import unit_conversion_factor

from mace_app.export.names import metatomic_unit
from mace_app.model import Batch, MaceModel

# Agreement that is asked for, relative to the largest value and to the scale of the target. In float64 both sides
# differ by rounding in sums of another order only. In float32 the same rounding is 1e-7 for each of some hundred
# operations, and derivatives lose another digit.
RELATIVE_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}


class Reference(NamedTuple):
    """One label of one structure, and how large such values typically are: the tolerance is a fraction of that."""

    values: np.ndarray
    magnitude: float


def in_angstrom(length_unit: str) -> float:
    """One length unit of the data in Å; an empty unit counts as Å."""
    return float(unit_conversion_factor(metatomic_unit(length_unit), "angstrom")) if length_unit else 1.0


def in_electronvolt(unit: str) -> float:
    return float(unit_conversion_factor(metatomic_unit(unit), "eV"))


def file_unit(unit: str) -> str:
    """``unit`` in metatomic's spelling; empty for one that metatomic doesn't know, such as ``cal/mol/K``."""
    spelled = metatomic_unit(unit)
    try:
        unit_conversion_factor(spelled, spelled)
    except (ValueError, RuntimeError):
        return ""
    return spelled


def references(
    model: MaceModel, arrays: Mapping[str, np.ndarray], angstrom: float, energies_in_ev: bool = False
) -> dict[str, Reference]:
    """Every label of one structure: targets in their own unit (energies in eV if asked), forces in eV/Å, stress in
    eV/Å³ and only with three periodic directions.

    An energy counts without its baseline, which is exact, except for the rounding of the sum to the dtype of the file.
    """
    batch = Batch.from_arrays(arrays, model.config.atomic_types, model.device, model.dtype)
    predictions = model(batch, model.labels)
    physical = {label: value.cpu().numpy() for label, value in model.physical(batch, predictions).items()}
    periodic = bool(np.asarray(arrays["pbc"]).all())
    relative = RELATIVE_TOLERANCE[model.dtype]
    rounding = 4 * float(torch.finfo(model.dtype).eps) / relative
    result = {}
    for name, info in model.config.targets.items():
        scale = float(model.scaler.scale(name).max())
        factor = in_electronvolt(info.unit) if info.is_energy and energies_in_ev else 1.0
        value = physical[name] * factor
        own = (predictions[name].abs().max().item() * scale + scale) * factor
        if info.sample_kind == "system" and model.config.divides_by_atoms(name):
            own *= len(batch.numbers)
        result[name] = Reference(value, own + rounding * float(np.abs(value).max()))
        if not info.is_energy:
            continue
        factor = in_electronvolt(info.unit) / angstrom
        if info.has_forces:
            forces = physical[f"{name}.forces"] * factor
            result[f"{name}.forces"] = Reference(forces, float(np.abs(forces).max()) + scale * factor)
        if info.has_stress and periodic:
            factor /= angstrom**2
            stress = physical[f"{name}.stress"][0] * factor
            size = scale * factor * len(batch.numbers) / float(batch.volume[0])
            result[f"{name}.stress"] = Reference(stress, float(np.abs(stress).max()) + size)
    return result


def original_references(
    model: MaceModel, arrays: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
) -> dict[str, Reference]:
    """``values``, what another program says of one structure, with the sizes that ``references`` would give them.
    Every target must be an energy of structures in eV, lengths in Å."""
    batch = Batch.from_arrays(arrays, model.config.atomic_types, "cpu", model.dtype)
    rounding = 4 * float(torch.finfo(model.dtype).eps) / RELATIVE_TOLERANCE[model.dtype]
    result = {}
    for name in model.config.targets:
        energy, forces, stress = values[name], values[f"{name}.forces"], values.get(f"{name}.stress")
        scale, count = float(model.scaler.scale(name).max()), len(batch.numbers)
        baseline = float(model.baseline.values(name).cpu()[batch.elements].sum())
        own = abs(energy.item() - baseline) + scale * count
        result[name] = Reference(energy.reshape(1, 1), own + rounding * abs(energy.item()))
        result[f"{name}.forces"] = Reference(forces, float(np.abs(forces).max()) + scale)
        if stress is not None:
            size = scale * count / float(batch.volume[0])
            result[f"{name}.stress"] = Reference(stress.reshape(3, 3), float(np.abs(stress).max()) + size)
    return result


def structure_arrays(singles: list[Any], angstrom: float) -> dict[str, np.ndarray]:
    """Structures as a fresh process reads them, in Å."""
    arrays = {}
    for index, single in enumerate(singles):
        arrays[f"{index}:numbers"] = np.asarray(single["numbers"])
        arrays[f"{index}:positions"] = np.asarray(single["positions"]) * angstrom
        arrays[f"{index}:cell"] = np.asarray(single["cells"])[0] * angstrom
        arrays[f"{index}:pbc"] = np.asarray(single["pbc"])[0].astype(bool)
    return arrays
