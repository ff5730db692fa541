"""Published data sets trained through the command line: several scalars of QM9, virials of carbon."""

from pathlib import Path
from typing import Any

import pytest
from small_data import write_options

from mace_app.__main__ import main
from mace_app.jobs import RunFolder

QM9 = {
    "mtt::U0": {"key": "U0", "unit": "Hartree"},
    "mtt::mu": {"key": "mu", "unit": "Debye", "aggregate": "mean"},
    "mtt::alpha": {"key": "alpha", "unit": "bohr^3"},
    "mtt::gap": {"key": "epsgap", "unit": "Hartree"},
    "mtt::zpve": {"key": "zpve", "unit": "Hartree"},
    "mtt::Cv": {"key": "Cv"},
}
CARBON = {"energy": {"key": "energy", "unit": "eV", "forces": {"key": "force"}, "virial": {"key": "virial"}}}


def train(folder: Path, data: Path, targets: dict[str, Any], epochs: int, **training: Any) -> RunFolder:
    model = {"r_max": 4.0, "hidden_irreps": "8x0e + 8x1o", "max_ell": 2, "correlation": 2}
    value = {
        "seed": 1,
        "device": "cpu",
        "base_precision": 32,
        "architecture": {"model": model, "training": {"num_epochs": epochs, "batch_size": 8, **training}},
        "training_set": {"systems": {"read_from": str(data), "length_unit": "angstrom"}, "targets": targets},
        "validation_set": 0.1,
    }
    assert main(["train", str(write_options(folder / "options.yaml", value)), "-o", str(folder / "run")]) == 0
    return RunFolder(folder / "run")


def assert_all_learnt(run: RunFolder, labels: list[str]) -> None:
    """More than the baseline, which the first epoch already has."""
    untrained, first, *_, last = run.metrics().epochs
    for label in labels:
        assert last[f"train/{label}/rmse"] < 0.97 * first[f"train/{label}/rmse"], label
    assert last["validation/loss"] < untrained["validation/loss"]
    assert {check["label"] for check in run.report()["export"]["checks"]} >= set(labels)


@pytest.mark.slow
def test_six_scalars_of_qm9_train_at_once(published_data: Path, tmp_path: Path) -> None:
    run = train(tmp_path, published_data / "qm9_100.xyz", QM9, 20, per_structure_targets=["mtt::gap"])
    assert_all_learnt(run, list(QM9))
    units = run.metrics().units
    assert (units["mtt::U0"], units["mtt::gap"], units["mtt::mu"]) == ("Hartree/atom", "Hartree", "Debye")


@pytest.mark.slow
def test_energy_forces_and_virial_of_carbon_train(published_data: Path, tmp_path: Path) -> None:
    run = train(tmp_path, published_data / "carbon_virial_100.xyz", CARBON, 3)
    assert_all_learnt(run, ["energy", "energy.forces", "energy.stress"])
    assert run.metrics().units["energy.stress"] == "eV/atom"
