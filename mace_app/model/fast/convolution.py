"""Sums over neighbours."""

from typing import Any

import torch

from mace_app.model.fast.arrangement import Arrangement


class _Source(torch.nn.Module):
    """All paths that start from one input irrep l₁."""

    couplings: torch.Tensor

    def __init__(self, source: int, dimension: int, paths: list[tuple[int, int, int, int]], couplings: torch.Tensor):
        super().__init__()
        self.source: int = source
        self.dimension: int = dimension
        self.outputs: list[int] = [path[0] for path in paths]
        self.sizes: list[int] = [path[1] for path in paths]  # 2l₃ + 1
        self.begins: list[int] = [path[2] for path in paths]  # of their weights
        self.widths: list[int] = [path[3] for path in paths]  # channels
        self.total: int = sum(self.sizes)
        self.register_buffer("couplings", couplings)


class Convolution(torch.nn.Module):
    """M_{p,m₃,c}(i) = Σ_j w_{p,c}(r_ij) Σ_{m₁m₂} C^{p}_{m₁m₂m₃} Y_{m₂}(r_ij) x_{m₁,c}(j) for every path p = (l₁, l₂, l₃).

    mace-torch forms Σ_{m₁m₂} for every edge, a tensor of edges × components × channels, and scatters it. Here
    T_{(j,m₁),m₃} = Σ_{m₂} C Y is a small matrix for each atom, free of channels, and M = Tᵀ·z is a batched matrix
    product over (j, m₁) with z_{(j,m₁),c} = w_{p,c}·x_{m₁,c}(j).
    """

    def __init__(self, product: Any, scale: float) -> None:
        """``product``: e3nn's tensor product of features with harmonics, one weight for each channel; ``scale``
        multiplies the result."""
        super().__init__()
        irreps, harmonics, outputs = product.irreps_in1, product.irreps_in2, product.irreps_out
        buffer = next((b for b in product.buffers() if b.is_floating_point()), None)
        dtype = torch.get_default_dtype() if buffer is None else buffer.dtype
        device = torch.device("cpu") if buffer is None else buffer.device
        self.output_sizes: list[int] = [int(ir.dim) for _, ir in outputs]
        self.output_widths: list[int] = [int(mul) for mul, _ in outputs]
        begins, begin = [], 0
        for path in product.instructions:
            assert path.connection_mode == "uvu" and int(path.path_shape[1]) == 1
            begins.append(begin)
            begin += int(path.path_shape[0])
        sources: list[torch.nn.Module] = []
        for source, (_, ir) in enumerate(irreps):
            paths, tables = [], []
            for index, path in enumerate(product.instructions):
                if path.i_in1 == source:
                    mul, out = outputs[path.i_out]
                    paths.append((int(path.i_out), int(out.dim), begins[index], int(mul)))
                    tables.append(_couplings(product, index, begins[index], dtype, device) * scale)
            if paths:
                # [harmonics, m₁, Σ m₃]
                table = torch.cat(tables, dim=2)
                sources.append(_Source(source, int(ir.dim), paths, table.reshape(harmonics.dim, -1).contiguous()))
        self.sources = torch.nn.ModuleList(sources)

    def forward(
        self, blocks: list[torch.Tensor], harmonics: torch.Tensor, weights: torch.Tensor, arrangement: Arrangement
    ) -> list[torch.Tensor]:
        """``blocks``: features of the atoms, at their places; ``harmonics`` [S, Σ 2l+1], zero in empty slots;
        ``weights`` [S, Σ channels]. Gives one [N, 2l₃+1, channels] for each irrep of the product's output."""
        n_atoms = blocks[0].shape[0]
        found: dict[int, torch.Tensor] = {}
        for source in self.sources:
            dimension: int = source.dimension
            tables = torch.matmul(harmonics, source.couplings).view(-1, dimension, source.total)
            features = blocks[source.source]
            width = features.shape[2]
            features = features.reshape(n_atoms, dimension * width).index_select(0, arrangement.slot_senders)
            features = features.view(-1, dimension, width)
            column = 0
            for path, output in enumerate(source.outputs):
                weight = weights[:, source.begins[path] : source.begins[path] + source.widths[path]]
                weighted = features * weight.unsqueeze(1)
                size: int = source.sizes[path]
                table = tables[:, :, column : column + size]
                column += size
                message = self._summed(table, weighted, arrangement)
                found[output] = found[output] + message if output in found else message
        results: list[torch.Tensor] = []
        for output, size in enumerate(self.output_sizes):
            if output in found:
                results.append(found[output])
            else:
                shape = [n_atoms, size, self.output_widths[output]]
                results.append(torch.zeros(shape, dtype=harmonics.dtype, device=harmonics.device))
        return results

    def _summed(self, table: torch.Tensor, weighted: torch.Tensor, arrangement: Arrangement) -> torch.Tensor:
        """Σ over the slots of every atom: tables [S, m₁, m₃] and values [S, m₁, channels] → [N, m₃, channels]."""
        parts: list[torch.Tensor] = []
        begin = 0
        for group, atoms in enumerate(arrangement.groups):
            slots = atoms * arrangement.widths[group]
            inner = arrangement.widths[group] * table.shape[1]
            left = table[begin : begin + slots].reshape(atoms, inner, table.shape[2])
            right = weighted[begin : begin + slots].reshape(atoms, inner, weighted.shape[2])
            parts.append(torch.bmm(left.transpose(1, 2), right))
            begin += slots
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts).index_select(0, arrangement.rows)


def _couplings(product: Any, index: int, begin: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Coefficients of one path [harmonics, m₁, m₃], read off the product's values for unit vectors.

    They are the same for all channels, so the first one tells them. Zero for harmonics that the path doesn't use.
    """
    path = product.instructions[index]
    first, second, third = product.irreps_in1, product.irreps_in2, product.irreps_out
    n, m, k = (int(irreps[i].ir.dim) for irreps, i in ((first, path.i_in1), (second, path.i_in2), (third, path.i_out)))
    inputs = torch.zeros((n * m, first.dim), dtype=dtype, device=device)
    harmonics = torch.zeros((n * m, second.dim), dtype=dtype, device=device)
    rows = torch.arange(n * m, device=device)
    inputs[rows, first.slices()[path.i_in1].start + rows // m] = 1
    harmonics[rows, second.slices()[path.i_in2].start + rows % m] = 1
    weights = torch.zeros((n * m, product.weight_numel), dtype=dtype, device=device)
    weights[:, begin] = 1
    with torch.no_grad():
        start = third.slices()[path.i_out].start
        values = product(inputs, harmonics, weights)[:, start : start + k]
    table = torch.zeros((second.dim, n, k), dtype=dtype, device=device)
    table[second.slices()[path.i_in2]] = values.view(n, m, k).transpose(0, 1)
    return table
