"""Uncertainties of energies kept in the checkpoint whose weights they belong to: ``uncertainty/<target>`` with the
factor [W, W], and numbers under ``uncertainty`` in the header."""

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import torch

from mace_app.model import EnergyUncertainty
from mace_app.training.checkpoint import Checkpoint
from mace_app.training.errors import CheckpointError

GROUP = "uncertainty"
_NUMBERS = tuple(entry for entry in fields(EnergyUncertainty) if entry.name != "factor")


def put_uncertainties(checkpoint: Checkpoint, found: Mapping[str, EnergyUncertainty]) -> None:
    """In place of those the checkpoint has."""
    for name in checkpoint.group(GROUP):
        del checkpoint.tensors[f"{GROUP}/{name}"]
    checkpoint.add(GROUP, {name: torch.from_numpy(entry.factor) for name, entry in found.items()})
    checkpoint.header[GROUP] = {name: numbers_of(entry) for name, entry in found.items()}


def numbers_of(uncertainty: EnergyUncertainty) -> dict[str, float | int]:
    """Everything but the factor."""
    return {entry.name: getattr(uncertainty, entry.name) for entry in _NUMBERS}


def uncertainties_of(checkpoint: Checkpoint) -> dict[str, EnergyUncertainty]:
    """Target → uncertainty; empty for a checkpoint without. Raises CheckpointError for one that is damaged."""
    found = {}
    for name, factor in checkpoint.group(GROUP).items():
        try:
            numbers = checkpoint.header[GROUP][name]
            values = {entry.name: entry.type(numbers[entry.name]) for entry in _NUMBERS}  # type: ignore[operator]
            square = factor.dim() == 2 and factor.shape[0] == factor.shape[1]
        except (KeyError, TypeError, ValueError):
            square = False
        if not square or not torch.isfinite(factor).all():
            raise CheckpointError(
                f"The uncertainty of `{name}` in {checkpoint.where} is damaged. Resume the run, which computes it anew."
            )
        found[name] = EnergyUncertainty(factor=factor.numpy().astype(np.float64), **values)
    return found
