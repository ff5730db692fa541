"""Errors in the units people use, for training and evaluation alike.

All values of a label count alike: every force component is one value (so the RMSE is over components, not over vector
lengths). A target of a whole structure is divided by the number of its atoms before it is compared, unless it is
listed in ``per_structure_targets`` or a mean over atoms; forces and targets per atom are not. A stress is compared as
it is (energy per volume), or, where the data gave virials, as virial −V·σ per atom. Weights of structures don't count.

RMSE = sqrt(Σ(p−r)²/n), MAE = Σ|p−r|/n, R² = 1 − Σ(p−r)²/Σ(r−r̄)², over the n values whose reference is not NaN.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import torch

from mace_app.options import TargetInfo

LENGTH_SYMBOLS = {"": "Å", "angstrom": "Å", "bohr": "bohr", "nanometer": "nm"}


@dataclass(frozen=True)
class Reported:
    """How one label is reported: in which unit, and what its values are divided by before they are compared.

    ``label`` is the label of the data; ``columns`` are those of one irrep that is reported by itself.
    """

    label: str
    unit: str
    divide: Literal["nothing", "atoms", "as virial"]
    per_atom: bool  # one row an atom, otherwise one row a structure
    columns: slice = field(default_factory=lambda: slice(None))

    def convert(self, values: torch.Tensor, atoms: torch.Tensor, volumes: torch.Tensor) -> torch.Tensor:
        """Physical ``values [rows, …]`` in the reported unit; ``atoms [G]`` and ``volumes [G]`` of the structures."""
        values = values[..., self.columns]
        if self.divide == "nothing":
            return values
        factor = 1 / atoms if self.divide == "atoms" else -volumes / atoms
        return values * factor.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))


def reported_labels(
    targets: Mapping[str, TargetInfo],
    per_structure: Iterable[str] = (),
    length_unit: str = "",
    separate_blocks: bool = False,
) -> dict[str, Reported]:
    """Every label of ``targets`` with its unit, for example ``eV/atom``, ``eV/Å``, ``eV/Å³``.

    With ``separate_blocks`` each irrep of a spherical target with several follows the whole under a name of its own,
    ``<label> (λ=2 σ=+1)``.
    """
    length = LENGTH_SYMBOLS[length_unit]
    kept = set(per_structure)
    found = {}
    for name, target in targets.items():
        unit = target.unit
        for label in target.labels():
            if label.endswith(".forces") and label != name:
                found[label] = Reported(label, _quotient(unit, length), "nothing", True)
            elif label.endswith(".stress") and label != name:
                if target.stress_from_virial:
                    found[label] = Reported(label, _quotient(unit, "atom"), "as virial", False)
                else:
                    found[label] = Reported(label, _quotient(unit, f"{length}³"), "nothing", False)
            elif target.sample_kind == "atom":
                found[label] = Reported(label, unit, "nothing", True)
            elif name in kept or target.aggregate == "mean":
                found[label] = Reported(label, unit, "nothing", False)
            else:
                found[label] = Reported(label, _quotient(unit, "atom"), "atoms", False)
        if separate_blocks and len(target.blocks) > 1:
            for block in target.blocks:
                found[f"{name} ({block.title})"] = replace(found[name], columns=slice(block.start, block.stop))
    return found


def _quotient(unit: str, below: str) -> str:
    return f"{unit}/{below}" if unit else f"1/{below}"


@dataclass(frozen=True)
class Errors:
    """``r2`` is None where the references don't vary; all are in ``unit`` but ``r2`` and ``count`` (values)."""

    mae: float
    rmse: float
    max: float
    r2: float | None
    count: int
    unit: str

    def to_json(self) -> dict[str, float | int | str | None]:
        return asdict(self)


class ErrorAccumulator:
    """Errors of several labels over a pass. ``update`` never waits for the device; sums are in float64."""

    COLUMNS = ("count", "absolute", "squared", "maximum", "mean", "spread")

    def __init__(self, reported: Mapping[str, Reported], device: torch.device | str) -> None:
        self.reported = dict(reported)
        self.labels = list(reported)
        self.sums = torch.zeros((len(self.labels), len(self.COLUMNS)), dtype=torch.float64, device=device)

    def update(self, predictions: Mapping[str, torch.Tensor], references: Mapping[str, torch.Tensor]) -> None:
        """Values already converted to the reported unit; NaN references are left out."""
        self.add(self.part(predictions, references))

    def part(
        self, predictions: Mapping[str, torch.Tensor] | None, references: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The columns for one batch alone ``[labels, 6]``; zeros without predictions."""
        if predictions is None or not self.labels:
            return torch.zeros_like(self.sums)
        return torch.stack([self._row(predictions[label], references[label]) for label in self.labels])

    @staticmethod
    def _row(prediction: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        there = ~torch.isnan(reference)
        zero = torch.zeros((), dtype=torch.float64, device=reference.device)
        values = torch.where(there, reference.double(), zero)
        error = (torch.where(there, prediction.detach().double(), zero) - values).abs()
        count = there.sum().double()
        mean = values.sum() / count.clamp(min=1)
        spread = torch.where(there, (values - mean).square(), zero).sum()
        largest = error.max() if error.numel() else zero
        return torch.stack((count, error.sum(), error.square().sum(), largest, mean, spread))

    def add(self, part: torch.Tensor) -> None:
        """Means and spreads are joined as in Chan, Golub and LeVeque (1983): no large squares to subtract."""
        before_count, absolute, squared, largest, before_mean, before_spread = self.sums.unbind(1)
        count, more_absolute, more_squared, other_largest, mean, spread = part.unbind(1)
        total = (before_count + count).clamp(min=1)
        step = mean - before_mean
        self.sums = torch.stack(
            (
                before_count + count,
                absolute + more_absolute,
                squared + more_squared,
                torch.maximum(largest, other_largest),
                before_mean + step * count / total,
                before_spread + spread + step.square() * before_count * count / total,
            ),
            dim=1,
        )

    def errors(self) -> dict[str, Errors]:
        """Labels without any value are left out. Waits for the device."""
        found = {}
        for label, (count, absolute, squared, maximum, _, spread) in zip(self.labels, self.sums.tolist(), strict=True):
            if count == 0:
                continue
            found[label] = Errors(
                mae=absolute / count,
                rmse=math.sqrt(squared / count) if squared >= 0 else math.nan,
                max=maximum,
                r2=1 - squared / spread if spread > 0 else None,
                count=int(count),
                unit=self.reported[label].unit,
            )
        return found

    def state(self) -> torch.Tensor:
        return self.sums.cpu().clone()

    def load_state(self, sums: torch.Tensor) -> None:
        self.sums = sums.to(self.sums.device)
