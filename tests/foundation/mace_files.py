"""Freshly made ``.model`` files of many kinds, written by mace-torch and ``torch.save`` as MACE's own training does."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mace_app.model import adapter  # imports mace-torch before e3nn
from mace_app.model.adapter import mace_modules, o3

ELEMENTS = [1, 6, 8]


def build(kind: str = "ScaleShiftMACE", dtype: torch.dtype = torch.float64, seed: int = 3, **changes: Any) -> Any:
    """A tiny model; ``changes`` are arguments of mace-torch's constructor, interactions by name."""
    arguments: dict[str, Any] = {
        "r_max": 3.7,
        "num_bessel": 4,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticInteractionBlock",
        "num_interactions": 2,
        "hidden_irreps": "4x0e + 4x1o",
        "MLP_irreps": "5x0e",
        "atomic_energies": np.array([-13.6, -1028.5, -2041.25]),
        "avg_num_neighbors": 7.3,
        "atomic_numbers": ELEMENTS,
        "correlation": 2,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [8, 8],
        "use_reduced_cg": False,
    }
    if kind == "ScaleShiftMACE":
        arguments |= {"atomic_inter_scale": 1.7, "atomic_inter_shift": 0.21}
    arguments |= changes
    for name in ("hidden_irreps", "MLP_irreps", "edge_irreps"):
        if isinstance(arguments.get(name), str):
            arguments[name] = o3.Irreps(arguments[name])
    for name in ("interaction_cls", "interaction_cls_first"):
        arguments[name] = mace_modules.interaction_classes[arguments[name]]
    arguments["num_elements"] = len(arguments["atomic_numbers"])
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            return getattr(mace_modules, kind)(**arguments)
    finally:
        torch.set_default_dtype(before)


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(model, path)
    return path


def reduced(build_it: Callable[[], Any]) -> Any:
    """A model on a smaller basis of products, as mace-torch makes it where cuEquivariance is installed: symmetric in
    the neighbours, and without the combinations that then are the same."""
    full = adapter._contraction.U_matrix_real

    def symmetric(**arguments: Any) -> list[Any]:
        table = full(**{**arguments, "use_cueq_cg": False})[-1]
        order = arguments["correlation"]
        if order < 2:
            return [table]
        first = table.dim() - 1 - order
        axes = list(range(first, first + order))
        mean = torch.zeros_like(table)
        for permutation in _permutations(axes):
            mean += table.permute(*range(first), *permutation, table.dim() - 1)
        flat = mean.reshape(-1, table.shape[-1])
        left, sizes, _ = torch.linalg.svd(flat, full_matrices=False)
        rank = max(1, int((sizes > 1e-8 * sizes[0]).sum()))
        return [left[:, :rank].reshape(*table.shape[:-1], rank).contiguous()]

    adapter._contraction.U_matrix_real = symmetric
    try:
        return build_it()
    finally:
        adapter._contraction.U_matrix_real = full


def joined(model: Any) -> Any:
    """As releases until 0.3.12 wrote it: messages of one kind are joined before they are mixed, and the repulsion has
    an envelope that it never used."""
    for interaction in model.interactions:
        separate = interaction.linear
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            together = o3.Linear(separate.irreps_in.simplify(), separate.irreps_out).to(separate.weight.dtype)
        assert str(together.irreps_in) != str(separate.irreps_in) or interaction is model.interactions[0]
        together.weight = torch.nn.Parameter(separate.weight.detach().clone())
        interaction.linear = together
    if hasattr(model, "pair_repulsion_fn"):
        model.pair_repulsion_fn.cutoff = mace_modules.radial.PolynomialCutoff(float(model.r_max), 6)
        model.pair_repulsion_fn.register_buffer("r_max", model.r_max.clone())
    return model


def _permutations(axes: list[int]) -> list[tuple[int, ...]]:
    from itertools import permutations

    return list(permutations(axes))


TWO_HEADS = {
    "heads": ["dft", "ccsd"],
    "atomic_energies": np.array([[-13.6, -1028.5, -2041.25], [-13.1, -1027.9, -2043.5]]),
    "atomic_inter_scale": np.array([1.7, 0.6]),
    "atomic_inter_shift": np.array([0.21, -0.4]),
}

# Like MACE-MH-1: the newest blocks, few channels along edges, shared products, the last readout only.
NEWEST = {
    "interaction_cls": "RealAgnosticResidualNonLinearInteractionBlock",
    "interaction_cls_first": "RealAgnosticResidualNonLinearInteractionBlock",
    "readout_cls": mace_modules.blocks.NonLinearBiasReadoutBlock,
    "apply_cutoff": False,
    "edge_irreps": "2x0e + 2x1o",
    "use_edge_irreps_first": True,
    "use_agnostic_product": True,
    "use_last_readout_only": True,
    "distance_transform": "Agnesi",
    "pair_repulsion": True,
    "correlation": 3,
    "max_ell": 1,
}

KINDS: dict[str, Callable[[], Any]] = {
    "ordinary": build,
    "scale_one": lambda: build(atomic_inter_scale=1.0, atomic_inter_shift=0.0),
    "plain": lambda: build("MACE"),
    "plain_with_repulsion": lambda: build("MACE", pair_repulsion=True, distance_transform="Soft"),
    "two_heads": lambda: build(**TWO_HEADS),
    "agnesi_zbl": lambda: build(pair_repulsion=True, distance_transform="Agnesi"),
    "density": lambda: build(
        interaction_cls="RealAgnosticDensityResidualInteractionBlock",
        interaction_cls_first="RealAgnosticDensityInteractionBlock",
    ),
    "newest": lambda: build(**NEWEST),
    "newest_two_heads": lambda: build(**(NEWEST | TWO_HEADS)),
    "attention": lambda: build(interaction_cls="RealAgnosticAttResidualInteractionBlock"),
    "agnostic_product": lambda: build(use_agnostic_product=True),
    "reduced_basis": lambda: reduced(lambda: build(correlation=3)),
    "of_an_older_release": lambda: joined(build(pair_repulsion=True, distance_transform="Agnesi")),
    "irreps_that_stay_zero": lambda: build(hidden_irreps="4x0e + 4x0o + 4x1o + 4x1e", max_ell=1),
    "full_basis": lambda: build(correlation=3, hidden_irreps="4x0e + 4x1o + 4x2e"),
    "three_layers": lambda: build(
        num_interactions=3, gate=torch.tanh, radial_type="gaussian", correlation=[2, 1, 2], MLP_irreps="3x0e"
    ),
    "chebyshev": lambda: build(radial_type="chebyshev", gate=None),
    "vectors_kept": lambda: build(keep_last_layer_irreps=True),
    "one_layer": lambda: build(num_interactions=1),
    "one_layer_with_vectors": lambda: build(num_interactions=1, hidden_irreps=adapter._Whole(o3.Irreps("4x0e + 4x1o"))),
    "elements_unordered": lambda: build(atomic_numbers=[8, 1, 6], atomic_energies=np.array([-2041.25, -13.6, -1028.5])),
    "matrix_of_one_head": lambda: build(atomic_energies=np.array([[-13.6, -1028.5, -2041.25]]), heads=["only"]),
    "single_precision": lambda: build(dtype=torch.float32, pair_repulsion=True, distance_transform="Agnesi"),
}
