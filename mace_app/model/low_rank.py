"""Low-rank corrections of the backbone's weights (LoRA: Hu and others 2021), beside it and not inside.

Every weight that is a matrix, or a row of matrices, is W + alpha/rank · A·B while the model computes; W stays as it is.
In MACE these are: the equivariant linear layers (a matrix for each path), the dense layers of the radial and density
networks, and the skip connections with elements, which are one matrix for each element and get a correction for each.
Product weights, gates, normalisations and biases are no matrices and get none. Readouts are no part of it.
"""

from collections.abc import Iterator

import torch

from mace_app.model.adapter import LinearMap, linear_maps
from mace_app.model.backbone import Backbone
from mace_app.model.config import LoRA

BODY = ("node_embedding", "radial_embedding", "pair_repulsion_fn", "interactions", "products")
# Layers that read one-hot elements.
_OF_ELEMENTS = ("node_embedding.linear", ".source_embedding", ".target_embedding")


class Correction(torch.nn.Module):
    """Of one layer's weight: for each of its ``maps`` A [copies, inputs, r] and B [copies, r, outputs], where r is
    ``rank`` or the shorter side of the map if that is less.

    A is as large as a new layer's weights, B zero. For a layer that reads elements it is the other way round: rows of A
    then belong to elements, and those of elements that the training data lack stay zero. For the same reason a map with
    copies has both factors for each copy.
    """

    def __init__(self, maps: list[LinearMap], rank: int, of_elements: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.maps = maps
        a, b = [], []
        for part in maps:
            r = min(rank, part.inputs, part.outputs)
            left, right = (part.copies, part.inputs, r), (part.copies, r, part.outputs)
            full = torch.randn(right if of_elements else left, dtype=dtype) * part.size
            zero = torch.zeros(left if of_elements else right, dtype=dtype)
            a.append(torch.nn.Parameter(zero if of_elements else full))
            b.append(torch.nn.Parameter(full if of_elements else zero))
        self.a, self.b = torch.nn.ParameterList(a), torch.nn.ParameterList(b)

    def forward(self, dtype: torch.dtype) -> torch.Tensor:
        """A·B of all maps in the order and layout of the weight, flat, computed in ``dtype``."""
        flat = []
        for part, a, b in zip(self.maps, self.a, self.b, strict=True):
            product = a.to(dtype) @ b.to(dtype)
            flat.append((product.transpose(1, 2) if part.transposed else product.transpose(0, 1)).flatten())
        return torch.cat(flat)


class LowRankCorrections(torch.nn.Module):
    """Corrections for all linear layers of ``backbone`` but its readouts. A new one changes nothing."""

    def __init__(self, backbone: Backbone, lora: LoRA, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale = lora.alpha / lora.rank
        self.weights: dict[str, str] = {}  # name of the corrected weight → name of its correction
        for name, layer in _linear_layers(backbone):
            own = name.replace(".", "-")
            self.weights[f"{name}.weight"] = own
            self.add_module(own, Correction(linear_maps(layer), lora.rank, name.endswith(_OF_ELEMENTS), dtype))

    def forward(self, backbone: Backbone, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
        """The corrected weights by their names in ``backbone``, in ``dtype`` (their own unless given)."""
        found = {}
        for name, own in self.weights.items():
            weight: torch.Tensor = backbone.get_parameter(name)
            weight = weight.to(dtype or weight.dtype)
            delta = self.get_submodule(own)(weight.dtype)
            found[name] = weight + self.scale * delta.reshape(weight.shape)
        return found


def _linear_layers(backbone: Backbone) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, layer in backbone.named_modules():
        if name.split(".")[0] in BODY and any(part.inputs and part.outputs for part in linear_maps(layer)):
            yield name, layer
