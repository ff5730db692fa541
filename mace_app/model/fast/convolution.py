"""Sums over neighbours."""

from typing import Any

import torch

from mace_app.model.fast.arrangement import Arrangement


class _Source(torch.nn.Module):
    """All paths that start from one input irrep l₁."""

    couplings: torch.Tensor

    def __init__(self, source: int, dimension: int, paths: list[tuple[int, int, int]], couplings: torch.Tensor):
        super().__init__()
        self.source: int = source
        self.dimension: int = dimension
        self.outputs: list[int] = [path[0] for path in paths]
        self.sizes: list[int] = [path[1] for path in paths]  # 2l₃ + 1
        self.paths: list[int] = [path[2] for path in paths]  # their numbers among all
        self.total: int = sum(self.sizes)
        self.register_buffer("couplings", couplings)


class Convolution(torch.nn.Module):
    """M_{p,m₃,c}(i) = Σ_j w_{p,c}(r_ij) Σ_{m₁m₂} C^{p}_{m₁m₂m₃} Y_{m₂}(r_ij) x_{m₁,c}(j) for each path p = l₁, l₂, l₃.

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
        self.path_widths: list[int] = [int(path.path_shape[0]) for path in product.instructions]
        sources: list[torch.nn.Module] = []
        for source, (_, ir) in enumerate(irreps):
            paths, tables = [], []
            for index, path in enumerate(product.instructions):
                if path.i_in1 == source:
                    paths.append((int(path.i_out), int(outputs[path.i_out].ir.dim), index))
                    tables.append(_couplings(product, index, begins[index], dtype, device) * scale)
            if paths:
                # [harmonics, m₁, Σ m₃]
                table = torch.cat(tables, dim=2)
                sources.append(_Source(source, int(ir.dim), paths, table.reshape(harmonics.dim, -1).contiguous()))
        self.sources: Any = torch.nn.ModuleList(sources)

    def forward(
        self,
        blocks: list[torch.Tensor],
        harmonics: torch.Tensor,
        weights: torch.Tensor,
        slot_weights: torch.Tensor,
        arrangement: Arrangement,
    ) -> list[torch.Tensor]:
        """``blocks``: features of the atoms, at their places; ``harmonics`` [S, Σ 2l+1], zero in empty slots;
        ``weights`` [rows, Σ channels], of which slot s has the row ``slot_weights[s]``. Gives one [N, 2l₃+1, channels]
        for each irrep of the product's output."""
        of_path: list[torch.Tensor] = []
        # Splitting, unlike slicing, has a derivative without tensors of zeros.
        for part in weights.split(self.path_widths, 1):
            of_path.append(part.index_select(0, slot_weights))
        groups, widths = arrangement.groups, arrangement.widths
        if len(groups) == 1:
            return self._messages(blocks, harmonics, of_path, arrangement.slot_senders, groups[0], widths[0])
        sizes: list[int] = []
        for group, atoms in enumerate(groups):
            sizes.append(atoms * widths[group])
        harmonics_of, senders_of = harmonics.split(sizes, 0), arrangement.slot_senders.split(sizes, 0)
        weights_of: list[list[torch.Tensor]] = []
        for part in of_path:
            weights_of.append(part.split(sizes, 0))
        collected: list[list[torch.Tensor]] = []
        for group, atoms in enumerate(groups):
            chosen: list[torch.Tensor] = []
            for parts in weights_of:
                chosen.append(parts[group])
            collected.append(
                self._messages(blocks, harmonics_of[group], chosen, senders_of[group], atoms, widths[group])
            )
        results: list[torch.Tensor] = []
        for output in range(len(self.output_sizes)):
            rows: list[torch.Tensor] = []
            for messages in collected:
                rows.append(messages[output])
            results.append(torch.cat(rows).index_select(0, arrangement.rows))
        return results

    def _messages(
        self,
        blocks: list[torch.Tensor],
        harmonics: torch.Tensor,
        weights: list[torch.Tensor],
        senders: torch.Tensor,
        atoms: int,
        width: int,
    ) -> list[torch.Tensor]:
        """For one group of atoms with equally long rows. Slots run along the second but last axis of everything that
        has channels, so that one weight for all m₁ is repeated in long stretches."""
        found: dict[int, torch.Tensor] = {}
        for source in self.sources:
            dimension: int = source.dimension
            total: int = source.total
            tables = torch.matmul(harmonics, source.couplings).view(atoms, width, dimension, total).transpose(1, 2)
            of_output = tables.reshape(atoms, dimension * width, total).transpose(1, 2).split(source.sizes, 1)
            block = blocks[source.source]
            channels = block.shape[2]
            rows = senders
            if dimension > 1:
                components = torch.arange(dimension, device=senders.device).view(1, -1, 1)
                rows = (senders.view(atoms, 1, width) * dimension + components).view(-1)
            features = block.reshape(-1, channels).index_select(0, rows).view(atoms, dimension, width, channels)
            for path, output in enumerate(source.outputs):
                weight = weights[source.paths[path]].view(atoms, 1, width, channels)
                weighted = (features * weight).view(atoms, dimension * width, channels)
                message = torch.bmm(of_output[path], weighted)
                found[output] = found[output] + message if output in found else message
        results: list[torch.Tensor] = []
        for output, size in enumerate(self.output_sizes):
            if output in found:
                results.append(found[output])
            else:
                shape = [atoms, size, self.output_widths[output]]
                results.append(torch.zeros(shape, dtype=harmonics.dtype, device=harmonics.device))
        return results


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
