"""Heads of added targets: from the node features of all layers to values per atom."""

import torch

from mace_app.model.adapter import activation, linear
from mace_app.model.config import ModelConfig
from mace_app.model.errors import ModelError
from mace_app.options.irreps import Irrep, parse_irreps
from mace_app.options.target_info import TargetInfo


def hidden_irreps(features: list[Irrep], outputs: list[Irrep], scalars: list[Irrep]) -> list[Irrep]:
    """The layer between: for each entry of ``features`` whose kind occurs in ``outputs``, even scalars become
    ``scalars`` (once for each layer that contributes), anything else keeps its multiplicity."""
    kinds = {irrep.kind for irrep in outputs}
    hidden: list[Irrep] = []
    for entry in features:
        if entry.kind in kinds:
            hidden.extend(scalars if entry.kind == "0e" else [entry])
    return hidden


class Head(torch.nn.Module):
    """Linear → gate on scalars → linear, [N, features] → [N, *components, properties]. Can be scripted.

    Cartesian vectors leave the linear layers as (y, z, x), see ``Backbone``, and are turned back to (x, y, z).
    """

    def __init__(self, config: ModelConfig, target: TargetInfo, dtype: torch.dtype) -> None:
        super().__init__()
        if target.kind == "spherical" or target.rank > 1:
            raise ModelError(
                f"The target `{target.name}` has the type {target.type}; only scalars and Cartesian vectors "
                "(`{cartesian: {rank: 1}}`) can be learned so far."
            )
        config.check_irreps(target)
        features = config.feature_irreps
        hidden = hidden_irreps(features, target.irreps, parse_irreps(config.hypers.MLP_irreps))
        self.linear_1 = linear(features, hidden, dtype)
        self.activation = activation(hidden, config.hypers.gate, dtype)
        self.linear_2 = linear(hidden, target.irreps, dtype)
        self.is_vector: bool = target.rank == 1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        values = self.linear_2(self.activation(self.linear_1(features)))
        if self.is_vector:
            vectors = values.reshape(values.shape[0], -1, 3)
            return torch.roll(vectors, 1, dims=-1).transpose(1, 2)
        return values
