"""The only module that imports mace-torch and e3nn.

mace-torch must be imported before e3nn: e3nn 0.4.4 unpickles a file at import, which torch ≥ 2.6 refuses unless
``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` is set, and mace sets it. It would make every later ``torch.load`` of this process
unsafe, so the variable is put back at the end of the import.
"""

import contextlib
import inspect
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from mace_app.model.architecture import Architecture
from mace_app.options.irreps import Irrep, format_irreps

if TYPE_CHECKING:
    from mace_app.options.model import ModelHypers

_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@contextlib.contextmanager
def _quiet_and_safe_again() -> Iterator[None]:
    """Import chatter and deprecations are dropped; the environment is afterwards as it was before."""
    before = os.environ.get(_UNSAFE)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            os.environ.pop(_UNSAFE, None)
        else:
            os.environ[_UNSAFE] = before


with _quiet_and_safe_again():
    import mace  # noqa: F401 — must come first, see above
    from e3nn import get_optimization_defaults, o3, set_optimization_defaults
    from e3nn import nn as e3nn_nn
    from e3nn.nn._fc import _Layer as _RadialLayer
    from e3nn.util import jit as e3nn_jit
    from mace import modules as mace_modules
    from mace.data.neighborhood import get_neighborhood as mace_neighbourhood  # noqa: F401 — for comparisons
    from mace.modules.blocks import RealAgnosticAttResidualInteractionBlock as _AttentionBlock
    from mace.modules.gate import GatedEquivariantBlock as _GatedBlock
    from mace.modules.wrapper_ops import CUET_AVAILABLE, CuEquivarianceConfig
    from mace.modules.wrapper_ops import Linear as _MaceLinear
    from mace.tools.cg import O3_e3nn as _cue_group
    from mace.tools.cg_cueq_tools import symmetric_contraction_proj as _contraction_projection
    from mace.tools.scatter import scatter_sum as _scatter_sum

# TorchScript specialises code after its first calls and differentiates it in its own way, which changes last bits: a
# resumed run would differ from an uninterrupted one. So nothing is scripted in training, which measured no slower (see
# ``building``), and the one function that e3nn scripts at import is replaced by the Python it was made from.
_contraction: Any = sys.modules["mace.modules.symmetric_contraction"]
_harmonics = sys.modules["e3nn.o3._spherical_harmonics"]
_harmonics._spherical_harmonics = getattr(  # type: ignore[attr-defined]
    _harmonics._spherical_harmonics, "_torchdynamo_inline", _harmonics._spherical_harmonics
)


def _gate_tracing_inputs(self: Any, n: int) -> list[dict[str, tuple[torch.Tensor]]]:
    return [{"forward": (torch.randn(4, self.irreps_in.dim),)} for _ in range(n)]


# mace-torch's gate chooses its functions at run time, which TorchScript can't express; tracing can, as for e3nn's own.
e3nn_jit.compile_mode("trace")(_GatedBlock)
_GatedBlock._make_tracing_inputs = _gate_tracing_inputs
_GatedBlock.__jit_unused_properties__ = ["irreps_in", "irreps_out"]


