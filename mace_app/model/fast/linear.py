"""Linear layers on features in blocks.

A *block* holds all copies of one irrep: [N, 2l+1, channels], components slow, channels fast. e3nn keeps them in one row
[N, Σ channels·(2l+1)], channels slow; ``to_blocks`` and ``to_row`` go from one to the other.
"""

from typing import Any

import torch


def to_blocks(row: torch.Tensor, multiplicities: list[int], dimensions: list[int]) -> list[torch.Tensor]:
    """[N, Σ multiplicity·dimension] → one [N, dimension, multiplicity] for each irrep."""
    blocks: list[torch.Tensor] = []
    begin = 0
    for index in range(len(multiplicities)):
        width = multiplicities[index] * dimensions[index]
        part = row[:, begin : begin + width].reshape(-1, multiplicities[index], dimensions[index])
        blocks.append(part.transpose(1, 2))
        begin += width
    return blocks


def to_row(blocks: list[torch.Tensor]) -> torch.Tensor:
    """The inverse of ``to_blocks``."""
    return torch.cat([block.transpose(1, 2).reshape(block.shape[0], -1) for block in blocks], dim=1)


def shape_of(irreps: Any) -> tuple[list[int], list[int]]:
    """Multiplicities and dimensions of e3nn's irreps."""
    return [int(mul) for mul, _ in irreps], [int(ir.dim) for _, ir in irreps]


class BlockLinear(torch.nn.Module):
    """y_{o,m,c} = Σ_i Σ_c' x_{i,m,c'} W^{io}_{c'c}: one matrix for each pair of equal irreps.

    All inputs of an output are set side by side, so that each output is one matrix product.
    """

    inputs: list[list[int]]
    dimensions: list[int]
    widths: list[int]

    def __init__(self, layer: Any) -> None:
        """``layer``: e3nn's ``Linear`` without biases, whose ``weight`` ``weights`` reads."""
        super().__init__()
        self.inputs: list[list[int]] = [[] for _ in layer.irreps_out]
        self.dimensions: list[int] = [int(ir.dim) for _, ir in layer.irreps_out]
        self.widths: list[int] = [int(mul) for mul, _ in layer.irreps_out]
        parts: list[list[tuple[int, tuple[int, int], float]]] = [[] for _ in layer.irreps_out]
        offset = 0
        for path in layer.instructions:
            assert path.i_in >= 0, "a linear layer with a bias"
            shape = (int(path.path_shape[0]), int(path.path_shape[1]))
            self.inputs[path.i_out].append(int(path.i_in))
            parts[path.i_out].append((offset, shape, float(path.path_weight)))
            offset += shape[0] * shape[1]
        self._parts = parts

    def weights(self, weight: torch.Tensor) -> list[torch.Tensor]:
        """The matrix of every output that has inputs, from the layer's flat weight."""
        found = []
        for parts in self._parts:
            matrices = [
                weight.narrow(0, offset, rows * columns).view(rows, columns) * scale
                for offset, (rows, columns), scale in parts
            ]
            if matrices:
                found.append(matrices[0] if len(matrices) == 1 else torch.cat(matrices))
        return found

    def forward(self, weights: list[torch.Tensor], blocks: list[torch.Tensor]) -> list[torch.Tensor]:
        results: list[torch.Tensor] = []
        used = 0
        for index, inputs in enumerate(self.inputs):
            if len(inputs) == 0:
                like = blocks[0]
                shape = [like.shape[0], self.dimensions[index], self.widths[index]]
                results.append(torch.zeros(shape, dtype=like.dtype, device=like.device))
                continue
            block = blocks[inputs[0]] if len(inputs) == 1 else torch.cat([blocks[i] for i in inputs], dim=2)
            results.append(torch.matmul(block, weights[used]))
            used += 1
        return results


class ElementLinear(torch.nn.Module):
    """y_{o,m,c} = Σ_i Σ_c' x_{i,m,c'} W^{io}_{c'zc} for an atom of element z.

    mace-torch writes it as a tensor product with one-hot elements, over all of them; here the atoms of an element are a
    slice, and each has one matrix product.
    """

    paths: list[tuple[int, int]]
    dimensions: list[int]
    widths: list[int]

    def __init__(self, product: Any) -> None:
        """``product``: e3nn's ``FullyConnectedTensorProduct`` of features with scalars, one for each element."""
        super().__init__()
        self.paths: list[tuple[int, int]] = []
        self.dimensions: list[int] = [int(ir.dim) for _, ir in product.irreps_out]
        self.widths: list[int] = [int(mul) for mul, _ in product.irreps_out]
        self._parts: list[tuple[int, tuple[int, int, int], float]] = []
        offset = 0
        for path in product.instructions:
            rows, elements, columns = (int(size) for size in path.path_shape)
            # The coupling coefficient of l ⊗ 0 → l is 1/√(2l+1) on the diagonal.
            scale = float(path.path_weight) / float(product.irreps_out[path.i_out].ir.dim) ** 0.5
            self.paths.append((int(path.i_in1), int(path.i_out)))
            self._parts.append((offset, (rows, elements, columns), scale))
            offset += rows * elements * columns

    def weights(self, weight: torch.Tensor) -> list[torch.Tensor]:
        """[elements, inputs, outputs] of every path, from the product's flat weight."""
        return [
            (weight.narrow(0, offset, rows * elements * columns).view(rows, elements, columns) * scale).transpose(0, 1)
            for offset, (rows, elements, columns), scale in self._parts
        ]

    def forward(self, weights: list[torch.Tensor], blocks: list[torch.Tensor], counts: list[int]) -> list[torch.Tensor]:
        results: list[torch.Tensor] = []
        for output, dimension in enumerate(self.dimensions):
            total: list[torch.Tensor] = []
            for path, ends in enumerate(self.paths):
                if ends[1] == output:
                    parts: list[torch.Tensor] = []
                    slices = blocks[ends[0]].split(counts, 0)
                    for element, count in enumerate(counts):
                        if count > 0:
                            parts.append(torch.matmul(slices[element], weights[path][element]))
                    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
                    if len(total) > 0:
                        whole = whole + total.pop()
                    total.append(whole)
            if len(total) > 0:
                results.append(total[0])
            else:
                shape = [blocks[0].shape[0], dimension, self.widths[output]]
                results.append(torch.zeros(shape, dtype=blocks[0].dtype, device=blocks[0].device))
        return results
