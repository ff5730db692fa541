"""One small training through the command line, and what lies in its folder afterwards."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_data import options, waters, write_options, write_waters

from mace_app.__main__ import main
from mace_app.files import sha256_of
from mace_app.jobs import RunFolder
from mace_app.options import load_options
from mace_app.training import load_checkpoint, load_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("trained")
    value = options(write_waters(folder / "data.xyz", 24), num_epochs=4, checkpoint_interval=2)
    value["seed"] = None
    file = write_options(folder / "options.yaml", value)
    assert main(["train", str(file), "-o", str(folder / "run"), "--name", "Wässer"]) == 0
    return RunFolder(folder / "run")


def test_the_folder_explains_itself(trained):
    info = trained.info()
    assert (info.state, info.reason, info.name, info.device) == ("finished", None, "Wässer", "cpu")
    assert info.parameters > 100
    assert 1 <= info.best_epoch <= 4
    assert info.versions["torch"]
    assert info.data[0]["structures"] == 24
    assert load_options(trained.options_file).seed == info.seed is not None
    assert {split: len(frames) for split, frames in trained.splits().items()} == {
        "training": 18,
        "validation": 6,
        "test": 0,
    }
    assert trained.progress().phase == "done"
    assert "Epoch 4/4" in trained.log_file.read_text()


def test_metrics_have_units_and_one_line_an_epoch(trained):
    history = trained.metrics()
    assert history.units == {"energy": "eV/atom", "energy.forces": "eV/Å"}
    assert [record["epoch"] for record in history.epochs] == [0, 1, 2, 3, 4]
    first, *rest = history.epochs
    assert not first["best"]
    assert "train/loss" not in first
    for record in rest:
        assert {"train/loss", "validation/loss", "validation/energy.forces/mae", "train/energy/rmse"} <= record.keys()
        assert record["loss_share/energy"] + record["loss_share/energy.forces"] == pytest.approx(1)
    assert rest[-1]["validation/loss"] < first["validation/loss"]
    best = min(rest, key=lambda record: record["monitored"])["epoch"]
    assert best == trained.info().best_epoch == [record["epoch"] for record in rest if record["best"]][-1]


def test_parity_is_in_the_units_of_the_errors(trained):
    parity = trained.parity()
    record = trained.metrics().epochs[parity.epoch]
    for label in ("energy", "energy.forces"):
        rows = parity.labels[label]
        assert abs(rows.prediction - rows.reference).mean() == pytest.approx(
            record[f"validation/{label}/mae"], rel=1e-9
        )
    forces = parity.labels["energy.forces"]
    assert forces.reference.shape == (18, 3)
    assert sorted(set(forces.structure)) == list(range(6))
    assert list(forces.atom[:3]) == [0, 1, 2]


def test_the_report_is_of_the_best_epoch_and_the_export_was_checked(trained):
    report = trained.report()
    record = trained.metrics().epochs[report["best_epoch"]]
    validation = report["splits"]["validation"]
    for label in ("energy", "energy.forces"):
        assert validation[label]["mae"] == pytest.approx(record[f"validation/{label}/mae"], rel=1e-9)
    auxiliary = {"mtt::aux::mace_features", "mtt::aux::energy_last_layer_features", "energy_uncertainty"}
    assert {check["label"] for check in report["export"]["checks"]} == {"energy", "energy.forces"} | auxiliary
    assert trained.model_file.stat().st_size > 1000
    assert {check["label"] for check in report["native"]["checks"]} == {"energy", "energy.forces"}
    assert report["native"]["sha256"] == sha256_of(trained.native_file)
    assert "model.model" in [download.name for download in trained.downloads()]


def test_periodic_checkpoints_and_the_best_one_can_be_loaded(trained):
    for kind in ("best", "last", "epoch_2", "epoch_4"):
        assert load_model(trained.checkpoint_path(kind)).config.atomic_types == [1, 8]
    assert load_checkpoint(trained.checkpoint_path("best")).header["epoch"] == trained.info().best_epoch


def test_evaluate_repeats_the_numbers_of_the_report_and_writes_predictions(trained, tmp_path, capsys):
    other = write_waters(tmp_path / "other.xyz", 5)
    output = tmp_path / "predicted.xyz"
    assert main(["evaluate", str(trained.path), str(other), "-o", str(output), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["epoch"] == trained.info().best_epoch
    assert value["structures"] == 5
    from ase.io import read

    frames = read(output, index=":")
    reference = [atoms.get_potential_energy() for atoms in read(other, index=":")]
    mae = np.mean([abs(a.info["predicted_energy"] - e) / 3 for a, e in zip(frames, reference, strict=True)])
    assert value["errors"]["energy"]["mae"] == pytest.approx(mae, rel=1e-6)
    assert frames[0].arrays["predicted_forces"].shape == (3, 3)
    np.testing.assert_allclose(frames[0].positions, waters(5)[0].positions, atol=1e-7)


def test_export_from_a_checkpoint_gives_a_checked_file(trained, tmp_path, capsys):
    output = tmp_path / "water.pt"
    assert main(["export", str(trained.checkpoint_path("epoch_2")), "-o", str(output)]) == 0
    assert "energy.forces: agrees" in capsys.readouterr().out
    assert output.exists()


def test_the_command_line_writes_the_format_that_the_name_asks_for(trained, tmp_path, capsys):
    output = tmp_path / "water.model"
    assert main(["export", str(trained.path), "-o", str(output)]) == 0
    assert "energy.forces: agrees" in capsys.readouterr().out
    assert output.exists()
    assert main(["export", str(trained.path), "-o", str(tmp_path / "water.pth")]) == 2
    assert "end it in `.pt` (metatomic) or `.model` (mace-torch)" in capsys.readouterr().err


def test_a_second_run_does_not_go_into_the_same_folder(trained, capsys):
    assert main(["train", str(trained.options_file), "-o", str(trained.path)]) == 2
    assert "--resume" in capsys.readouterr().err


def test_more_epochs_are_added_up_to_the_new_total(trained, tmp_path, capsys):
    import shutil

    folder = tmp_path / "longer"
    shutil.copytree(trained.path, folder)
    text = trained.options_text().replace("num_epochs: 4", "num_epochs: 6")
    (tmp_path / "longer.yaml").write_text(text)
    assert main(["train", str(tmp_path / "longer.yaml"), "-o", str(folder), "--resume"]) == 0
    assert [record["epoch"] for record in RunFolder(folder).metrics().epochs] == [0, 1, 2, 3, 4, 5, 6]


def test_no_epochs_at_all_give_the_baseline_and_the_scale(tmp_path):
    file = write_options(tmp_path / "options.yaml", options(write_waters(tmp_path / "data.xyz"), num_epochs=0))
    assert main(["train", str(file), "-o", str(tmp_path / "run")]) == 0
    run = RunFolder(tmp_path / "run")
    assert run.info().best_epoch == 0
    assert run.model_file.exists()


def test_a_learning_rate_that_explodes_ends_with_the_reason_and_keeps_the_best(tmp_path):
    value = options(write_waters(tmp_path / "data.xyz"), num_epochs=400, learning_rate=1.0, grad_clip_norm=None)
    value["base_precision"] = 32
    value["architecture"]["training"]["loss"] = {"energy": {"weight": 1e36, "forces": {"weight": 0}}}
    file = write_options(tmp_path / "options.yaml", value)
    assert main(["train", str(file), "-o", str(tmp_path / "run")]) == 2
    info = RunFolder(tmp_path / "run").info()
    assert info.state == "failed"
    assert "finite" in info.reason
    assert "learning_rate" in info.reason
    assert "Traceback" not in info.reason


def test_sigterm_stops_and_keeps_the_best(tmp_path):
    import signal
    import time

    file = write_options(tmp_path / "options.yaml", options(write_waters(tmp_path / "data.xyz"), num_epochs=100_000))
    run = RunFolder(tmp_path / "run")
    command = [sys.executable, "-m", "mace_app", "train", str(file), "-o", str(run.path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 200
        while not run.metrics_file.exists() or len(run.metrics().epochs) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, said
    info = run.info()
    assert info.state == "stopped"
    assert "exported" in info.reason
    assert "--resume" in said
    assert math.isfinite(run.report()["splits"]["validation"]["energy"]["mae"])
