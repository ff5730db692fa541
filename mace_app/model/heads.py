"""Heads of added targets: from the node features of all layers to values per atom."""

import torch

from mace_app.model.adapter import activation, linear
from mace_app.model.config import ModelConfig
from mace_app.model.tensors import rank_two_basis
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
    """Linear → gate on scalars → linear, [N, features] → [N, *shape of the target]. Can be scripted.

    The linear layers give irreps one after the other, each [properties, 2l + 1]; the values are brought into the order
    of labels: components before properties, Cartesian ones in (x, y, z), see ``Backbone``.
    """

    basis: torch.Tensor

    def __init__(self, config: ModelConfig, target: TargetInfo, dtype: torch.dtype) -> None:
        super().__init__()
        config.check_irreps(target)
        features = config.feature_irreps
        self.hidden_irreps = hidden_irreps(features, target.irreps, parse_irreps(config.hypers.MLP_irreps))
        self.linear_1 = linear(features, self.hidden_irreps, dtype)
        self.activation = activation(self.hidden_irreps, config.hypers.gate, dtype)
        self.linear_2 = linear(self.hidden_irreps, target.irreps, dtype)
        self.kind: str = target.kind
        self.rank: int = target.rank
        self.single: bool = len(target.blocks) == 1
        self.degrees: list[int] = [irrep.l for irrep in target.irreps]
        self.copies: list[int] = [irrep.mul for irrep in target.irreps]
        basis = rank_two_basis(bool(target.symmetric)) if target.rank == 2 else torch.zeros(3, 3, 0)
        self.register_buffer("basis", basis.to(dtype), persistent=False)

    def hidden(self, features: torch.Tensor) -> torch.Tensor:
        """Last-layer features [N, H], what the last linear layer sees; irreps ``hidden_irreps``."""
        return self.activation(self.linear_1(features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        values = self.linear_2(self.hidden(features))
        if self.kind == "scalar":
            return values
        parts: list[torch.Tensor] = []
        start = 0
        for degree, copies in zip(self.degrees, self.copies):  # noqa: B905 — TorchScript has no strict
            width = copies * (2 * degree + 1)
            part = values[:, start : start + width].reshape(values.shape[0], copies, 2 * degree + 1)
            parts.append(part.transpose(1, 2))
            start += width
        if self.rank == 1:
            return torch.roll(parts[0], 1, dims=1)
        if self.rank == 2:
            return torch.einsum("ijm,nmp->nijp", self.basis, torch.cat(parts, dim=1))
        if self.single:
            return parts[0]
        return torch.cat([part.flatten(1) for part in parts], dim=1)
