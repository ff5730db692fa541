"""A backbone whose weights no longer change, for TorchScript."""

from typing import Any

import torch

from mace_app.model.fast.arrangement import arrange
from mace_app.model.fast.core import Core


class _Stored(torch.nn.Module):
    value: torch.Tensor

    def __init__(self, part: int, name: str, value: torch.Tensor) -> None:
        super().__init__()
        self.part: int = part
        self.name: str = name
        self.register_buffer("value", value.detach().clone(memory_format=torch.contiguous_format))


class FrozenCore(torch.nn.Module):
    """``Core`` with the weights that a backbone has now, as buffers. Can be scripted by e3nn's rules."""

    element_order: torch.Tensor

    def __init__(self, backbone: Any) -> None:
        """Raises NotCovered."""
        super().__init__()
        self.core = Core(backbone)
        parts = self.core.weights(backbone)
        self.parts: int = len(parts)
        self.stored: Any = torch.nn.ModuleList(
            [
                _Stored(index, name, value)
                for index, part in enumerate(parts)
                for name, values in part.items()
                for value in values
            ]
        )
        self.reordered: bool = backbone.reordered
        self.register_buffer("element_order", backbone.element_order.clone())

    def forward(
        self, vectors: torch.Tensor, node_attributes: torch.Tensor, edge_index: torch.Tensor, mirrored: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``Backbone.forward``; ``mirrored``: see ``arrange``."""
        if self.reordered:
            node_attributes = node_attributes[:, self.element_order]
        weights: list[dict[str, list[torch.Tensor]]] = []
        for _ in range(self.parts):
            empty: dict[str, list[torch.Tensor]] = {}
            weights.append(empty)
        for stored in self.stored:
            part = weights[stored.part]
            name: str = stored.name
            if name not in part:
                none: list[torch.Tensor] = []
                part[name] = none
            part[name].append(stored.value)
        elements = torch.argmax(node_attributes, dim=1)
        arrangement = arrange(elements, edge_index, node_attributes.shape[1], mirrored)
        return self.core(weights, vectors, node_attributes, edge_index, arrangement)
