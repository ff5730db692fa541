"""MACE's features and internal energies from edge vectors, over mace-torch's own submodules.

mace-torch's ``MACE.forward`` starts from positions. Here the edge vectors are the input, so that forces and stress
follow from one backward pass with respect to them, whatever the cell and the number of images.
"""

import torch

from mace_app.model.adapter import build_architecture, build_mace, readouts_of
from mace_app.model.config import ModelConfig


class Backbone(torch.nn.Module):
    """mace-torch's submodules under mace-torch's names, with a forward of our own. Can be scripted.

    The e3nn order of l = 1 is (x, y, z). Vectors are fed as (y, z, x), so that all angular momenta come out in the
    standard real order m = −l…l. The cyclic permutation is a proper rotation, so invariants don't change.
    """

    element_order: torch.Tensor

    def __init__(self, config: ModelConfig, dtype: torch.dtype) -> None:
        super().__init__()
        if config.architecture is not None:
            mace = build_architecture(config.architecture, dtype)
        else:
            mace = build_mace(config.hypers, config.atomic_types, config.avg_num_neighbors, dtype)
        self.register_buffer("atomic_numbers", mace.get_buffer("atomic_numbers"))
        self.node_embedding = mace.node_embedding
        self.spherical_harmonics = mace.spherical_harmonics
        self.radial_embedding = mace.radial_embedding
        if hasattr(mace, "pair_repulsion_fn"):
            self.pair_repulsion_fn = mace.pair_repulsion_fn
        self.interactions = mace.interactions
        self.products = mace.products
        # Without an internal energy the readouts would be weights that nothing trains.
        self.readouts = mace.readouts if config.internal_target is not None else torch.nn.ModuleList()
        others = config.internal_targets[1:]
        self.more_readouts = torch.nn.ModuleList([torch.nn.ModuleList(readouts_of(mace, dtype)) for _ in others])
        self.last_readout_only = config.last_readout_only
        # A file of mace-torch may have its elements in another order than the ascending one of ``atomic_types``.
        numbers = mace.get_buffer("atomic_numbers")
        self.reordered: bool = bool((numbers[1:] < numbers[:-1]).any())
        self.register_buffer("element_order", torch.argsort(torch.argsort(numbers)), persistent=False)

    def forward(
        self, vectors: torch.Tensor, node_attributes: torch.Tensor, edge_index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and energies of atoms.

        ``vectors`` [E, 3] from sender to receiver in user axes, in the length unit of the data; ``node_attributes``
        [N, elements] one-hot; ``edge_index`` [2, E] senders and receivers. Gives features [N, F], concatenated over
        layers, and energies [N, T], one column for each of the T internal targets, both without scale and baseline.
        """
        if self.reordered:
            node_attributes = node_attributes[:, self.element_order]
        lengths = torch.linalg.norm(vectors, dim=-1, keepdim=True)
        permuted = torch.roll(vectors, -1, dims=-1)
        node_features = self.node_embedding(node_attributes)
        edge_attributes = self.spherical_harmonics(permuted)
        edge_features, cutoff = self.radial_embedding(lengths, node_attributes, edge_index, self.atomic_numbers)

        repulsion = torch.zeros(node_attributes.shape[0], dtype=vectors.dtype, device=vectors.device)
        if hasattr(self, "pair_repulsion_fn"):
            repulsion = repulsion + self.pair_repulsion_fn(lengths, node_attributes, edge_index, self.atomic_numbers)
        layers: list[torch.Tensor] = []
        for interaction, product in zip(self.interactions, self.products):  # noqa: B905 — TorchScript has no strict
            node_features, skip = interaction(
                node_attrs=node_attributes,
                node_feats=node_features,
                edge_attrs=edge_attributes,
                edge_feats=edge_features,
                edge_index=edge_index,
                cutoff=cutoff,
            )
            node_features = product(node_feats=node_features, sc=skip, node_attrs=node_attributes)
            layers.append(node_features)
        columns: list[torch.Tensor] = []
        if len(self.readouts) > 0:
            energies = repulsion
            for layer, readout in enumerate(self.readouts):
                features = layers[-1] if self.last_readout_only else layers[layer]
                energies = energies + readout(features).squeeze(-1)
            columns.append(energies)
        for readouts in self.more_readouts:
            energies = repulsion
            for layer, readout in enumerate(readouts):  # type: ignore[arg-type]
                features = layers[-1] if self.last_readout_only else layers[layer]
                energies = energies + readout(features).squeeze(-1)
            columns.append(energies)
        energies = torch.stack(columns, dim=1) if len(columns) > 0 else repulsion.new_zeros((repulsion.shape[0], 0))
        return torch.cat(layers, dim=-1), energies
