"""mace-torch's interaction blocks, products and readouts on blocks of features.

Every class computes what the module it was made from computes, and reads its weights from it: ``weights`` turns that
module's parameters into the matrices that ``forward`` takes, so that gradients reach the parameters and an export may
do it once.
"""

from typing import Any

import torch

from mace_app.model.fast.arrangement import Arrangement
from mace_app.model.fast.contraction import Contraction
from mace_app.model.fast.convolution import Convolution
from mace_app.model.fast.linear import BlockLinear, ElementLinear, shape_of, to_blocks, to_row
from mace_app.model.fast.radial import RadialNetwork

Weights = dict[str, list[torch.Tensor]]


class Plain(torch.nn.Module):
    """The blocks without and with residual connection, divided by a number or by a density.

    m = Linear(Convolution(Linear(x))) / n̄ or / (ρ + 1) with ρ_i = Σ_j tanh(d(r_ij)²); an element's own matrix acts on
    m where there is no residual connection, on x for the skip where there is one.
    """

    def __init__(self, block: Any, residual: bool, density: bool) -> None:
        super().__init__()
        self.residual: bool = residual
        self.density: bool = density
        self.up = BlockLinear(block.linear_up)
        self.radial = RadialNetwork(block.conv_tp_weights)
        self.convolution = Convolution(block.conv_tp, 1.0 if density else 1 / float(block.avg_num_neighbors))
        self.linear = BlockLinear(block.linear)
        self.skip = ElementLinear(block.skip_tp)
        self.density_network = RadialNetwork(block.density_fn if density else block.conv_tp_weights)

    def weights(self, block: Any) -> Weights:
        found = {
            "up": self.up.weights(block.linear_up.weight),
            "radial": self.radial.weights(block.conv_tp_weights),
            "linear": self.linear.weights(block.linear.weight),
            "skip": self.skip.weights(block.skip_tp.weight),
        }
        if self.density:
            found["density"] = self.density_network.weights(block.density_fn)
        return found

    def forward(
        self,
        weights: dict[str, list[torch.Tensor]],
        blocks: list[torch.Tensor],
        elements: torch.Tensor,
        harmonics: torch.Tensor,
        radial: torch.Tensor,
        cutoff: torch.Tensor | None,
        arrangement: Arrangement,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Message and skip connection (or nothing), in blocks. ``elements`` [N] at places; ``harmonics`` [S, …];
        ``radial`` [H, …] and ``cutoff`` [H, 1] of the given edges."""
        edge_weights = self.radial(weights["radial"], radial)
        if cutoff is not None:
            edge_weights = edge_weights * cutoff
        up = self.up(weights["up"], blocks)
        sums = self.convolution(up, harmonics, edge_weights, arrangement.slot_pairs, arrangement)
        messages = self.linear(weights["linear"], sums)
        if self.density:
            densities = torch.tanh(self.density_network(weights["density"], radial) ** 2)
            if cutoff is not None:
                densities = densities * cutoff
            total = torch.ones((blocks[0].shape[0], 1), dtype=radial.dtype, device=radial.device)
            total = total.index_add(0, arrangement.receivers, densities.index_select(0, arrangement.pairs))
            total = total.unsqueeze(2)
            messages = [message / total for message in messages]
        if self.residual:
            return messages, self.skip(weights["skip"], blocks, arrangement.counts)
        nothing: list[torch.Tensor] = []
        return self.skip(weights["skip"], messages, arrangement.counts), nothing


class Attention(torch.nn.Module):
    """The attention-like block: radial weights that also depend on scalars of both atoms."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.up = BlockLinear(block.linear_up)
        self.down = BlockLinear(block.linear_down)
        self.radial = RadialNetwork(block.conv_tp_weights)
        self.convolution = Convolution(block.conv_tp, 1 / float(block.avg_num_neighbors))
        self.linear = BlockLinear(block.linear)
        self.skip = BlockLinear(block.skip_linear)

    def weights(self, block: Any) -> Weights:
        return {
            "up": self.up.weights(block.linear_up.weight),
            "down": self.down.weights(block.linear_down.weight),
            "radial": self.radial.weights(block.conv_tp_weights),
            "linear": self.linear.weights(block.linear.weight),
            "skip": self.skip.weights(block.skip_linear.weight),
        }

    def forward(
        self,
        weights: dict[str, list[torch.Tensor]],
        blocks: list[torch.Tensor],
        elements: torch.Tensor,
        harmonics: torch.Tensor,
        radial: torch.Tensor,
        cutoff: torch.Tensor | None,
        arrangement: Arrangement,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """As ``Plain.forward``."""
        down = self.down(weights["down"], blocks)[0].squeeze(1)
        edge_weights = self.radial.of_both_atoms(weights["radial"], radial, down, down, arrangement)
        if cutoff is not None:
            edge_weights = edge_weights * cutoff.index_select(0, arrangement.pairs)
        up = self.up(weights["up"], blocks)
        sums = self.convolution(up, harmonics, edge_weights, _slots_of_edges(arrangement), arrangement)
        return self.linear(weights["linear"], sums), self.skip(weights["skip"], blocks)


class Gated(torch.nn.Module):
    """The non-linear block: radial weights that depend on both elements, a density, and gates.

    m = Linear₂(gate(Linear₁(Convolution) / (β·ρ + α) + Linear_res(up))).
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.up = BlockLinear(block.linear_up)
        self.source = BlockLinear(block.source_embedding)
        self.target = BlockLinear(block.target_embedding)
        self.residual = BlockLinear(block.linear_res)
        self.radial = RadialNetwork(block.conv_tp_weights)
        self.density_network = RadialNetwork(block.density_fn)
        self.convolution = Convolution(block.conv_tp, 1.0)
        self.first = BlockLinear(block.linear_1)
        self.gate = block.equivariant_nonlin
        self.second = BlockLinear(block.linear_2)
        self.skip = BlockLinear(block.skip_tp)
        self.multiplicities, self.dimensions = shape_of(block.linear_2.irreps_in)

    def weights(self, block: Any) -> Weights:
        return {
            "up": self.up.weights(block.linear_up.weight),
            "source": self.source.weights(block.source_embedding.weight),
            "target": self.target.weights(block.target_embedding.weight),
            "residual": self.residual.weights(block.linear_res.weight),
            "radial": self.radial.weights(block.conv_tp_weights),
            "density": self.density_network.weights(block.density_fn),
            "first": self.first.weights(block.linear_1.weight),
            "second": self.second.weights(block.linear_2.weight),
            "skip": self.skip.weights(block.skip_tp.weight),
            "normalisation": [block.alpha, block.beta],
        }

    def forward(
        self,
        weights: dict[str, list[torch.Tensor]],
        blocks: list[torch.Tensor],
        elements: torch.Tensor,
        harmonics: torch.Tensor,
        radial: torch.Tensor,
        cutoff: torch.Tensor | None,
        arrangement: Arrangement,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """As ``Plain.forward``."""
        source = weights["source"][0].index_select(0, elements)
        target = weights["target"][0].index_select(0, elements)
        edge_weights = self.radial.of_both_atoms(weights["radial"], radial, source, target, arrangement)
        densities = self.density_network.of_both_atoms(weights["density"], radial, source, target, arrangement)
        densities = torch.tanh(densities**2)
        if cutoff is not None:
            of_edges = cutoff.index_select(0, arrangement.pairs)
            edge_weights = edge_weights * of_edges
            densities = densities * of_edges
        up = self.up(weights["up"], blocks)
        sums = self.convolution(up, harmonics, edge_weights, _slots_of_edges(arrangement), arrangement)
        total = torch.zeros((blocks[0].shape[0], 1), dtype=radial.dtype, device=radial.device)
        total = total.index_add(0, arrangement.receivers, densities)
        normalisation = (total * weights["normalisation"][1] + weights["normalisation"][0]).unsqueeze(2)
        messages = self.first(weights["first"], sums)
        residuals = self.residual(weights["residual"], up)
        for index, residual in enumerate(residuals):
            messages[index] = messages[index] / normalisation + residual
        gated = to_blocks(self.gate(to_row(messages)), self.multiplicities, self.dimensions)
        return self.second(weights["second"], gated), self.skip(weights["skip"], blocks)


def _slots_of_edges(arrangement: Arrangement) -> torch.Tensor:
    """The directed edge of each slot, and an arbitrary one where it is empty."""
    return torch.clamp(arrangement.slot_edges, max=max(0, arrangement.senders.shape[0] - 1))


class Product(torch.nn.Module):
    """Symmetric contraction, linear layer, and the skip connection where there is one."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.contraction = Contraction(block.symmetric_contractions)
        self.linear = BlockLinear(block.linear)
        self.agnostic: bool = bool(block.use_agnostic_product)
        self.with_skip: bool = bool(block.use_sc)

    def weights(self, block: Any) -> Weights:
        return {
            "contraction": self.contraction.weights(block.symmetric_contractions),
            "linear": self.linear.weights(block.linear.weight),
        }

    def forward(
        self,
        weights: dict[str, list[torch.Tensor]],
        messages: list[torch.Tensor],
        skip: list[torch.Tensor],
        arrangement: Arrangement,
    ) -> list[torch.Tensor]:
        features = torch.cat(messages, dim=1).permute(2, 1, 0).contiguous()
        counts = [features.shape[2]] if self.agnostic else arrangement.counts
        products = self.contraction(weights["contraction"], features, counts, arrangement.present)
        blocks = self.linear(weights["linear"], [product.permute(2, 1, 0) for product in products])
        if self.with_skip and len(skip) > 0:
            for index, block in enumerate(skip):
                blocks[index] = blocks[index] + block
        return blocks


class Readout(torch.nn.Module):
    """mace-torch's readout of one head, linear or with one hidden layer: blocks → [N]."""

    def __init__(self, readout: Any) -> None:
        super().__init__()
        self.hidden: bool = not hasattr(readout, "linear")
        self.first = BlockLinear(readout.linear_1 if self.hidden else readout.linear)
        last = readout.linear_2 if self.hidden else readout.linear
        self.last = BlockLinear(last)
        self.activation: torch.nn.Module = readout.non_linearity if self.hidden else torch.nn.Identity()
        self.multiplicities, self.dimensions = shape_of(last.irreps_in)

    def weights(self, readout: Any) -> Weights:
        if not self.hidden:
            return {"last": self.last.weights(readout.linear.weight)}
        return {
            "first": self.first.weights(readout.linear_1.weight),
            "last": self.last.weights(readout.linear_2.weight),
        }

    def forward(self, weights: dict[str, list[torch.Tensor]], blocks: list[torch.Tensor]) -> torch.Tensor:
        if self.hidden:
            row = self.activation(to_row(self.first(weights["first"], blocks)))
            blocks = to_blocks(row, self.multiplicities, self.dimensions)
        return self.last(weights["last"], blocks)[0].reshape(-1)


class LibraryReadout(torch.nn.Module):
    """Any other readout, by mace-torch's own module: blocks → [N]."""

    def __init__(self, readout: Any) -> None:
        super().__init__()
        self.readout = readout

    def weights(self, readout: Any) -> Weights:
        return {}

    def forward(self, weights: dict[str, list[torch.Tensor]], blocks: list[torch.Tensor]) -> torch.Tensor:
        return self.readout(to_row(blocks)).reshape(-1)
