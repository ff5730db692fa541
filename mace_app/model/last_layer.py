"""What the last layer of each target is linear in: descriptors of atoms, learned with the target."""

from typing import Any, List  # noqa: UP035 — TorchScript reads this annotation

import numpy as np
import torch

from mace_app.model.config import ModelConfig
from mace_app.model.potential import MaceModel


class InternalFeatures(torch.nn.Module):
    """What MACE's own readouts are linear in: the scalars of every layer with a linear readout, and the hidden layer of
    the non-linear one. [N, features] → [N, width]. Can be scripted; ``readouts`` may be already."""

    def __init__(self, config: ModelConfig, readouts: torch.nn.ModuleList) -> None:
        super().__init__()
        layers = config.layer_irreps
        ends = np.cumsum([sum(irrep.dimension for irrep in layer) for layer in layers])
        first = len(layers) - 1 if config.last_readout_only else 0
        self.starts: List[int] = []  # noqa: UP006
        self.stops: List[int] = []  # noqa: UP006
        self.width: int = 0
        extractors: list[torch.nn.Module] = []
        readout: Any
        for layer, end, readout in zip(layers[first:], ends[first:], readouts, strict=True):
            start = int(end) - sum(irrep.dimension for irrep in layer)
            scalars = sum(irrep.mul for irrep in layer if irrep.kind == "0e")
            if hasattr(readout, "linear"):  # the scalars come first
                extractors.append(torch.nn.Identity())
                self.stops.append(start + scalars)
                self.width += scalars
            else:
                steps = [readout.linear_1, readout.non_linearity]
                if hasattr(readout, "linear_mid"):
                    steps += [readout.linear_mid, readout.non_linearity]
                extractors.append(torch.nn.Sequential(*steps))
                self.stops.append(int(end))
                self.width += sum(irrep.mul for irrep in config.readout_irreps)
            self.starts.append(start)
        self.extractors = torch.nn.ModuleList(extractors)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        parts: List[torch.Tensor] = []  # noqa: UP006
        for index, extractor in enumerate(self.extractors):
            parts.append(extractor(features[:, self.starts[index] : self.stops[index]]))
        return torch.cat(parts, dim=1)


class EnergyFeatures:
    """The features [N, W] whose sums over the atoms of a structure a scalar ``target`` of the model is linear in, apart
    from MACE's pair repulsion."""

    def __init__(self, model: MaceModel, target: str) -> None:
        merged = model if model.corrections is None else model.merged()
        self._internal: InternalFeatures | None = None
        if target in model.config.internal_targets:
            self._internal = InternalFeatures(model.config, merged.readouts(target))
        self._head: Any = None if self._internal is not None else merged.head(target)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """From the node features [N, F] of ``MaceModel.with_features``."""
        with torch.no_grad():
            return self._head.hidden(features) if self._internal is None else self._internal(features)


def last_scalars(config: ModelConfig) -> list[int]:
    """The columns of the node features that hold the invariants (0e) of the last layer."""
    start = sum(irrep.dimension for layer in config.layer_irreps[:-1] for irrep in layer)
    columns: list[int] = []
    for irrep in config.layer_irreps[-1]:
        if irrep.kind == "0e":
            columns += range(start, start + irrep.dimension)
        start += irrep.dimension
    return columns
