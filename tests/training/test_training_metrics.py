import numpy as np
import pytest
import torch

from mace_app.options import TargetInfo
from mace_app.training.metrics import ErrorAccumulator, reported_labels

ENERGY = TargetInfo("energy", "energy", "eV", has_forces=True, has_stress=True)


def test_units_are_those_people_use():
    targets = {
        "energy": ENERGY,
        "mtt::gap": TargetInfo("mtt::gap", unit="eV"),
        "mtt::size": TargetInfo("mtt::size"),
        "charge": TargetInfo("charge", unit="e", sample_kind="atom"),
    }
    found = {label: entry.unit for label, entry in reported_labels(targets, ["mtt::gap"]).items()}
    assert found == {
        "energy": "eV/atom",
        "energy.forces": "eV/Å",
        "energy.stress": "eV/Å³",
        "mtt::gap": "eV",
        "mtt::size": "1/atom",
        "charge": "e",
    }


def test_per_structure_targets_are_found_by_their_whole_name():
    """metatrain looks for the name anywhere in the label."""
    names = ("energy", "energy/x", "mtt::energy_x", "mtt::energy")
    targets = {name: TargetInfo(name, unit="eV") for name in names}
    found = {label: (entry.unit, entry.divide) for label, entry in reported_labels(targets, ["energy"]).items()}
    assert found.pop("energy") == ("eV", "nothing")
    assert set(found.values()) == {("eV/atom", "atoms")} and len(found) == 3


def test_a_mean_over_atoms_is_reported_as_it_is():
    entry = reported_labels({"mtt::gap": TargetInfo("mtt::gap", unit="eV", aggregate="mean")})["mtt::gap"]
    assert (entry.unit, entry.divide) == ("eV", "nothing")


TENSOR = TargetInfo(
    "mtt::t",
    unit="e",
    sample_kind="atom",
    type={"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1, "num": 2}, {"o3_lambda": 2, "o3_sigma": -1}]}},
)


def test_each_irrep_is_reported_by_itself_beside_the_whole_if_asked_for():
    targets = {"energy": ENERGY, "mtt::t": TENSOR}
    assert list(reported_labels(targets)) == ["energy", "energy.forces", "energy.stress", "mtt::t"]
    reported = reported_labels(targets, separate_blocks=True)
    blocks = ["mtt::t (λ=0 σ=+1)", "mtt::t (λ=2 σ=-1)"]
    assert list(reported) == ["energy", "energy.forces", "energy.stress", "mtt::t", *blocks]
    random = np.random.default_rng(0)
    reference, error = random.normal(size=(6, 7)), random.normal(size=(6, 7))
    reference[2, 4] = np.nan
    known = {name: reported[name] for name in ("mtt::t", *blocks)}
    accumulator = ErrorAccumulator(known, "cpu")
    arrays = [torch.from_numpy(values) for values in (reference + error, reference)]
    atoms, volumes = torch.tensor([3.0, 3.0]), torch.zeros(2)
    accumulator.update(
        *({name: entry.convert(values, atoms, volumes) for name, entry in known.items()} for values in arrays)
    )
    errors = accumulator.errors()
    for name, columns in (("mtt::t", slice(0, 7)), (blocks[0], slice(0, 2)), (blocks[1], slice(2, 7))):
        expected = abs(error)[:, columns][~np.isnan(reference[:, columns])]
        assert errors[name].mae == pytest.approx(expected.mean(), rel=1e-12)
        assert errors[name].count == expected.size


def test_a_stress_that_came_as_virial_is_reported_as_virial_per_atom():
    target = TargetInfo("energy", "energy", "eV", has_stress=True, stress_from_virial=True)
    entry = reported_labels({"energy": target})["energy.stress"]
    stress = torch.tensor([[[1.0, 0, 0], [0, 2, 0], [0, 0, 3]]], dtype=torch.float64)
    virial = entry.convert(stress, torch.tensor([4.0]), torch.tensor([20.0]))
    assert entry.unit == "eV/atom"
    torch.testing.assert_close(virial, -stress * 5)


def test_errors_equal_numpy_over_uneven_batches_with_missing_values():
    random = np.random.default_rng(1)
    prediction = random.normal(size=(50, 3)) - 4000
    reference = prediction + random.normal(size=(50, 3)) * 1e-3
    reference[random.random((50, 3)) < 0.2] = np.nan
    reported = {"energy.forces": reported_labels({"energy": ENERGY})["energy.forces"]}
    accumulator = ErrorAccumulator(reported, "cpu")
    for part in (slice(0, 1), slice(1, 30), slice(30, 30), slice(30, 50)):
        accumulator.update(
            {"energy.forces": torch.from_numpy(prediction[part])}, {"energy.forces": torch.from_numpy(reference[part])}
        )
    errors = accumulator.errors()["energy.forces"]
    d = (prediction - reference)[~np.isnan(reference)]
    there = reference[~np.isnan(reference)]
    assert errors.count == d.size
    assert errors.mae == pytest.approx(abs(d).mean(), rel=1e-12)
    assert errors.rmse == pytest.approx(np.sqrt((d**2).mean()), rel=1e-12)
    assert errors.max == pytest.approx(abs(d).max(), rel=1e-12)
    assert errors.r2 == pytest.approx(1 - (d**2).sum() / ((there - there.mean()) ** 2).sum(), rel=1e-12)


def test_a_label_nobody_has_gives_no_errors_and_a_constant_one_no_r2():
    reported = reported_labels({"energy": ENERGY})
    accumulator = ErrorAccumulator({key: reported[key] for key in ("energy", "energy.forces")}, "cpu")
    nothing = torch.full((2, 1), torch.nan)
    accumulator.update(
        {"energy": torch.ones((2, 1)), "energy.forces": torch.ones((4, 3))},
        {"energy": nothing, "energy.forces": torch.zeros((4, 3))},
    )
    errors = accumulator.errors()
    assert list(errors) == ["energy.forces"]
    assert errors["energy.forces"].r2 is None
