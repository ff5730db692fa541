"""The backbone computed by NVIDIA's cuEquivariance, from mace-torch's own parameters."""

import copy
import importlib.metadata
from typing import Any

import torch

from mace_app.model.adapter import CueqChoice, cueq_change_of_basis, cueq_contraction_weights, cueq_installed
from mace_app.model.errors import ModelError
from mace_app.options.packages import is_here

_CONTRACTION = ".symmetric_contractions.weight"
# Largest difference of a checked number from mace-torch's, as a share of the largest number.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}
# How cuEquivariance and mace-torch say that they can't build something.
REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, AttributeError, ImportError, ModelError)


class Cueq:
    """What ``Backbone.reference`` gives, with mace-torch's modules built from cuEquivariance's layers.

    Holds no weights of its own that count: those of the backbone are brought into cuEquivariance's shapes at every
    call, and derivatives go back the same way. So checkpoints, corrections and files stay as mace-torch has them.
    """

    def __init__(self, backbone: Any) -> None:
        """Compares itself with mace-torch's own modules on a few atoms of every element. Raises ModelError where
        cuEquivariance isn't installed, can't build this model or gives other numbers."""
        if not cueq_installed():
            raise ModelError(
                "`kernels: cueq` needs cuEquivariance, which is not installed. Install cuequivariance-torch and, for a "
                "GPU, cuequivariance-ops-torch-cu12 or -cu13; or use `auto`."
            )
        device = backbone.atomic_numbers.device
        self.fused = device.type == "cuda" and is_here("cuequivariance_ops_torch")
        why = []
        for reduced in (False, True) if backbone.may_be_reduced else (False,):
            try:
                self._build(backbone, CueqChoice(self.fused, reduced))
                self._check(backbone)
                return
            except torch.OutOfMemoryError:
                raise
            except REFUSALS as error:
                why.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
        reasons = "; ".join(dict.fromkeys(why))
        raise ModelError(f"`kernels: cueq` can't compute this model ({reasons}). Use `auto`, or another architecture.")

    def _build(self, backbone: Any, choice: CueqChoice) -> None:
        with torch.random.fork_rng(devices=[]):
            self._modules = backbone.with_cueq(choice)
        self._modules.reordered = False  # that is done by the backbone whose weights these are
        device, dtype = backbone.atomic_numbers.device, backbone.node_embedding.linear.weight.dtype
        self._shapes = {name: value.shape for name, value in self._modules.named_parameters()}
        self._changes: dict[str, torch.Tensor] = {}
        if choice.reduced:
            for name in filter(lambda name: name.endswith(_CONTRACTION), self._shapes):
                change = cueq_change_of_basis(_contraction(backbone, name))
                self._changes[name] = torch.tensor(change, dtype=dtype, device=device)
        self._weights(backbone)  # all are there and of the right size
        own = dict(backbone.named_buffers())
        with torch.no_grad():
            for name, value in self._modules.named_buffers():
                if name in own and own[name].shape == value.shape and own[name].dtype == value.dtype:
                    value.copy_(own[name])
        self._order = torch.tensor(_channels_outside(backbone), device=device)

    def _weights(self, backbone: Any) -> dict[str, torch.Tensor]:
        """The backbone's, in cuEquivariance's shapes."""
        own = dict(backbone.named_parameters())
        weights = {}
        for name, shape in self._shapes.items():
            if name.endswith(_CONTRACTION):
                given = cueq_contraction_weights(_contraction(backbone, name))
                if name in self._changes:
                    given = torch.einsum("eau,ab->ebu", given, self._changes[name])
            elif name in own:
                given = own[name]
            else:
                raise ModelError(f"its weight {name} has no counterpart in mace-torch")
            if given.numel() != shape.numel():
                raise ModelError(f"{name} has {shape.numel()} weights, in mace-torch {given.numel()}")
            weights[name] = given.reshape(shape)
        return weights

    def __call__(
        self, backbone: Any, vectors: torch.Tensor, node_attributes: torch.Tensor, edge_index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``Backbone.reference``."""
        arguments = (vectors, node_attributes, edge_index)
        weights = self._weights(backbone)
        features, energies = torch.func.functional_call(self._modules, weights, arguments, tie_weights=False)
        return features.index_select(1, self._order), energies

    def _check(self, backbone: Any) -> None:
        dtype, device = backbone.node_embedding.linear.weight.dtype, self._order.device
        generator = torch.Generator().manual_seed(0)
        elements = backbone.atomic_numbers.shape[0]
        atoms = max(5, elements)
        places = torch.randn((atoms, 3), generator=generator, dtype=torch.float64) * backbone.cutoff / 4
        ends = torch.combinations(torch.arange(atoms)).T
        ends = torch.cat([ends, ends.flip(0)], dim=1)
        vectors = (places[ends[1]] - places[ends[0]]).to(device, dtype)
        kinds = torch.eye(elements, dtype=dtype, device=device)[torch.arange(atoms) % elements]
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.no_grad():
                expected = backbone.reference(vectors, kinds, ends.to(device))
                found = self(backbone, vectors, kinds, ends.to(device))
        finally:
            torch.set_float32_matmul_precision(precision)
        for one, other in zip(found, expected, strict=True):
            if other.numel() and float((one - other).abs().max()) > TOLERANCES[dtype] * float(other.abs().max()):
                raise ModelError("its numbers differ from those of mace-torch")

    def reason(self) -> str:
        """For the log."""
        version = importlib.metadata.version("cuequivariance-torch")
        how = "with its GPU kernels" if self.fused else "without its GPU kernels, which is slow"
        return f"cuEquivariance {version} computes the layers {how}; checked against mace-torch's own modules."

    def __deepcopy__(self, memo: dict[int, Any]) -> "Cueq":
        """Its modules have no state to copy."""
        return copy.copy(self)


def _contraction(backbone: Any, name: str) -> Any:
    """mace-torch's symmetric contraction whose weights cuEquivariance calls ``name``."""
    return backbone.get_submodule(name.removesuffix(".weight"))


def _channels_outside(backbone: Any) -> list[int]:
    """Where each column of mace-torch's features stands in cuEquivariance's, whose channels come last."""
    found: list[int] = []
    for product in backbone.products:
        for multiplicity, irrep in product.linear.irreps_out:
            start, size = len(found), irrep.dim
            found += [start + m * multiplicity + channel for channel in range(multiplicity) for m in range(size)]
    return found
