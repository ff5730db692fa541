"""The choice of the best epoch: never the untrained model by accident, and never frozen by an error of zero."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tasks"))
from small_data import frame, options, waters
from small_training import begin

from mace_app.data import prepare
from mace_app.options import LossTerm, parse_options
from mace_app.training import load_checkpoint, trainer
from mace_app.training.losses import LossSummary
from mace_app.training.metrics import Errors
from mace_app.training.selection import monitored_value

METRICS = ["weighted_mae", "mae_prod", "rmse_prod", "loss"]


def errors(value):
    return Errors(value, value, value, None, 1, "eV")


def best_of(values, metric, terms, monkeypatch, data, folder, **training):
    """The epoch that is kept when the errors of the validation set are ``values``, from epoch 0 on."""
    run, _ = begin(data, folder, num_epochs=len(values) - 1, best_model_metric=metric, **training)
    made = iter(values)

    def chosen(metric, _, loss, found):
        numbers = next(made)
        summary = LossSummary(sum(numbers.values()), dict(numbers), dict(numbers))
        return monitored_value(metric, terms, summary, {label: errors(value) for label, value in numbers.items()})

    monkeypatch.setattr(trainer, "monitored_value", chosen)
    result = run.run()
    kept = load_checkpoint(folder / "best.safetensors").header["epoch"]
    assert result.best_epoch == kept
    return kept


@pytest.mark.parametrize("metric", METRICS)
def test_an_error_that_is_zero_all_the_time_does_not_freeze_the_choice(metric, prepared, tmp_path, monkeypatch):
    terms = {"a": LossTerm(), "b": LossTerm()}
    values = [{"a": 0.0, "b": value} for value in (0.5, 4.0, 3.0, 1.0, 2.0)]
    assert best_of(values, metric, terms, monkeypatch, prepared(True), tmp_path) == 3


@pytest.mark.parametrize("metric", METRICS)
def test_without_a_validation_set_the_last_epoch_is_kept(metric, prepared, tmp_path):
    run, recorder = begin(prepared(False), tmp_path, num_epochs=2, best_model_metric=metric)
    assert run.run().best_epoch == 2
    assert [record["best"] for record in recorder.records] == [False, True, True]


@pytest.mark.parametrize("metric", ["rmse_prod", "loss"])
def test_without_maes_in_the_log_the_choice_is_made_all_the_same(metric, prepared, tmp_path):
    quiet, silent = begin(prepared(True), tmp_path, num_epochs=3, best_model_metric=metric, log_mae=False)
    chosen = quiet.run().best_epoch
    assert not any("mae" in key for record in silent.records for key in record)
    values = [record["monitored"] for record in silent.records]
    assert chosen >= 1 and len(set(values)) == 4  # metatrain's is the constant 1 then
    assert values[chosen] == min(values[1:])


@pytest.fixture(scope="module")
def nothing_weighted(tmp_path_factory):
    """Validation structures have energies only, and energies have no weight."""
    folder = tmp_path_factory.mktemp("unweighted")
    structures = waters(8)
    (folder / "train.xyz").write_text("".join(frame(atoms) for atoms in structures[:5]))
    (folder / "valid.xyz").write_text("".join(frame(atoms, forces=False) for atoms in structures[5:]))
    value = options(folder / "train.xyz")
    value["validation_set"] = value["training_set"] | {"systems": str(folder / "valid.xyz")}
    return prepare(parse_options(value), folder / "data")


@pytest.mark.parametrize("metric", ["weighted_mae", "loss"])
def test_a_validation_set_without_any_weighted_label_keeps_the_last_epoch(metric, nothing_weighted, tmp_path):
    """A sum over nothing would be 0 for ever: the first epoch would stay the best and the schedule see a plateau."""
    run, recorder = begin(
        nothing_weighted,
        tmp_path,
        num_epochs=4,
        lr_scheduler_patience=0,
        learning_rate=0.001,
        best_model_metric=metric,
        loss={"energy": {"weight": 0}},
    )
    assert run.run().best_epoch == 4
    assert all(record["monitored"] is None for record in recorder.records)
    assert "validation/energy/mae" in recorder.records[-1]
    trained = [record["train/loss"] for record in recorder.records[1:]]
    assert trained == sorted(trained, reverse=True)  # otherwise the schedule may lower the rate rightly
    assert recorder.records[-1]["learning_rate"] == pytest.approx(0.001)


def test_irreps_reported_by_themselves_do_not_count_twice():
    terms = {"a": LossTerm()}
    found = {"a": errors(2.0), "a (λ=0 σ=+1)": errors(3.0)}
    summary = LossSummary(1.0, {"a": 1.0}, {"a": 1.0})
    assert monitored_value("mae_prod", terms, summary, found) == 2.0


def test_weights_of_structures_change_the_loss_and_not_the_errors(tmp_path, prepared):
    """Ten times the weight for all: ten times the loss of the untrained model, the same errors, the same choice."""
    found = []
    for weight in (1.0, 10.0):
        folder = tmp_path / f"{weight:g}"
        folder.mkdir()
        text = "".join(
            frame(atoms).replace("Properties", f"config_weight={weight} Properties", 1) for atoms in waters(6)
        )
        (folder / "data.xyz").write_text(text)
        value = options(folder / "data.xyz", num_epochs=0)
        value["validation_set"] = value["training_set"]
        run, recorder = begin(prepare(parse_options(value), folder / "data"), folder, num_epochs=0)
        torch.manual_seed(0)
        run.run()
        found.append(recorder.records[0])
    one, ten = found
    assert ten["validation/loss"] == pytest.approx(10 * one["validation/loss"], rel=1e-12)
    for key in ("monitored", "validation/energy/mae", "validation/energy.forces/rmse"):
        assert ten[key] == pytest.approx(one[key], rel=1e-12)
