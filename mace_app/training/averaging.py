"""Averages of the weights, which predict better than the weights of the last step."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import torch


class Average(Protocol):
    """What the trainer does with an average."""

    updates: int

    @property
    def averages(self) -> Mapping[str, torch.Tensor]:
        """Of what is trained, by the names of the parameters."""

    def update(self) -> None:
        """Called after every step."""

    def applied(self) -> AbstractContextManager[None]:
        """Inside the block the model has the averages as its weights; afterwards exactly its own again."""

    def restart(self) -> None:
        """What is minimised, or the learning rate, is another from now on."""

    def load_state(self, updates: int, averages: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint."""


if TYPE_CHECKING:
    from schedulefree import AdamWScheduleFree


class WeightAverage:
    """Exponential moving average of all parameters that are trained, in their own precision.

    After update n (counted from 1) average ← d·average + (1 − d)·weights with d = min(decay, (1 + n)/(10 + n)): at the
    beginning the average follows quickly, so that it does not remember the random start (the warm-up of TensorFlow's
    and torch_ema's moving averages, which MACE uses).
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._weights = trained_weights(model)
        self.averages: Mapping[str, torch.Tensor] = copies(self._weights)

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages = list(self.averages.values())
        if averages:
            torch._foreach_lerp_(averages, [w.detach() for w in self._weights.values()], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model has the averages as its weights; afterwards exactly its own again."""
        own = copies(self._weights)
        put(self.averages, self._weights)
        try:
            yield
        finally:
            put(own, self._weights)

    def restart(self) -> None:
        """It forgets the past by itself."""

    def load_state(self, updates: int, averages: Mapping[str, torch.Tensor]) -> None:
        self.updates = updates
        for name, average in self.averages.items():
            average.copy_(averages[name])


class ScheduleFreeAverage:
    """The average that a schedule-free optimiser predicts with (Defazio and others 2024, x in their equation 3).

    Training moves the weights at another point, y; the package's ``train()`` and ``eval()`` go from one to the other
    and back by an interpolation, which rounds. So the weights at y are put back from a copy: looking at the average,
    to validate or to save, leaves no trace in the training.
    """

    updates = 0

    def __init__(self, model: torch.nn.Module, optimiser: "AdamWScheduleFree") -> None:
        self.optimiser = optimiser
        self._weights = trained_weights(model)

    @property
    def averages(self) -> Mapping[str, torch.Tensor]:
        with self.applied():
            return copies(self._weights)

    def update(self) -> None:
        """The optimiser does it."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        own = copies(self._weights)
        self.optimiser.eval()
        try:
            yield
        finally:
            self.optimiser.train()
            put(own, self._weights)

    @torch.no_grad()
    def restart(self) -> None:
        """The optimiser's three points are joined in the average, and its past no longer counts.

        Otherwise the average would hardly move any more, since every step so far has a vote in it.
        """
        self.optimiser.eval()
        for group in self.optimiser.param_groups:
            for weight in group["params"]:
                if "z" in self.optimiser.state[weight]:
                    self.optimiser.state[weight]["z"].copy_(weight)
            group["weight_sum"], group["lr_max"] = 0.0, -1.0
        self.optimiser.train()

    def load_state(self, updates: int, averages: Mapping[str, torch.Tensor]) -> None:
        """It is made from the optimiser's state."""


def trained_weights(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Frozen ones need no average, and rounding must not touch them."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def copies(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@torch.no_grad()
def put(values: Mapping[str, torch.Tensor], into: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in into.items():
        tensor.copy_(values[name])
