"""Readouts of MACE's own: those of several heads in one set of layers, as a file of mace-torch has them, and apart.

Hidden channels of the last readout belong to heads, one block after the other, and the outputs of other heads are
masked out there. So the blocks between different heads never count: they can be left out exactly, or be zero. e3nn
divides by the square root of the number of inputs, which for the layers after the hidden one is larger by the number of
heads; so their weights differ by a factor of √heads.
"""

from collections.abc import Sequence

import torch

from mace_app.options.irreps import Irrep


def scalars_seen(layer_irreps: Sequence[Sequence[Irrep]], last_only: bool, readout: int) -> int:
    """Scalar channels that the readout of this number sees: only they can become energies."""
    layer = layer_irreps[-1] if last_only else layer_irreps[readout]
    return sum(irrep.mul for irrep in layer if irrep.kind == "0e")


def part_of_readouts(key: str, value: torch.Tensor, head: int, heads: int, inputs: int) -> torch.Tensor:
    """One head's part, flat, of a weight of readouts for ``heads``. ``key`` is its name below ``readouts.``, such as
    ``1.linear_2.weight``; ``inputs`` are the ``scalars_seen``."""
    layer, kind = _layer_and_kind(key)
    if value.numel() == 0:
        return value
    if kind in ("bias", "output_mask"):
        return value.reshape(heads, -1)[head].clone()
    if layer in ("linear", "linear_1"):  # [inputs, heads·outputs]
        return value.reshape(inputs, heads, -1)[:, head].reshape(-1).clone()
    if layer == "linear_2":  # [heads·inputs, heads]
        return value.reshape(heads, -1, heads)[head, :, head].clone() / heads**0.5
    # linear_mid: [heads·inputs, heads·outputs]
    width = round(value.numel() ** 0.5) // heads
    return value.reshape(heads, width, heads, width)[head, :, head].reshape(-1).clone() / heads**0.5


def join_readouts(key: str, parts: Sequence[torch.Tensor], inputs: int) -> torch.Tensor:
    """The reverse: the weight, flat, of readouts for as many heads as there are ``parts``; zero between heads."""
    layer, kind = _layer_and_kind(key)
    heads = len(parts)
    if heads == 1 or parts[0].numel() == 0:
        return parts[0]
    if kind == "bias":
        return torch.cat([part.reshape(-1) for part in parts])
    if layer in ("linear", "linear_1"):
        return torch.stack([part.reshape(inputs, -1) for part in parts], dim=1).reshape(-1)
    blocks = [part.reshape(-1, 1) for part in parts]
    if layer == "linear_mid":
        blocks = [part.reshape(round(part.numel() ** 0.5), -1) for part in parts]
    return torch.block_diag(*blocks).reshape(-1) * heads**0.5


def _layer_and_kind(key: str) -> tuple[str, str]:
    layer, _, kind = key.partition(".")[2].rpartition(".")
    return layer, kind
