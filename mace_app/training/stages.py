"""What is minimised in one stage of a training."""

from collections.abc import Mapping

import torch

from mace_app.options import LossTerm
from mace_app.training.losses import Loss, LossAccumulator, LossValue
from mace_app.training.metrics import ErrorAccumulator, Reported


class Stage:
    """``loss`` has every label; ``trained`` (what is reported of them) and ``trained_loss`` those with a weight."""

    def __init__(self, terms: Mapping[str, LossTerm], reported: Mapping[str, Reported]) -> None:
        self.loss = Loss(terms)
        self.trained_loss = Loss({label: term for label, term in terms.items() if term.weight > 0})
        self.trained = {name: entry for name, entry in reported.items() if entry.label in self.trained_loss.labels}

    def sums(self, device: torch.device) -> tuple[LossAccumulator, ErrorAccumulator]:
        """Empty ones for a new epoch."""
        return LossAccumulator(self.trained_loss.terms, device), ErrorAccumulator(self.trained, device)

    def part(self, value: LossValue, share: float, counts: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """What one batch adds to the loss of a step; ``share`` is the fraction of the step's structures it holds.

        Means are averaged by structures, so that batches with the same number of values each give the loss of one large
        batch; sums are added. Where ``value`` is of a part of the batch only, ``counts`` are the numbers of values in
        the whole of it: the results of all parts then add up to that of the whole batch.
        """
        if share == 1 and counts is None:
            return value.total
        terms = []
        for label, term in self.trained_loss.terms.items():
            one = value.terms[label]
            weight: float | torch.Tensor = term.weight
            if term.reduction == "mean":
                weight = term.weight * share
                if counts is not None:
                    weight = (weight * one.count / counts[label].clamp(min=1)).to(one.value.dtype)
            terms.append(weight * one.value)
        return torch.stack(terms).sum()
