"""A run that ends before its last epoch says why, and is evaluated and exported like any other."""

from small_data import options, write_options, write_waters

from mace_app.__main__ import main
from mace_app.jobs import RunFolder
from mace_app.training import load_checkpoint


def test_a_run_that_runs_out_of_patience_is_finished_with_its_reason(tmp_path):
    training = {
        "num_epochs": 40,
        "early_stopping_patience": 2,
        "learning_rate": 0.5,
        "stage_two_start": 30,
        "stage_two_loss": {"energy": {"weight": 100}},
        "batch_atom_bounds": [None, 2],  # fewer than a molecule of water has
    }
    file = write_options(tmp_path / "options.yaml", options(write_waters(tmp_path / "data.xyz", 8), **training))
    assert main(["train", str(file), "-o", str(tmp_path / "run")]) == 0
    run = RunFolder(tmp_path / "run")
    info, epochs = run.info(), run.metrics().epochs
    assert info.state == "finished"
    assert info.reason.startswith(f"Ended after epoch {epochs[-1]['epoch']} of ")
    assert "no new best epoch for 2 epochs" in info.reason
    assert info.reason.endswith(f"The best, epoch {info.best_epoch}, was exported as model.pt.")
    assert f"Finished: {info.reason}" in run.log_file.read_text()
    assert run.model_file.exists() and run.report()["best_epoch"] == info.best_epoch
    assert [record["stage"] for record in epochs][-1] == 2 and epochs[-1]["epoch"] < 40
    assert load_checkpoint(run.checkpoint_path("stage_one")).header["epoch"] < info.best_epoch
    assert sorted(run.report()["splits"]) == ["training", "validation"]
    assert run.report()["splits"]["validation"]["energy"]["count"] == 2
