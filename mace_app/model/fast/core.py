"""The whole backbone on the fast algebra."""

from typing import Any

import torch

from mace_app.model.fast.arrangement import Arrangement
from mace_app.model.fast.harmonics import HIGHEST, LibraryHarmonics, Polynomials
from mace_app.model.fast.layers import Attention, Gated, LibraryReadout, Plain, Product, Readout, Weights
from mace_app.model.fast.linear import to_row


class NotCovered(Exception):
    """The backbone has a part that this algebra doesn't cover; the message says which."""


class Core(torch.nn.Module):
    """What ``Backbone.forward`` gives, from the tables and the order of computing of this package.

    Holds no parameters: ``weights`` reads those of the backbone, so that a step of the optimiser, a loaded checkpoint
    or a correction takes effect at once. Tables of coupling coefficients are read when it is made.
    """

    read: list[int]

    def __init__(self, backbone: Any) -> None:
        """Raises NotCovered."""
        super().__init__()
        function = backbone.spherical_harmonics
        embedding = backbone.node_embedding.linear
        dtype, device = embedding.weight.dtype, embedding.weight.device
        highest = max(int(ir.l) for _, ir in function.irreps_out)
        kind = Polynomials if highest <= HIGHEST else LibraryHarmonics
        self.harmonics: Any = kind(function, dtype, device)
        self.radial_embedding = backbone.radial_embedding
        self.atomic_numbers: torch.Tensor
        self.register_buffer("atomic_numbers", backbone.atomic_numbers)
        if hasattr(backbone, "pair_repulsion_fn"):
            self.pair_repulsion_fn = backbone.pair_repulsion_fn
        self._embedding_scale = float(embedding.instructions[0].path_weight)
        self.interactions = torch.nn.ModuleList([_interaction(block) for block in backbone.interactions])
        self.products = torch.nn.ModuleList([Product(block) for block in backbone.products])
        self.last_readout_only: bool = backbone.last_readout_only
        heads = [backbone.readouts, *backbone.more_readouts] if len(backbone.readouts) else [*backbone.more_readouts]
        self.readouts = torch.nn.ModuleList([_readout(readout) for readouts in heads for readout in readouts])
        self.heads: int = len(heads)
        self.layers: int = len(self.interactions)
        # For every readout of a head, the layer it reads.
        self.read: list[int] = []
        for readouts in heads:
            for layer in range(len(readouts)):
                self.read.append(self.layers - 1 if self.last_readout_only else layer)
        self.per_head: int = len(heads[0]) if heads else 0

    def weights(self, backbone: Any) -> list[Weights]:
        """Of the embedding; of interaction and product of every layer; of every readout."""
        embedding = backbone.node_embedding.linear.weight
        shape = backbone.node_embedding.linear.instructions[0].path_shape
        found: list[Weights] = [{"embedding": [embedding.view(shape) * self._embedding_scale]}]
        pairs: Any = zip(self.interactions, self.products, backbone.interactions, backbone.products, strict=True)
        for interaction, product, interaction_block, product_block in pairs:
            found += [interaction.weights(interaction_block), product.weights(product_block)]
        heads = [backbone.readouts, *backbone.more_readouts] if len(backbone.readouts) else [*backbone.more_readouts]
        modules = [readout for readouts in heads for readout in readouts]
        readouts: Any = zip(self.readouts, modules, strict=True)
        found += [fast.weights(readout) for fast, readout in readouts]
        return found

    def forward(
        self,
        weights: list[dict[str, list[torch.Tensor]]],
        vectors: torch.Tensor,
        node_attributes: torch.Tensor,
        edge_index: torch.Tensor,
        arrangement: Arrangement,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``Backbone.forward``: ``vectors`` [H, 3], ``edge_index`` [2, H] and ``node_attributes`` [N, elements] in
        the order given, and the ``arrangement`` made from them."""
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        radial, cutoff = self.radial_embedding(lengths, node_attributes, edge_index, self.atomic_numbers)
        harmonics = self.harmonics(vectors / lengths)
        directed = [harmonics]
        if arrangement.mirrored:
            directed.append(harmonics * self.harmonics.signs)
        directed.append(torch.zeros_like(self.harmonics.signs).unsqueeze(0))
        slots = torch.cat(directed).index_select(0, arrangement.slot_edges)

        elements = torch.argmax(node_attributes, dim=1).index_select(0, arrangement.order)
        blocks = [weights[0]["embedding"][0].index_select(0, elements).unsqueeze(1)]
        layers: list[list[torch.Tensor]] = []
        used = 1
        for interaction, product in zip(self.interactions, self.products):  # noqa: B905 — TorchScript has no strict
            messages, skip = interaction(weights[used], blocks, elements, slots, radial, cutoff, arrangement)
            blocks = product(weights[used + 1], messages, skip, arrangement)
            layers.append(blocks)
            used += 2

        n_atoms = node_attributes.shape[0]
        energies = torch.zeros((n_atoms, self.heads), dtype=vectors.dtype, device=vectors.device)
        if self.heads > 0:
            columns: list[torch.Tensor] = []
            for index, readout in enumerate(self.readouts):
                column = readout(weights[used + index], layers[self.read[index]])
                if index % self.per_head == 0:
                    columns.append(column)
                else:
                    columns[-1] = columns[-1] + column
            energies = torch.stack(columns, dim=1).index_select(0, arrangement.place)
            if hasattr(self, "pair_repulsion_fn"):
                ends = edge_index
                if arrangement.mirrored:
                    ends = torch.cat([edge_index, edge_index.flip(0)], dim=1)
                lengths = lengths.index_select(0, arrangement.pairs)
                repulsion = self.pair_repulsion_fn(lengths, node_attributes, ends, self.atomic_numbers)
                energies = energies + repulsion.unsqueeze(1)
        features = torch.cat([to_row(blocks) for blocks in layers], dim=1).index_select(0, arrangement.place)
        return features, energies


def _interaction(block: Any) -> torch.nn.Module:
    name = type(block).__name__
    if name in ("RealAgnosticInteractionBlock", "RealAgnosticDensityInteractionBlock"):
        return Plain(block, residual=False, density="Density" in name)
    if name in ("RealAgnosticResidualInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"):
        return Plain(block, residual=True, density="Density" in name)
    if name in ("RealAgnosticAttResidualInteractionBlock", "ScriptableAttentionBlock"):
        return Attention(block)
    if name == "RealAgnosticResidualNonLinearInteractionBlock":
        return Gated(block)
    raise NotCovered(f"the interaction block {name}")


def _readout(readout: Any) -> torch.nn.Module:
    plain = type(readout).__name__ in ("LinearReadoutBlock", "NonLinearReadoutBlock")
    return Readout(readout) if plain else LibraryReadout(readout)
