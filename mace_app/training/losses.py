"""The loss: one term per label, over normalised predictions and references.

Total = Σ_label weight · L_label. A term flattens everything a label holds (samples, components, properties), leaves out
references that are NaN, and applies

* mse: d², mae: |d|, huber: d²/2 for |d| ≤ δ and δ·(|d| − δ/2) beyond (Huber 1964; torch's ``huber_loss``),

with d = prediction − reference. ``mean`` divides by the number of values that are there, ``sum`` does not divide. A
term without any value is 0 and can still be differentiated.

What is normalised, and how, is the model's business (``MaceModel.normalise_labels``): energies per atom and forces
in units of the scale, stress as V·stress/(N·scale).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mace_app.options import LossTerm


@dataclass(frozen=True)
class TermValue:
    """One label in one batch. All are scalars on the device: the term that is minimised (without its weight), the sum
    of the entries' losses, the sum of |d|, and the number of entries."""

    value: torch.Tensor
    loss_sum: torch.Tensor
    absolute_sum: torch.Tensor
    count: torch.Tensor


@dataclass(frozen=True)
class LossValue:
    """``total`` has a graph; everything in ``terms`` but ``value`` is detached."""

    total: torch.Tensor
    terms: dict[str, TermValue]


class Loss:
    """The loss of a set of labels. A term of weight 0 is counted, for its errors, but not minimised."""

    def __init__(self, terms: Mapping[str, LossTerm]) -> None:
        self.terms = dict(terms)

    @property
    def labels(self) -> set[str]:
        return set(self.terms)

    @property
    def trained_labels(self) -> set[str]:
        return {label for label, term in self.terms.items() if term.weight > 0}

    def __call__(self, predictions: Mapping[str, torch.Tensor], references: Mapping[str, torch.Tensor]) -> LossValue:
        """Both map labels to normalised tensors of equal shape; references are NaN where there is no label."""
        values = {label: term_value(term, predictions[label], references[label]) for label, term in self.terms.items()}
        weighted = [term.weight * values[label].value for label, term in self.terms.items() if term.weight > 0]
        return LossValue(torch.stack(weighted).sum() if weighted else torch.zeros(()), values)


def term_value(term: LossTerm, prediction: torch.Tensor, reference: torch.Tensor) -> TermValue:
    there = ~torch.isnan(reference)
    # Both sides are masked before the subtraction: a NaN times a zero gradient would still be a NaN.
    zero = torch.zeros((), dtype=prediction.dtype, device=prediction.device)
    difference = torch.where(there, prediction, zero) - torch.where(there, reference.to(prediction.dtype), zero)
    entries = _entry_loss(term, difference)
    loss_sum = entries.sum()
    count = there.sum()
    value = loss_sum / count.clamp(min=1) if term.reduction == "mean" else loss_sum
    return TermValue(
        value=value,
        loss_sum=loss_sum.detach().double(),
        absolute_sum=difference.detach().abs().sum().double(),
        count=count.double(),
    )


def _entry_loss(term: LossTerm, difference: torch.Tensor) -> torch.Tensor:
    if term.type == "mse":
        return difference.square()
    if term.type == "mae":
        return difference.abs()
    if term.type == "huber":
        return torch.nn.functional.huber_loss(
            difference, torch.zeros_like(difference), reduction="none", delta=term.delta
        )
    raise ValueError(f"unknown loss type {term.type!r}")


class LossAccumulator:
    """The loss over a whole pass, independent of how it was cut into batches.

    A ``mean`` term becomes the mean over all values of the pass; a ``sum`` term the mean over structures of the sum
    within each. So the numbers of training and validation sets of any size can be compared.
    """

    def __init__(self, terms: Mapping[str, LossTerm], device: torch.device | str) -> None:
        self.terms = dict(terms)
        self.labels = list(terms)
        self.sums = torch.zeros((len(self.labels), 3), dtype=torch.float64, device=device)
        self.structures = 0

    def update(self, value: LossValue, structures: int) -> None:
        """Never waits for the device."""
        self.structures += structures
        if not self.labels:
            return
        self.sums += torch.stack(
            [
                torch.stack((term.loss_sum, term.absolute_sum, term.count))
                for term in (value.terms[label] for label in self.labels)
            ]
        )

    def summary(self) -> "LossSummary":
        """Waits for the device."""
        terms: dict[str, float] = {}
        deviations: dict[str, float] = {}
        for label, (loss_sum, absolute_sum, count) in zip(self.labels, self.sums.tolist(), strict=True):
            if count == 0:
                continue
            divisor = count if self.terms[label].reduction == "mean" else self.structures
            terms[label] = self.terms[label].weight * loss_sum / divisor
            deviations[label] = absolute_sum / count
        return LossSummary(sum(terms.values()), terms, deviations)

    def state(self) -> tuple[torch.Tensor, int]:
        return self.sums.cpu().clone(), self.structures

    def load_state(self, sums: torch.Tensor, structures: int) -> None:
        self.sums = sums.to(self.sums.device)
        self.structures = structures


@dataclass(frozen=True)
class LossSummary:
    """Weighted terms of the labels that had values, and the mean |d| of each in normalised units."""

    total: float
    terms: dict[str, float]
    mean_deviations: dict[str, float]

    def shares(self) -> dict[str, float]:
        """What fraction of the total each term makes up; empty when the total is 0 or not finite."""
        if not 0 < self.total < float("inf"):
            return {}
        return {label: value / self.total for label, value in self.terms.items()}
