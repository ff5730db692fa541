"""The loss: one term per label, over normalised predictions and references.

Total = Σ_label weight · L_label. A term flattens everything a label holds (samples, components, properties), leaves out
references that are NaN, and applies

* mse: d², mae: |d|, huber: d²/2 for |d| ≤ δ and δ·(|d| − δ/2) beyond (Huber 1964),
* conditional_huber, for forces: huber with a δ that falls with the norm of the reference force (MACE's universal loss),

with d = prediction − reference, times the weight of the structure. ``mean`` divides by the number of values that are
there, whatever their weights, ``sum`` does not divide. A term without any value is 0 and can still be differentiated.
The masked types have the same formulas: what a mask leaves out is NaN already.

What is normalised, and how, is the model's business (``MaceModel.normalise_labels``): energies per atom and forces
in units of the scale, stress as V·stress/(N·scale).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from mace_app.model import Batch, MaceModel
from mace_app.options import LossTerm
from mace_app.options.datasets import ANGSTROM_PER_UNIT
from mace_app.options.loss_terms import EV_PER_UNIT, FORCE_REGIMES


@dataclass(frozen=True)
class TermValue:
    """One label in one batch. All are scalars on the device: the term that is minimised (without its weight), the sum
    of the entries' losses, the sum of |d| without the weights of structures, and the number of entries."""

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
    """The loss of a set of labels. A term of weight 0 is counted, for its errors, but not minimised.

    Terms in physical units come from ``scaled_terms``; ValueError for others.
    """

    def __init__(self, terms: Mapping[str, LossTerm]) -> None:
        self.terms = dict(terms)
        for label, term in self.terms.items():
            if term.physical and term.unit is None:
                raise ValueError(f"the loss of {label} is in physical units; pass it through scaled_terms")

    @property
    def labels(self) -> set[str]:
        return set(self.terms)

    @property
    def trained_labels(self) -> set[str]:
        return {label for label, term in self.terms.items() if term.weight > 0}

    def __call__(
        self, predictions: Mapping[str, torch.Tensor], references: Mapping[str, torch.Tensor], batch: Batch
    ) -> LossValue:
        """Both map labels to normalised tensors of equal shape; references are NaN where there is no label. ``batch``
        gives the weights of the structures, their sizes and volumes."""
        values = {
            label: term_value(term, predictions[label], references[label], batch) for label, term in self.terms.items()
        }
        weighted = [term.weight * values[label].value for label, term in self.terms.items() if term.weight > 0]
        return LossValue(torch.stack(weighted).sum() if weighted else torch.zeros(()), values)


def scaled_terms(terms: Mapping[str, LossTerm], model: MaceModel, length_unit: str = "") -> dict[str, LossTerm]:
    """``terms`` with those in physical units in the normalised units of ``model``, whose scale must be fitted: all of
    one energy divided by the square of its scale. ``length_unit`` is that of the data."""
    length = ANGSTROM_PER_UNIT[length_unit]
    found = {}
    for label, term in terms.items():
        if term.physical:
            name = label if label in model.config.targets else label.rpartition(".")[0]
            scale = float(model.scaler.scale(name)) * EV_PER_UNIT[model.config.targets[name].unit]
            power = 0 if label == name else 1 if label.endswith(".forces") else 3
            # Both losses in physical units are of second order, so that the weight makes up for a length that isn't Å.
            term = replace(term, unit=scale / length**power, weight=term.weight / length ** (2 * power))
        found[label] = term
    return found


def term_value(term: LossTerm, prediction: torch.Tensor, reference: torch.Tensor, batch: Batch) -> TermValue:
    there = ~torch.isnan(reference)
    # Both sides are masked before the subtraction: a NaN times a zero gradient would still be a NaN.
    zero = torch.zeros((), dtype=prediction.dtype, device=prediction.device)
    known = torch.where(there, reference.to(prediction.dtype), zero)
    difference = torch.where(there, prediction, zero) - known
    if term.as_stress:
        # Stress/σ from V·stress/(N·σ); without a volume there is no stress to compare.
        size = torch.where(batch.volume > 0, batch.n_atoms / batch.volume, 0.0)
        difference = difference * _per_row(size, difference, batch)
    entries = _entry_loss(term, difference, known) * _per_row(batch.weights, difference, batch)
    loss_sum = entries.sum()
    count = there.sum()
    value = loss_sum / count.clamp(min=1) if term.reduction == "mean" else loss_sum
    return TermValue(
        value=value,
        loss_sum=loss_sum.detach().double(),
        absolute_sum=difference.detach().abs().sum().double(),
        count=count.double(),
    )


def _per_row(values: torch.Tensor, like: torch.Tensor, batch: Batch) -> torch.Tensor:
    """``values [G]`` for each row of ``like``, which is a structure or an atom."""
    if len(like) != len(values):
        values = values[batch.structure]
    return values.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def _entry_loss(term: LossTerm, difference: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    kind = term.type.removeprefix("masked_")
    if kind == "mse":
        return difference.square()
    if kind == "mae":
        return difference.abs()
    unit = 1.0 if term.unit is None else term.unit
    delta = term.delta / unit
    if kind == "huber":
        return _huber(difference, delta)
    if kind == "conditional_huber":
        norm = torch.linalg.vector_norm(reference, dim=-1, keepdim=True)
        deltas = torch.full_like(norm, delta * FORCE_REGIMES[-1][1])
        for border, factor in reversed(FORCE_REGIMES[:-1]):
            deltas = torch.where(norm < border / unit, delta * factor, deltas)
        return _huber(difference, deltas)
    raise ValueError(f"unknown loss type {term.type!r}")


def _huber(difference: torch.Tensor, delta: torch.Tensor | float) -> torch.Tensor:
    size = difference.abs()
    return torch.where(size <= delta, 0.5 * difference.square(), delta * (size - 0.5 * delta))


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
        self.add(self.part(value))
        self.structures += structures

    def part(self, value: LossValue | None) -> torch.Tensor:
        """Of one batch: sum of the losses, sum of |d| and number of values for each label; 0 without structures."""
        if value is None or not self.labels:
            return torch.zeros_like(self.sums)
        terms = [value.terms[label] for label in self.labels]
        return torch.stack([torch.stack((term.loss_sum, term.absolute_sum, term.count)) for term in terms])

    def add(self, part: torch.Tensor) -> None:
        """Its structures are counted apart, in ``structures``."""
        self.sums = self.sums + part

    def counts(self, parts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """The number of values of each label in all ``parts`` together."""
        return dict(zip(self.labels, torch.stack([part[:, 2] for part in parts]).sum(dim=0), strict=True))

    def summary(self) -> "LossSummary":
        """Waits for the device."""
        terms: dict[str, float] = {}
        deviations: dict[str, float] = {}
        for label, (loss_sum, absolute_sum, count) in zip(self.labels, self.sums.tolist(), strict=True):
            if count == 0:
                continue
            divisor = count if self.terms[label].reduction == "mean" else self.structures
            if self.terms[label].weight > 0:
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
    """Weighted terms of the labels that had values and have a weight, so that nothing to judge by is told from a loss
    of 0; and the mean |d| of every label that had values, in normalised units."""

    total: float
    terms: dict[str, float]
    mean_deviations: dict[str, float]

    def shares(self) -> dict[str, float]:
        """What fraction of the total each term makes up; empty when the total is 0 or not finite."""
        if not 0 < self.total < float("inf"):
            return {}
        return {label: value / self.total for label, value in self.terms.items()}
