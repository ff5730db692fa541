from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from graph_fixtures import CHARGE, DIPOLE, ENERGY, Graphs, batch_of, crystal, ethanol, small_config, small_model

from mace_app.model import Baseline, MaceModel, ModelError, Scaler, fit_scaler
from mace_app.model.scaler import GivenRows
from mace_app.options import TargetInfo

WATER = Atoms("OH2", positions=[[0, 0, 0], [0.9, 0, 0], [0, 0.9, 0]])
OXYGEN = Atoms("O", positions=[[0, 0, 0]])


def fit(source: Graphs, *targets: TargetInfo, per_structure: tuple[str, ...] = (), baseline=None, **options):
    config = replace(small_config(targets), per_structure_targets=per_structure)
    fitted, scaler = Baseline(config), Scaler(config)
    for name, values in (baseline or {}).items():
        fitted.set(name, np.array(values))
    reports = fit_scaler(config, scaler, fitted, source, **options)
    return scaler, {report.target: report for report in reports}


ENERGIES = Graphs(
    [WATER, OXYGEN, OXYGEN],
    [
        {"energy": [[-12.0]], "energy.forces": [[3.0, 0, 0], [np.nan] * 3, [0, 4.0, 0]]},
        {"energy": [[-9.0]], "energy.forces": [[0, 0, 0]]},
        {"energy": [[np.nan]], "energy.forces": [[np.nan] * 3]},
    ],
)
BASELINE = {"energy": [[-2.0], [0.0], [-5.0]]}


def test_an_energy_is_scaled_by_its_forces_or_by_its_residual_per_atom() -> None:
    forces = np.sqrt((9 + 16) / 9)
    energies = np.sqrt(((-12 + 9) ** 2 / 9 + (-9 + 5) ** 2) / 2)
    for energy_scale, expected, source in (
        ("auto", forces, "forces"),
        ("forces", forces, "forces"),
        ("energy", energies, "residual"),
    ):
        scaler, reports = fit(ENERGIES, ENERGY, baseline=BASELINE, energy_scale=energy_scale)
        assert scaler.scale("energy").item() == pytest.approx(expected, rel=1e-14)
        assert reports["energy"].source == source
    plain = replace(ENERGY, has_forces=False, has_stress=False)
    scaler, reports = fit(ENERGIES, plain, baseline=BASELINE)
    assert scaler.scale("energy").item() == pytest.approx(energies, rel=1e-14)
    scaler, reports = fit(ENERGIES, plain, baseline=BASELINE, energy_scale="forces")
    assert "has no forces" in reports["energy"].warnings[0]


def test_per_structure_targets_are_not_divided_by_atoms() -> None:
    plain = replace(ENERGY, has_forces=False, has_stress=False)
    scaler, _ = fit(ENERGIES, plain, baseline=BASELINE, per_structure=("energy",))
    assert scaler.scale("energy").item() == pytest.approx(np.sqrt((9 + 16) / 2), rel=1e-14)


def test_per_atom_targets_have_a_scale_for_each_element_and_property() -> None:
    two = replace(CHARGE, name="mtt::two", num_subtargets=2)
    labels = [[3.0, 0.1], [1.0, np.nan], [2.0, 0.2]]
    scaler, _ = fit(Graphs([WATER], [{"mtt::two": labels}]), two)
    oxygen, hydrogen = np.sqrt((9 + 0.01) / 2), np.sqrt((1 + 4 + 0.04) / 3)
    np.testing.assert_allclose(scaler.scale("mtt::two")[[2, 0]], [oxygen, hydrogen], rtol=1e-14)
    full = scaler.scale("mtt::two")[:, None] * scaler.property_scale("mtt::two")
    np.testing.assert_allclose(full[[2, 0]], [[3.0, 0.1], [np.sqrt(2.5), 0.2]], rtol=1e-14)
    overall = np.sqrt((9 + 0.01 + 1 + 4 + 0.04) / 5)
    assert scaler.scale("mtt::two")[1].item() == pytest.approx(overall)  # carbon does not occur


