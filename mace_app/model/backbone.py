"""MACE's features and internal energies from edge vectors, with mace-torch's parameters.

mace-torch's ``MACE.forward`` starts from positions. Here the edge vectors are the input, so that forces and stress
follow from one backward pass with respect to them, whatever the cell and the number of images.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from mace_app.model.adapter import CueqChoice, build_architecture, build_mace, readouts_of
from mace_app.model.config import ModelConfig
from mace_app.model.cueq import Cueq
from mace_app.model.errors import ModelError
from mace_app.model.fast import Arrangement, Core, FrozenCore, NotCovered, arrange


class Kernels(NamedTuple):
    """How a backbone is computed: ``name`` is ``fast``, ``reference`` or ``cueq``, ``reason`` a sentence."""

    name: str
    reason: str


class Backbone(torch.nn.Module):
    """mace-torch's submodules under mace-torch's names, with a forward of our own.

    They own the parameters; what is computed from them is decided by ``kernels`` of the options: the algebra of
    ``model.fast``, these submodules themselves, or cuEquivariance's in their place. In TorchScript it is always the
    submodules; ``frozen`` scripts them or the algebra of ``model.fast``.

    The e3nn order of l = 1 is (x, y, z). Vectors are fed as (y, z, x), so that all angular momenta come out in the
    standard real order m = −l…l. The cyclic permutation is a proper rotation, so invariants don't change.
    """

    element_order: torch.Tensor

    def __init__(self, config: ModelConfig, dtype: torch.dtype, cueq: CueqChoice | None = None) -> None:
        super().__init__()
        self._asked = "reference" if cueq is not None else config.hypers.kernels
        # The core is no submodule, because it has no state of its own. It is made when it is first needed: its tables
        # come from buffers that a file or a checkpoint may still replace.
        self._made: list[Core | Cueq | NotCovered] = []
        self._config = config
        self.cutoff: float = config.cutoff
        # Products of a file may be on mace-torch's reduced basis.
        self.may_be_reduced: bool = config.architecture is not None
        mace = _mace(config, dtype, cueq)
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
        more = [readouts_of(mace, dtype) if cueq is None else _mace(config, dtype, cueq).readouts for _ in others]
        self.more_readouts = torch.nn.ModuleList([torch.nn.ModuleList(readouts) for readouts in more])
        self.last_readout_only = config.last_readout_only
        # A file of mace-torch may have its elements in another order than the ascending one of ``atomic_types``.
        numbers = mace.get_buffer("atomic_numbers")
        self.reordered: bool = bool((numbers[1:] < numbers[:-1]).any())
        self.register_buffer("element_order", torch.argsort(torch.argsort(numbers)), persistent=False)

    def forward(
        self,
        vectors: torch.Tensor,
        node_attributes: torch.Tensor,
        edge_index: torch.Tensor,
        mirrored: bool = False,
        arrangement: Arrangement | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and energies of atoms.

        ``vectors`` [E, 3] from sender to receiver in user axes, in the length unit of the data; ``node_attributes``
        [N, elements] one-hot; ``edge_index`` [2, E] senders and receivers; ``mirrored``: every edge stands for its
        reverse too. ``arrangement`` is what ``arrange`` makes of them, if it is known. Gives features [N, F],
        concatenated over layers, and energies [N, T], one column for each of the T internal targets, both without scale
        and baseline.
        """
        if self.reordered:
            node_attributes = node_attributes[:, self.element_order]
        if not torch.jit.is_scripting():
            core = self._core()
            if isinstance(core, Core):
                if arrangement is None or self.reordered:
                    elements = torch.argmax(node_attributes, dim=1)
                    arrangement = arrange(elements, edge_index, node_attributes.shape[1], mirrored)
                return core(core.weights(self), vectors, node_attributes, edge_index, arrangement)
        if mirrored:
            vectors = torch.cat([vectors, -vectors])
            edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        if not torch.jit.is_scripting():
            core = self._core()
            if isinstance(core, Cueq):
                return core(self, vectors, node_attributes, edge_index)
        return self.reference(vectors, node_attributes, edge_index)

    def reference(
        self, vectors: torch.Tensor, node_attributes: torch.Tensor, edge_index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """By mace-torch's own modules; every edge in both directions."""
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

    @torch.jit.unused
    def kernels(self) -> Kernels:
        """What computes this backbone. Raises ModelError if the options ask for what it can't be computed with."""
        if self._asked == "reference":
            return Kernels("reference", "`kernels: reference` asks for mace-torch's own modules.")
        core = self._core()
        if isinstance(core, Cueq):
            return Kernels("cueq", core.reason())
        if core is not None:
            return Kernels("fast", "The fast core computes every part of this model.")
        assert isinstance(self._made[0], NotCovered)
        return Kernels("reference", f"mace-torch's own modules are used, because the fast core lacks {self._made[0]}.")

    @torch.jit.unused
    def _core(self) -> Core | Cueq | None:
        if self._asked == "reference":
            return None
        if not self._made:
            try:
                self._made.append(Cueq(self) if self._asked == "cueq" else Core(self))
            except NotCovered as missing:
                if self._asked == "fast":
                    raise ModelError(
                        f"`kernels: fast` can't compute this model: it lacks {missing}. Use `auto` or `reference`."
                    ) from None
                self._made.append(missing)
        made = self._made[0]
        return None if isinstance(made, NotCovered) else made

    @torch.jit.unused
    def with_cueq(self, choice: CueqChoice) -> "Backbone":
        """Another backbone of the same architecture, built of cuEquivariance's layers, with weights of no meaning."""
        other = Backbone(self._config, self.node_embedding.linear.weight.dtype, choice)
        return other.to(self.element_order.device)

    @torch.jit.unused
    def frozen(self) -> torch.nn.Module:
        """A module of the same forward without ``arrangement``, with the weights of now, that e3nn's rules can script.
        Takes this backbone apart."""
        if self._asked == "reference":
            return self
        try:
            return FrozenCore(self)
        except NotCovered:
            return self

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "Backbone":
        self._made.clear()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._made.clear()
        super()._load_from_state_dict(*arguments)


def _mace(config: ModelConfig, dtype: torch.dtype, cueq: CueqChoice | None) -> Any:
    """A model of mace-torch's with random weights."""
    if config.architecture is not None:
        return build_architecture(config.architecture, dtype, cueq=cueq)
    return build_mace(config.hypers, config.atomic_types, config.avg_num_neighbors, dtype, cueq)
