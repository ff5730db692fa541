"""Energies, forces and stress equal those of mace-torch's own classes with the same weights, to 1e-9."""

import numpy as np
import pytest
import torch
from ase import Atoms
from graph_fixtures import ENERGY, collate, crystal, ethanol, predict, single_atom, slab, small_model

from mace_app.model import MaceModel, adapter
from mace_app.model.adapter import build_mace, building, mace_modules, o3

ARCHITECTURES = {
    "default": {},
    "one layer": {"num_interactions": 1},
    "three layers, Agnesi": {"num_interactions": 3, "distance_transform": "Agnesi", "correlation": 1},
    "gaussian, Soft, ZBL": {"radial_type": "gaussian", "distance_transform": "Soft", "pair_repulsion": True},
    "chebyshev, correlation 3": {
        "radial_type": "chebyshev",
        "distance_transform": "Agnesi",
        "correlation": 3,
        "hidden_irreps": "4x0e + 4x1o + 4x2e",
    },
    "envelope after, ZBL": {"apply_cutoff": False, "pair_repulsion": True, "gate": "tanh"},
    "density": {
        "interaction_first": "RealAgnosticDensity",
        "interaction": "RealAgnosticDensityResidual",
        "apply_cutoff": False,
    },
    "not residual": {"interaction_first": "RealAgnostic", "interaction": "RealAgnostic", "gate": None},
    "non-linear": {
        "interaction_first": "RealAgnosticResidualNonLinear",
        "interaction": "RealAgnosticResidualNonLinear",
        "edge_irreps": "2x0e + 2x1o",
        "apply_cutoff": False,
    },
    "attention, last readout": {"interaction": "RealAgnosticAttResidual", "use_last_readout_only": True},
    "agnostic product, abs": {"use_agnostic_product": True, "gate": "abs", "max_ell": 1},
    "pseudo-vectors": {"hidden_irreps": "4x0e + 4x1o + 4x1e", "correlation": 3},
}


def original(mace: torch.nn.Module, structures: list[Atoms], r_max: float) -> dict[str, np.ndarray]:
    arrays = {name: torch.from_numpy(value) for name, value in collate(structures, r_max).items()}
    cells = arrays["cells"]
    types = mace.atomic_numbers
    data = {
        "positions": arrays["positions"].clone(),
        "cell": cells.reshape(-1, 3),
        "unit_shifts": arrays["shifts"],
        "shifts": torch.einsum("ei,eij->ej", arrays["shifts"], cells[arrays["edge_structure"]]),
        "edge_index": torch.stack([arrays["senders"], arrays["receivers"]]),
        "batch": arrays["structure"],
        "ptr": arrays["ptr"],
        "head": torch.zeros(len(structures), dtype=torch.int64),
        "node_attrs": (arrays["numbers"][:, None] == types[None]).to(torch.float64),
    }
    out = mace(data, compute_force=True, compute_stress=True)
    return {name: out[name].detach().numpy() for name in ("energy", "forces", "stress")}


def with_weights_of(mace: torch.nn.Module, model: MaceModel) -> None:
    ours = model.backbone.state_dict()
    weights = {name: value for name, value in mace.state_dict().items() if name in ours}
    assert set(weights) == set(ours)
    model.backbone.load_state_dict(weights)


def assert_same(model: MaceModel, mace: torch.nn.Module, structures: list[Atoms]) -> None:
    ours = predict(model, *structures)
    theirs = original(mace, structures, model.config.hypers.r_max)
    np.testing.assert_allclose(ours["energy"][:, 0], theirs["energy"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours["energy.forces"], theirs["forces"], rtol=0, atol=1e-9)
    periodic = np.array([atoms.cell.volume > 0 for atoms in structures])
    np.testing.assert_allclose(ours["energy.stress"][periodic], theirs["stress"][periodic], rtol=0, atol=1e-9)
    assert np.abs(theirs["forces"]).max() > 1e-4


@pytest.mark.parametrize("hypers", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_energies_forces_and_stress_equal_those_of_mace(hypers: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model([ENERGY], seed=1, **hypers)
    monkeypatch.setattr(adapter, "_INTERACTIONS", mace_modules.interaction_classes)  # all of them mace-torch's own
    torch.manual_seed(2)
    config = model.config
    mace = build_mace(config.hypers, config.atomic_types, config.avg_num_neighbors, torch.float64)
    with_weights_of(mace, model)
    assert_same(model, mace, [ethanol(), crystal(), slab(), single_atom()])


def test_scale_and_baseline_reproduce_mace_with_scale_shift_and_atomic_energies() -> None:
    model = small_model([ENERGY], pair_repulsion=True, atomic_types=[1, 6, 8])
    residual = mace_modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    energies, scale, shift = np.array([-13.6, -1028.0, -2041.0]), 0.83, -0.12
    torch.manual_seed(3)
    with building(torch.float64):
        mace = mace_modules.ScaleShiftMACE(
            r_max=3.5,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=residual,
            interaction_cls_first=residual,
            num_interactions=2,
            num_elements=3,
            hidden_irreps=o3.Irreps("4x0e + 4x1o"),
            MLP_irreps=o3.Irreps("4x0e"),
            atomic_energies=energies,
            avg_num_neighbors=6.0,
            atomic_numbers=[1, 6, 8],
            correlation=2,
            gate=torch.nn.functional.silu,
            pair_repulsion=True,
            radial_MLP=[8],
            atomic_inter_scale=scale,
            atomic_inter_shift=shift,
        )
    with_weights_of(mace, model)
    model.scaler.set("energy", scale)
    model.baseline.set("energy", (energies + shift)[:, None])
    assert_same(model, mace, [ethanol(), crystal(), slab()])