def test_vectors_are_measured_over_components_without_a_baseline() -> None:
    source = Graphs([WATER, OXYGEN], [{"mtt::dipole": [[[3.0], [0], [0]]]}, {"mtt::dipole": [[[0], [0], [2.0]]]}])
    scaler, _ = fit(source, DIPOLE)
    assert scaler.scale("mtt::dipole").item() == pytest.approx(np.sqrt((1 + 4) / 6))


def test_a_residual_of_zero_leaves_scale_one_with_a_warning() -> None:
    plain = replace(ENERGY, has_forces=False, has_stress=False)
    source = Graphs([WATER], [{"energy": [[-9.0 + 1e-13]]}])
    scaler, reports = fit(source, plain, baseline=BASELINE)
    assert scaler.scale("energy").item() == 1.0
    assert "explains all of it" in reports["energy"].warnings[0]
    _, reports = fit(Graphs([WATER], [{"energy": [[np.nan]]}]), plain)
    assert "no label of it" in reports["energy"].warnings[0]


def test_scales_can_be_given_or_turned_off() -> None:
    scaler, reports = fit(ENERGIES, ENERGY, DIPOLE, scale_targets=False, given={"energy": 0.25})
    assert scaler.scale("energy").item() == 0.25
    assert scaler.scale("mtt::dipole").item() == 1.0
    assert [report.source for report in reports.values()] == ["given", "off"]
    with pytest.raises(ModelError, match="`fixed_scaling_weights` names `nothing`"):
        fit(ENERGIES, ENERGY, given={"nothing": 1.0})


@pytest.mark.parametrize("per_structure", [(), ("energy", "mtt::dipole", "mtt::gap")])
def test_normalised_labels_are_what_a_perfect_model_would_predict(per_structure: tuple[str, ...]) -> None:
    """Labels made from the physical predictions, normalised, must be the normalised predictions again."""
    gap = TargetInfo("mtt::gap", num_subtargets=2)
    model = small_model([ENERGY, DIPOLE, CHARGE, gap])
    model = MaceModel(replace(model.config, per_structure_targets=per_structure), torch.float64)
    model.baseline.set("energy", np.array([[-13.6], [-1028.0], [-2041.0]]))
    model.baseline.set("charge", np.array([[0.1], [0.2], [-0.3]]))
    model.scaler.set("energy", 1.7)
    model.scaler.set("mtt::dipole", 0.3)
    model.scaler.set("charge", np.array([0.1, 0.2, 0.4]))
    model.scaler.set("mtt::gap", 3.0, np.array([[0.5, 2.0]]))
    batch = batch_of(model, crystal(), ethanol())
    predictions = model(batch, model.labels)
    physical = model.physical(batch, predictions)
    labelled = replace(batch, labels=physical)
    normalised = model.normalise_labels(labelled)
    assert set(normalised) == model.labels
    for label, value in predictions.items():
        expected = value.clone()
        if label == "energy.stress":
            expected[1] = torch.nan  # ethanol has no volume
        torch.testing.assert_close(normalised[label], expected, rtol=0, atol=1e-11, equal_nan=True)
    sizes = torch.ones(2) if per_structure else torch.tensor([2.0, 9.0])
    elements = torch.tensor([-3069.0, 6 * -13.6 - 2 * 1028 - 2041], dtype=torch.float64)
    total = physical["energy"][:, 0] - elements
    torch.testing.assert_close(predictions["energy"][:, 0], total / 1.7 / sizes, rtol=1e-9, atol=1e-12)


def test_baseline_and_scale_stay_in_float64_when_the_model_is_cast() -> None:
    model = small_model([ENERGY], dtype=torch.float32)
    model.baseline.set("energy", np.array([[-13.6], [-1028.123456789], [-2041.0]]))
    model = model.to(torch.float32)
    assert model.baseline.values("energy")[1, 0].item() == -1028.123456789
    assert model.scaler.scale("energy").dtype == torch.float64
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_structure_far_from_the_origin_loses_nothing_in_float32() -> None:
    model = small_model([ENERGY], dtype=torch.float32)
    near, far = ethanol(), ethanol()
    far.positions += 1e4
    near.positions = far.positions - 1e4
    torch.testing.assert_close(batch_of(model, near).vectors, batch_of(model, far).vectors, rtol=0, atol=1e-7)


