"""Targets of every kind in one model, each known for a part of the structures only, from file to exported model."""

from pathlib import Path

import numpy as np
import pytest
from many_targets import TARGETS, labels, molecules, options, write_molecules
from small_data import write_options

from mace_app.__main__ import main
from mace_app.data import load_prepared
from mace_app.jobs import RunFolder
from mace_app.training import load_model

LABELS = [*TARGETS, "energy.forces"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("many")
    value = options(write_molecules(folder / "data.xyz", 44))
    assert main(["train", str(write_options(folder / "options.yaml", value)), "-o", str(folder / "run")]) == 0
    return RunFolder(folder / "run")


def test_every_label_is_learnt(trained: RunFolder) -> None:
    epochs = trained.metrics().epochs
    for label in LABELS:
        before, after = (epoch[f"validation/{label}/rmse"] for epoch in (epochs[0], epochs[-1]))
        assert after < 0.9 * before, label
    shares = sum(value for key, value in epochs[-1].items() if key.startswith("loss_share/"))
    assert shares == pytest.approx(1)


def test_a_tensor_is_symmetric_if_all_its_labels_are(trained: RunFolder) -> None:
    targets = load_model(trained.checkpoint_path("best")).config.targets
    assert targets["mtt::alpha"].symmetric
    assert targets["mtt::born"].symmetric


def test_an_antisymmetric_part_in_the_data_asks_for_features_that_can_give_it(tmp_path: Path, capsys) -> None:
    from ase.io import read, write

    data = write_molecules(tmp_path / "data.xyz", 12, without=False)
    frames = read(data, ":")
    frames[5].info["alpha"] = np.array(frames[5].info["alpha"]) + np.array([[0, 0.3, 0], [-0.3, 0, 0], [0, 0, 0]])
    write(data, frames, format="extxyz")
    file = write_options(tmp_path / "options.yaml", options(data, num_epochs=1))
    assert main(["train", str(file), "-o", str(tmp_path / "run")]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "`mtt::alpha` needs `1e`" in said
    assert "6x0e + 6x1o + 6x1e + 6x2e" in said


def test_labels_that_are_absent_are_counted_and_not_dropped(trained: RunFolder) -> None:
    prepared = load_prepared(trained.data_path)
    assert prepared is not None
    for label in LABELS:
        present = sum(s.labels_present(label).sum() for s in (prepared.training, prepared.validation))
        assert 44 * 0.85 < present < 44, label


def test_parity_and_report_hold_every_label_in_its_unit(trained: RunFolder) -> None:
    parity, report = trained.parity(), trained.report()
    for label in LABELS:
        assert label in parity.labels
        assert label in report["splits"]["validation"]
    units = {label: errors["unit"] for label, errors in report["splits"]["validation"].items()}
    assert units["energy"] == "eV/atom"
    assert units["mtt::gap"] == "eV"
    assert units["charge"] == "e"
    assert parity.labels["mtt::alpha"].reference.shape[1:] == (3, 3, 1)
    assert parity.labels["mtt::multipoles"].reference.shape[1:] == (6,)


def test_predictions_of_the_command_line_are_those_of_formulas_in_shape(trained: RunFolder, tmp_path: Path) -> None:
    data = write_molecules(tmp_path / "new.xyz", 6, without=False, seed=5)
    assert main(["evaluate", str(trained.path), str(data), "-o", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as found:
        alpha = found["mtt::alpha"]
    reference = np.stack([labels(atoms)[0]["alpha"] for atoms in molecules(6, seed=5)])
    assert alpha.reshape(6, 3, 3).shape == reference.shape
    error = np.abs(alpha.reshape(6, 3, 3) - reference).mean()
    assert error < 0.5 * np.abs(reference).mean()
