"""Low-rank corrections: exact at the start, right derivatives, the symmetry of the model, and merged without loss."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from graph_fixtures import CHARGE, DIPOLE, ENERGY, batch_of, crystal, ethanol, predict, single_atom, slab, small_model
from scipy.spatial.transform import Rotation

from mace_app.model import Batch, LoRA, MaceModel, ModelConfig, parameter_groups
from mace_app.model.foundation.into_model import foundation_model
from mace_app.model.foundation.source import open_foundation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "foundation"))
from graph_fixtures import collate
from mace_files import KINDS, save

FILES = ["ordinary", "newest", "attention", "density", "one_layer_with_vectors"]
TARGETS = [ENERGY, DIPOLE, CHARGE]


def of_file(kind: str, folder: Path) -> MaceModel:
    foundation = open_foundation(save(KINDS[kind](), folder / "file.model"))
    return foundation_model(foundation, foundation.heads[0])


def filled(model: MaceModel, rank: int = 2, alpha: float = 1.5) -> MaceModel:
    """With corrections of rank ``rank`` that are not zero."""
    torch.manual_seed(4)
    model.add_corrections(LoRA(rank, alpha))
    assert model.corrections is not None
    with torch.no_grad():
        for factor in model.corrections.parameters():
            factor.normal_(std=0.3)
    return model


def all_labels(model: MaceModel) -> dict[str, torch.Tensor]:
    structures = [ethanol(), crystal(), slab(), single_atom()]
    arrays = collate(structures, model.config.cutoff)
    return model(Batch.from_arrays(arrays, model.config.atomic_types, "cpu", model.dtype), model.labels)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_with_new_corrections_is_the_file_and_with_trained_ones_the_merged_model(
    kind: str, tmp_path: Path
) -> None:
    model = of_file(kind, tmp_path)
    before = all_labels(model)
    model.add_corrections(LoRA(2, 1.0))
    assert all(torch.equal(value, before[label]) for label, value in all_labels(model).items())
    weights = {name: weight.clone() for name, weight in model.backbone.named_parameters()}
    after, merged = all_labels(filled(model)), model.merged()
    assert merged.config.lora is None and merged.corrections is None
    for label, value in all_labels(merged).items():
        assert (after[label] - before[label]).abs().max() > 1e-5
        torch.testing.assert_close(value, after[label], rtol=1e-12, atol=1e-12)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.backbone.named_parameters())


def test_every_linear_layer_of_the_body_is_corrected_and_nothing_else(tmp_path: Path) -> None:
    model = filled(of_file("newest", tmp_path))
    merged = dict(model.merged().backbone.named_parameters())
    changed = {name for name, weight in model.backbone.named_parameters() if not torch.equal(weight, merged[name])}
    linear = {
        name
        for name, weight in model.backbone.named_parameters()
        if weight.numel() and not name.startswith("readouts.") and "linear" in name.split(".")[-2]
    }
    assert linear < changed
    others = {
        name
        for name, weight in model.backbone.named_parameters()
        if any(part in name for part in ("readouts.", ".bias", "contractions.", "alpha", "beta"))
    }
    assert len(others) > 20 and not others & changed
    tensor_product = filled(of_file("ordinary", tmp_path))
    delta = tensor_product.merged().backbone.get_parameter("interactions.0.skip_tp.weight")
    delta = delta - tensor_product.backbone.get_parameter("interactions.0.skip_tp.weight")
    first = delta[: 4 * 3 * 4].reshape(4, 3, 4).detach()  # [inputs, elements, outputs]
    assert [int(torch.linalg.matrix_rank(first[:, element])) for element in range(3)] == [2, 2, 2]


def test_the_correction_of_an_equivariant_layer_is_alpha_over_rank_times_the_product() -> None:
    model = filled(small_model([ENERGY]), rank=2, alpha=3.0)
    assert model.corrections is not None
    own = model.corrections.get_submodule("interactions-1-linear_up")
    a, b = [list(factors) for factors in (own.a, own.b)]
    blocks = [(3.0 / 2 * x[0] @ y[0]).flatten() for x, y in zip(a, b, strict=True)]
    assert len(blocks) == 2  # 0e and 1o
    before = model.backbone.get_parameter("interactions.1.linear_up.weight")
    after = model.merged().backbone.get_parameter("interactions.1.linear_up.weight")
    torch.testing.assert_close(after, before + torch.cat(blocks), rtol=0, atol=1e-14)


def test_derivatives_by_every_correction_are_slopes() -> None:
    """Of a loss with energies, forces and stress, that is through a second derivative."""
    model = filled(small_model(TARGETS, interaction="RealAgnosticDensityResidualInteractionBlock"))
    assert model.corrections is not None
    batch = batch_of(model, ethanol(), crystal())

    def loss(graph: bool) -> torch.Tensor:
        found = model(batch, model.labels, create_graph=graph)
        return sum((value.square().sum() for value in found.values()), torch.zeros(()))

    loss(True).backward()
    generator = torch.Generator().manual_seed(1)
    slopes = 0
    for factor in model.corrections.parameters():
        assert factor.grad is not None
        direction = torch.randn(factor.shape, generator=generator, dtype=factor.dtype)
        expected, values, step = float((factor.grad * direction).sum()), [], 1e-5
        for sign in (1, -1):
            with torch.no_grad():
                factor.add_(sign * step * direction)
                values.append(float(loss(False)))
                factor.sub_(sign * step * direction)
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-8)
        slopes += abs(slope) > 1e-6
    assert slopes > 40


@pytest.mark.parametrize("improper", [False, True])
def test_corrected_predictions_turn_with_the_structure(improper: bool) -> None:
    model = filled(small_model(TARGETS, hidden_irreps="4x0e + 4x1o + 4x2e"), rank=3)
    turn = Rotation.random(random_state=4).as_matrix() * (-1 if improper else 1)
    atoms = crystal()
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc)
    before, after = predict(model, atoms), predict(model, turned)
    assert np.abs(before["energy.forces"]).max() > 1e-3
    for label in ("energy", "charge"):
        np.testing.assert_allclose(after[label], before[label], rtol=0, atol=1e-11)
    np.testing.assert_allclose(after["energy.forces"], before["energy.forces"] @ turn.T, rtol=0, atol=1e-11)
    np.testing.assert_allclose(after["energy.stress"], turn @ before["energy.stress"] @ turn.T, rtol=0, atol=1e-11)
    expected = np.einsum("ab,sbp->sap", turn, before["mtt::dipole"])
    np.testing.assert_allclose(after["mtt::dipole"], expected, rtol=0, atol=1e-11)


def test_a_copy_and_a_model_built_again_have_the_corrections() -> None:
    model = filled(small_model(TARGETS))
    again = MaceModel.from_json(json.loads(json.dumps(model.to_json(), allow_nan=False)))
    assert again.config == model.config and again.config.lora == LoRA(2, 1.5)
    again.load_state_dict(model.state_dict())
    for other in (again, model.copy(), copy.deepcopy(model)):
        for label, value in predict(other, ethanol()).items():
            np.testing.assert_array_equal(value, predict(model, ethanol())[label])
    state = torch.get_rng_state()
    model.merged()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_configuration_from_before_there_were_corrections_still_reads() -> None:
    value = small_model().config.to_json()
    del value["lora"]
    assert ModelConfig.from_json(value).lora is None


def test_maps_thinner_than_the_rank_get_a_full_correction_and_no_more() -> None:
    model = filled(small_model([ENERGY]), rank=64)
    assert model.corrections is not None
    for own in model.corrections.weights.values():
        correction = model.corrections.get_submodule(own)
        for part, a in zip(correction.maps, correction.a, strict=True):
            assert a.shape[-1] == min(part.inputs, part.outputs)


def test_elements_that_are_not_in_the_data_keep_their_embedding_and_skip_connection() -> None:
    torch.manual_seed(0)
    model = small_model([ENERGY], interaction_first="RealAgnosticResidualInteractionBlock")
    model.add_corrections(LoRA(2, 1.0))
    optimiser = torch.optim.Adam(model.corrections.parameters(), lr=0.01)
    water = Atoms("OH2", positions=[[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])
    for _ in range(3):
        optimiser.zero_grad()
        found = model(batch_of(model, water), {"energy", "energy.forces"}, create_graph=True)
        sum(value.square().sum() for value in found.values()).backward()
        optimiser.step()
    merged = model.merged()
    for name, shape, axis in (
        ("node_embedding.linear.weight", (3, 4), 0),
        ("interactions.0.skip_tp.weight", (4, 3, 4), 1),
    ):
        size = int(np.prod(shape))
        before, after = (m.backbone.get_parameter(name).detach()[:size].reshape(shape) for m in (model, merged))
        moved = [not torch.equal(after.select(axis, z), before.select(axis, z)) for z in range(3)]
        assert moved == [True, False, True]  # H, C, O


def test_corrections_decay_where_their_weights_do_and_every_factor_is_in_one_group() -> None:
    model = filled(small_model(TARGETS))
    groups = parameter_groups(model, 0.5)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {names[id(p)] for group in groups if group["weight_decay"] > 0 for p in group["params"]}
    corrected = {name.split(".")[1] for name in decaying if name.startswith("corrections.")}
    assert corrected == {"interactions-0-linear", "interactions-1-linear", "products-0-linear", "products-1-linear"}