def test_some_elements_may_be_given_a_scale_and_the_others_are_measured() -> None:
    source = Graphs([WATER], [{"charge": [[-0.8], [0.3], [0.5]]}])
    measured = np.sqrt((0.09 + 0.25) / 2)
    scaler, reports = fit(source, CHARGE, given={"charge": {8: 3.0}})
    np.testing.assert_allclose(scaler.scale("charge")[[0, 2]], [measured, 3.0], rtol=1e-14)
    assert reports["charge"].source == "given, residual"
    scaler, reports = fit(source, CHARGE, given={"charge": {1: 1.0, 6: 2.0, 8: 3.0}})
    assert scaler.scale("charge").tolist() == [1.0, 2.0, 3.0] and reports["charge"].source == "given"
    with pytest.raises(ModelError, match="one value for each structure"):
        fit(ENERGIES, ENERGY, given={"energy": {1: 1.0}})
    with pytest.raises(ModelError, match="above 0"):
        fit(source, CHARGE, given={"charge": {8: 0.0}})


def test_rows_of_another_model_bring_the_scales_of_their_properties() -> None:
    two = replace(CHARGE, name="mtt::two", num_subtargets=2)
    source = Graphs([WATER], [{"mtt::two": [[3.0, 0.1], [1.0, np.nan], [2.0, 0.2]]}])
    rows = GivenRows({8: 5.0}, {8: [0.5, 2.0]})
    scaler, _ = fit(source, two, given={"mtt::two": rows})
    assert scaler.scale("mtt::two")[2].item() == 5.0 and scaler.property_scale("mtt::two")[2].tolist() == [0.5, 2.0]
    plain, _ = fit(source, two)
    torch.testing.assert_close(scaler.scale("mtt::two")[0], plain.scale("mtt::two")[0])
    torch.testing.assert_close(scaler.property_scale("mtt::two")[0], plain.property_scale("mtt::two")[0])


def test_a_residual_of_exactly_zero_never_becomes_nan() -> None:
    """metatrain leaves a scale of 0 and trains on NaN."""
    plain = replace(ENERGY, has_forces=False, has_stress=False)
    source = Graphs([WATER], [{"energy": [[-9.0]], "charge": [[0.0]] * 3}])
    scaler, reports = fit(source, plain, CHARGE, baseline=BASELINE)
    for name in ("energy", "charge"):
        assert torch.isfinite(scaler.scale(name)).all() and (scaler.scale(name) == 1).all()
        assert reports[name].source == "floor" and reports[name].warnings


def test_several_irreps_share_one_scale_and_each_copy_has_its_own_over_all_components() -> None:
    """Two numbers (0e) and one l=1 block: a row [a, b, y, z, x]; 2 structures, one value of the second unknown."""
    entries = [{"o3_lambda": 0, "o3_sigma": 1, "num": 2}, {"o3_lambda": 1, "o3_sigma": 1, "num": 1}]
    target = TargetInfo("mtt::several", type={"spherical": {"irreps": entries}})
    rows = [[4.0, 0.3, 1.0, 2.0, 2.0], [2.0, np.nan, 0.0, 0.0, 1.0]]
    source = Graphs([OXYGEN, OXYGEN], [{"mtt::several": [row]} for row in rows])
    scaler, _ = fit(source, target)
    everything = 16 + 0.09 + 1 + 4 + 4 + 4 + 1
    sigma = np.sqrt(everything / 9)
    assert scaler.scale("mtt::several").item() == pytest.approx(sigma, rel=1e-14)
    vector = np.sqrt((1 + 4 + 4 + 1) / 6)
    full = sigma * scaler.property_scale("mtt::several")[0]
    np.testing.assert_allclose(full, [np.sqrt(10), 0.3, vector, vector, vector], rtol=1e-14)
