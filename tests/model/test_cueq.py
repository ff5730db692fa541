"""cuEquivariance's layers give the numbers and gradients of mace-torch's own, from the same parameters.

These tests run where cuequivariance-torch is installed; without a GPU it computes by its slow way for any device.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_fixtures import CHARGE, DIPOLE, ENERGY, batch_of, crystal, ethanol, single_atom, small_model
from test_fast_core import numbers

from mace_app.model import MaceModel, ModelError
from mace_app.model.config import LoRA
from mace_app.model.fast import FrozenCore
from mace_app.model.foundation import foundation_model, open_foundation
from mace_app.options.packages import is_here

sys.path.append(str(Path(__file__).parents[1] / "foundation"))
import mace_files

HERE = is_here("cuequivariance_torch")
installed = pytest.mark.skipif(not HERE, reason="cuequivariance-torch is not installed")

ARCHITECTURES: list[dict[str, Any]] = [
    {},
    {"hidden_irreps": "4x0e + 4x1o + 4x2e", "max_ell": 2, "correlation": 2},
    {"interaction_first": "RealAgnosticDensity", "interaction": "RealAgnosticDensityResidual", "pair_repulsion": True},
    {"interaction": "RealAgnosticResidualNonLinear", "correlation": 2},
    {"num_interactions": 3, "edge_irreps": "4x0e + 4x1o", "distance_transform": "Agnesi"},
    {"correlation": 1, "use_agnostic_product": True, "use_last_readout_only": True},
]


def of_both(targets: Any = (ENERGY, CHARGE), **hypers: Any) -> tuple[MaceModel, MaceModel]:
    reference = small_model(targets, kernels="reference", **hypers)
    other = small_model(targets, kernels="cueq", **hypers)
    other.load_state_dict(reference.state_dict())
    assert other.backbone.kernels().name == "cueq"
    return other, reference


def assert_same(first: MaceModel, second: MaceModel, tolerance: float = 1e-10) -> None:
    structures = [ethanol(), crystal(), single_atom()]
    found, expected = numbers(first, batch_of(first, *structures)), numbers(second, batch_of(second, *structures))
    for one, other in zip(found, expected, strict=True):
        largest = max(float(value.abs().max()) for value in other.values())
        for name, value in other.items():
            assert float((one[name] - value).abs().max()) <= tolerance * largest, name


@installed
@pytest.mark.parametrize("hypers", ARCHITECTURES, ids=str)
def test_predictions_and_gradients(hypers: dict[str, Any]) -> None:
    assert_same(*of_both(**hypers))


@installed
def test_heads_on_tensor_features_several_of_maces_own_and_corrections() -> None:
    other = ENERGY.__class__("energy/two", quantity="energy", unit="eV", has_forces=True, has_stress=False)
    models = of_both((ENERGY, other, DIPOLE), more_mace_heads={"energy/two": None})
    for model in models:
        torch.manual_seed(1)
        model.add_corrections(LoRA(rank=2, alpha=1.0))
        with torch.no_grad():
            for weight in model.corrections.parameters():
                weight.normal_(std=0.1)
    assert_same(*models)


@installed
def test_a_step_of_the_optimiser_takes_effect_at_once() -> None:
    models = of_both()
    for model in models:
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
        numbers(model, batch_of(model, ethanol()))
        optimiser.step()
    assert_same(*models)


@installed
def test_in_single_precision() -> None:
    first, second = of_both(dtype=torch.float32)
    assert first.dtype == torch.float32
    one, other = (numbers(model, batch_of(model, ethanol()))[0] for model in (first, second))
    assert all(torch.allclose(one[label], other[label], rtol=1e-4, atol=1e-5) for label in other)


@installed
def test_products_on_the_reduced_basis_of_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    file = mace_files.save(mace_files.build(correlation=2, use_reduced_cg=True), tmp_path / "reduced.model")
    reference = foundation_model(open_foundation(file), dtype=torch.float64)
    hypers = reference.config.hypers.model_copy(update={"kernels": "cueq"})
    other = MaceModel(replace(reference.config, hypers=hypers), torch.float64)
    other.load_state_dict(reference.state_dict())
    assert other.backbone.kernels().name == "cueq"
    assert_same(other, reference, tolerance=1e-8)  # of both libraries' tables of the change of basis


@pytest.mark.skipif(HERE, reason="cuequivariance-torch is installed")
def test_without_it_one_is_told_what_to_install() -> None:
    model = small_model((ENERGY,), kernels="cueq")
    with pytest.raises(ModelError, match="needs cuEquivariance, which is not installed"):
        model.backbone.kernels()
    assert small_model((ENERGY,), kernels="auto").backbone.kernels().name == "fast"


def test_what_is_exported_does_not_need_it() -> None:
    """The file is computed by the fast core, whatever the training used."""
    assert isinstance(small_model((ENERGY,), kernels="cueq").backbone.frozen(), FrozenCore)
