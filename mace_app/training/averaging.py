"""A running average of the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class WeightAverage:
    """Exponential moving average of all parameters, in their own precision.

    After update n (counted from 1) average ← d·average + (1 − d)·weights with d = min(decay, (1 + n)/(10 + n)): at the
    beginning the average follows quickly, so that it does not remember the random start (the warm-up of TensorFlow's
    and torch_ema's moving averages, which MACE uses).
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._weights = {name: parameter for name, parameter in model.named_parameters()}
        self.averages = {name: parameter.detach().clone() for name, parameter in self._weights.items()}

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
        own = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
        self._copy(self.averages)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._weights.items():
            parameter.copy_(values[name])

    def load_state(self, updates: int, averages: Mapping[str, torch.Tensor]) -> None:
        self.updates = updates
        for name, average in self.averages.items():
            average.copy_(averages[name])