class ScriptableAttentionBlock(_AttentionBlock):
    """mace-torch's attention-like block. Its own forward declares that it returns (Tensor, None) and returns two
    tensors, which TorchScript refuses; so it is written here once more, without the parts for LAMMPS."""

    def forward(
        self,
        node_attrs: torch.Tensor,
        node_feats: torch.Tensor,
        edge_attrs: torch.Tensor,
        edge_feats: torch.Tensor,
        edge_index: torch.Tensor,
        cutoff: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        skip = self.skip_linear(node_feats)
        up = self.linear_up(node_feats)
        down = self.linear_down(node_feats)
        sender, receiver = edge_index[0], edge_index[1]
        weights = self.conv_tp_weights(torch.cat([edge_feats, down[sender], down[receiver]], dim=-1))
        if cutoff is not None:
            weights = weights * cutoff
        edges = self.conv_tp(up[sender], edge_attrs, weights)
        message = _scatter_sum(src=edges, index=receiver, dim=0, dim_size=up.shape[0])
        return self.reshape(self.linear(message) / self.avg_num_neighbors), skip


@e3nn_jit.compile_mode("script")
class SoftTransform(torch.nn.Module):
    """The transform of distances that mace-torch called ``Soft`` until 0.3.9, which later releases can't build:
    x + ½ tanh(−t − a·t^b) + ½ with t = x over a quarter of the summed covalent radii."""

    a: torch.Tensor
    b: torch.Tensor
    covalent_radii: torch.Tensor

    def __init__(self, radii: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("covalent_radii", radii)
        self.register_buffer("a", torch.zeros((), dtype=radii.dtype))
        self.register_buffer("b", torch.ones((), dtype=radii.dtype))

    def forward(
        self, x: torch.Tensor, node_attrs: torch.Tensor, edge_index: torch.Tensor, atomic_numbers: torch.Tensor
    ) -> torch.Tensor:
        z = atomic_numbers[torch.argmax(node_attrs, dim=1)].unsqueeze(-1).to(torch.int64)
        reduced = 4 * x / (self.covalent_radii[z[edge_index[0]]] + self.covalent_radii[z[edge_index[1]]])
        return x + 0.5 * torch.tanh(-reduced - self.a * torch.pow(reduced, self.b)) + 0.5


# How ``Architecture.distance_transform`` names ``SoftTransform``.
OLD_SOFT = "Soft of 0.3.9"

_INTERACTIONS = {
    **mace_modules.interaction_classes,
    "RealAgnosticAttResidualInteractionBlock": ScriptableAttentionBlock,
}


@contextlib.contextmanager
def building(dtype: torch.dtype) -> Iterator[None]:
    """mace-torch and e3nn build their tensors in torch's default dtype; e3nn leaves its generated code unscripted."""
    before, options = torch.get_default_dtype(), get_optimization_defaults()
    torch.set_default_dtype(dtype)
    set_optimization_defaults(jit_script_fx=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)
        set_optimization_defaults(**options)


class CueqChoice(NamedTuple):
    """How mace-torch builds its layers from cuEquivariance's: with sums over neighbours in one kernel (``fused``, which
    needs a GPU), and on the ``reduced`` or the full basis of products."""

    fused: bool
    reduced: bool

    def arguments(self) -> dict[str, Any]:
        settings = CuEquivarianceConfig(
            enabled=True, layout="ir_mul", group="O3_e3nn", optimize_all=True, conv_fusion=self.fused
        )
        return {"cueq_config": settings, "use_reduced_cg": self.reduced}


def build_mace(
    hypers: "ModelHypers",
    atomic_types: Sequence[int],
    avg_num_neighbors: float,
    dtype: torch.dtype,
    cueq: CueqChoice | None = None,
) -> Any:
    """A plain mace-torch ``MACE`` (no scale, no shift, zero atomic energies) with random weights."""
    energies = torch.zeros(len(atomic_types)).numpy()
    arguments = _arguments(hypers, atomic_types, avg_num_neighbors, energies, _INTERACTIONS)
    with building(dtype):
        return mace_modules.MACE(**arguments | ({} if cueq is None else cueq.arguments()))


def build_scale_shift_mace(
    hypers: "ModelHypers",
    atomic_types: Sequence[int],
    avg_num_neighbors: float,
    atomic_energies: np.ndarray,
    scale: Any,
    dtype: torch.dtype,
    heads: Sequence[str] = ("Default",),
) -> Any:
    """A mace-torch ``ScaleShiftMACE`` as its own training builds and saves it, with random weights.

    ``atomic_energies`` ([elements] or [heads, elements]) stay in float64 whatever ``dtype`` is; ``scale`` is a number,
    or one for each head. Only mace-torch's own classes occur in it, so that it can be unpickled without this program.
    """
    arguments = _arguments(
        hypers, atomic_types, avg_num_neighbors, atomic_energies, dict(mace_modules.interaction_classes)
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            scales = np.atleast_1d(np.asarray(scale, dtype=float))
            one = len(heads) == 1
            model = mace_modules.ScaleShiftMACE(
                **arguments,
                atomic_inter_scale=float(scales[0]) if one else scales,
                atomic_inter_shift=0.0 if one else np.zeros(len(heads)),
                heads=list(heads),
            )
    finally:
        torch.set_default_dtype(before)
    model.atomic_energies_fn.atomic_energies = torch.tensor(np.atleast_2d(atomic_energies), dtype=torch.float64)
    return model


@contextlib.contextmanager
def _tables(architecture: Architecture, dtype: torch.dtype) -> Iterator[None]:
    """mace-torch's products are built on tables of the right shapes instead of computed ones.

    Computing them takes most of the time of building a large model, and the reduced ones need cuEquivariance; the
    numbers themselves are buffers, which the weights of the file or of a checkpoint bring.
    """
    shapes = iter([table for layer in architecture.basis for irrep in layer for table in irrep])

    def table(**_: Any) -> list[torch.Tensor]:
        shape, zero = next(shapes)
        return [torch.zeros(shape, dtype=dtype) if zero else torch.ones(shape, dtype=dtype)]

    original = _contraction.U_matrix_real
    _contraction.U_matrix_real = table
    try:
        yield
    finally:
        _contraction.U_matrix_real = original


def build_architecture(
    architecture: Architecture,
    dtype: torch.dtype,
    heads: Sequence[str] = ("Default",),
    atomic_energies: np.ndarray | None = None,
    scale_shift: tuple[Any, Any] | None = None,
    scriptable: bool = True,
    cueq: CueqChoice | None = None,
) -> Any:
    """mace-torch's ``MACE``, or with ``scale_shift`` its ``ScaleShiftMACE``, of an architecture that came from a file.

    Weights are random and coupling coefficients are placeholders: both have to be loaded. ``atomic_energies`` is
    [elements] or [heads, elements] in the order of ``architecture.atomic_numbers``. Unless ``scriptable``, only
    mace-torch's own classes occur, as far as it still has them.
    """
    a = architecture
    classes = _INTERACTIONS if scriptable else dict(mace_modules.interaction_classes)
    hidden = o3.Irreps(a.hidden_irreps)
    arguments: dict[str, Any] = {
        "r_max": a.r_max,
        "num_bessel": a.num_bessel,
        "num_polynomial_cutoff": a.num_polynomial_cutoff,
        "max_ell": a.max_ell,
        "interaction_cls": classes[a.interaction],
        "interaction_cls_first": classes[a.interaction_first],
        "num_interactions": a.num_interactions,
        "num_elements": len(a.atomic_numbers),
        "hidden_irreps": _Whole(hidden) if a.num_interactions == 1 else hidden,
        "MLP_irreps": o3.Irreps(a.MLP_irreps),
        "atomic_energies": np.zeros(len(a.atomic_numbers)) if atomic_energies is None else atomic_energies,
        "avg_num_neighbors": a.avg_num_neighbors[0],
        "atomic_numbers": list(a.atomic_numbers),
        "correlation": list(a.correlation),
        "gate": _gate(a.gate),
        "pair_repulsion": a.pair_repulsion,
        "apply_cutoff": a.apply_cutoff,
        "use_reduced_cg": False,
        "use_so3": a.use_so3,
        "use_agnostic_product": a.use_agnostic_product,
        "use_last_readout_only": a.use_last_readout_only,
        "distance_transform": "Soft" if a.distance_transform == OLD_SOFT else a.distance_transform or "None",
        "edge_irreps": None if a.edge_irreps is None else o3.Irreps(a.edge_irreps),
        "use_edge_irreps_first": a.use_edge_irreps_first,
        "radial_MLP": list(a.radial_MLP),
        "radial_type": a.radial_type,
        "heads": list(heads),
        "readout_cls": mace_modules.readout_classes[a.readout],
        "keep_last_layer_irreps": a.keep_last_layer_irreps,
    }
    arguments |= {} if cueq is None else cueq.arguments()
    with building(dtype), _tables(a, dtype):
        if scale_shift is None:
            mace = mace_modules.MACE(**arguments)
        else:
            scale, shift = scale_shift
            mace = mace_modules.ScaleShiftMACE(**arguments, atomic_inter_scale=scale, atomic_inter_shift=shift)
    for interaction, neighbours in zip(mace.interactions, a.avg_num_neighbors, strict=True):
        interaction.avg_num_neighbors = neighbours
    if a.distance_transform == OLD_SOFT:
        radial = mace.radial_embedding
        radial.distance_transform = SoftTransform(radial.distance_transform.covalent_radii)
    return mace


def readouts_of(mace: Any, dtype: torch.dtype) -> list[torch.nn.Module]:
    """Another set of readouts like those of ``mace``, which has one head; random weights."""
    found: list[torch.nn.Module] = []
    with building(dtype):
        for readout in mace.readouts:
            if hasattr(readout, "linear"):
                found.append(type(readout)(readout.linear.irreps_in, readout.linear.irreps_out))
                continue
            functions = [act.f for act in readout.non_linearity.acts if act is not None]
            gate = functions[0] if functions else None
            irreps = (readout.linear_1.irreps_in, readout.hidden_irreps, gate, readout.linear_2.irreps_out)
            found.append(type(readout)(*irreps, num_heads=1))
    return found


def cueq_installed() -> bool:
    """Whether cuEquivariance is there for mace-torch."""
    return bool(CUET_AVAILABLE)


def cueq_contraction_weights(contractions: Any) -> torch.Tensor:
    """The weights [elements, paths, channels] of mace-torch's ``SymmetricContraction`` in cuEquivariance's order.

    Per output irrep those of the highest order come first; paths whose table is zero are left out.
    """
    parts = []
    for contraction in contractions.contractions:
        weights = {"max": contraction.weights_max}
        weights |= {str(index): weight for index, weight in enumerate(contraction.weights)}
        zeroed = {name: bool(getattr(contraction, f"weights_{name}_zeroed")) for name in weights}
        parts += [weight for name, weight in weights.items() if not zeroed[name]]
    return torch.cat(parts, dim=1)


def cueq_change_of_basis(contractions: Any) -> np.ndarray:
    """[paths, paths of cuEquivariance]: on the reduced basis both libraries span the same space by different vectors.
    Takes seconds."""
    import cuequivariance

    kinds = (o3.Irreps([entry.ir for entry in irreps]) for irreps in (contractions.irreps_in, contractions.irreps_out))
    inputs, outputs = (cuequivariance.Irreps(_cue_group, str(irreps)) for irreps in kinds)
    highest = max(contraction.correlation for contraction in contractions.contractions)
    _, change = _contraction_projection(inputs, outputs, tuple(range(1, highest + 1)))
    return np.asarray(change)


class _Whole(o3.Irreps):
    """mace-torch keeps ``hidden_irreps[0]`` of a model with one layer; of these irreps that is all."""

    def __new__(cls, irreps: Any) -> Any:
        return tuple.__new__(cls, o3.Irreps(irreps))

    def __getitem__(self, index: Any) -> Any:
        return o3.Irreps(tuple(self)) if index == 0 else super().__getitem__(index)


def _arguments(
    hypers: "ModelHypers",
    atomic_types: Sequence[int],
    avg_num_neighbors: float,
    atomic_energies: np.ndarray,
    interactions: dict[str, Any],
) -> dict[str, Any]:
    """What mace-torch's models are built from.

    Only arguments that this release of mace-torch knows are passed. ``use_reduced_cg`` is fixed: mace-torch's default
    would choose another basis of products, with weights of another meaning, on machines that have cuEquivariance.
    """
    known = set(inspect.signature(mace_modules.MACE.__init__).parameters)
    wanted = {
        "r_max": hypers.r_max,
        "num_bessel": hypers.num_radial_basis,
        "num_polynomial_cutoff": hypers.num_cutoff_basis,
        "max_ell": hypers.max_ell,
        "interaction_cls": interactions[hypers.interaction],
        "interaction_cls_first": interactions[hypers.interaction_first],
        "num_interactions": hypers.num_interactions,
        "num_elements": len(atomic_types),
        "hidden_irreps": o3.Irreps(hypers.hidden_irreps),
        "MLP_irreps": o3.Irreps(hypers.MLP_irreps),
        "atomic_energies": atomic_energies,
        "avg_num_neighbors": float(avg_num_neighbors),
        "atomic_numbers": list(atomic_types),
        "correlation": hypers.correlation,
        "gate": _gate(hypers.gate),
        "pair_repulsion": hypers.pair_repulsion,
        "apply_cutoff": hypers.apply_cutoff,
        "use_reduced_cg": False,
        "use_agnostic_product": hypers.use_agnostic_product,
        "use_last_readout_only": hypers.use_last_readout_only,
        "distance_transform": hypers.distance_transform or "None",
        # Empty irreps would switch all messages off; only None means "those of the atoms".
        "edge_irreps": None if hypers.edge_irreps is None else o3.Irreps(hypers.edge_irreps),
        "radial_MLP": list(hypers.radial_MLP),
        "radial_type": hypers.radial_type,
    }
    return {name: value for name, value in wanted.items() if name in known}


def linear(inputs: list[Irrep], outputs: list[Irrep], dtype: torch.dtype) -> torch.nn.Module:
    """mace-torch's own equivariant linear layer, [*, dim(inputs)] → [*, dim(outputs)]."""
    with building(dtype):
        return _MaceLinear(o3.Irreps(format_irreps(inputs)), o3.Irreps(format_irreps(outputs)))


class LinearMap(NamedTuple):
    """A part of a layer's weight: ``copies`` of a matrix [inputs, outputs], in memory [inputs, copies, outputs], or
    [outputs, inputs] where ``transposed``. ``size`` is how large entries are in a new layer."""

    inputs: int
    copies: int
    outputs: int
    transposed: bool = False
    size: float = 1.0


def linear_maps(layer: torch.nn.Module) -> list[LinearMap]:
    """The matrices that ``layer.weight`` holds one after the other; none if it is no linear layer.

    An equivariant layer has one for each path from an input irrep to an equal output irrep; a product with one-hot
    elements one of them for every element (``copies``). Biases are not among them.
    """
    if isinstance(layer, o3.Linear):
        return [LinearMap(i.path_shape[0], 1, i.path_shape[1]) for i in layer.instructions if i.i_in >= 0]
    if isinstance(layer, o3.FullyConnectedTensorProduct):
        return [LinearMap(*i.path_shape) for i in layer.instructions if i.has_weight]
    if isinstance(layer, _RadialLayer):
        return [LinearMap(layer.weight.shape[0], 1, layer.weight.shape[1])]
    if isinstance(layer, torch.nn.Linear):
        return [LinearMap(layer.in_features, 1, layer.out_features, True, layer.in_features**-0.5)]
    return []


def activation(irreps: list[Irrep], gate: str | None, dtype: torch.dtype) -> torch.nn.Module:
    """``gate`` on every even scalar entry, normalised to second moment 1 as in MACE's readouts; the rest unchanged."""
    function = _gate(gate)
    acts = [function if irrep.kind == "0e" else None for irrep in irreps]
    with building(dtype):
        return e3nn_nn.Activation(o3.Irreps(format_irreps(irreps)), acts)


def compile_for_export(module: torch.nn.Module) -> torch.nn.Module:
    """TorchScript of ``module`` by e3nn's rules; submodules are replaced in place. Leaves the random state alone."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return e3nn_jit.compile(module)


def _gate(name: str | None) -> object:
    return mace_modules.gate_dict["None" if name is None else name]


def mace_downloads() -> Any:
    """mace-torch's module with the addresses of published files, its cache and its download function."""
    with _quiet_and_safe_again():
        from mace.calculators import foundations_models
    return foundations_models
