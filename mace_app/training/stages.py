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

    def part(self, value: LossValue, share: float) -> torch.Tensor:
        """What one batch adds to the loss of a step; ``share`` is the fraction of the step's structures it holds.

        Means are averaged by structures, so that batches with the same number of values each give the loss of one large
        batch; sums are added.
        """
        if share == 1:
            return value.total
        terms = [
            term.weight * (share if term.reduction == "mean" else 1.0) * value.terms[label].value
            for label, term in self.trained_loss.terms.items()
        ]
        return torch.stack(terms).sum()
