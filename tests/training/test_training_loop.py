"""The loop itself, over real graphs and a small real model."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tasks"))
from small_data import options, write_waters

from mace_app.data import prepare
from mace_app.model import MaceModel, fit_baseline, fit_scaler
from mace_app.options import parse_options, resolve_loss
from mace_app.tasks.train import make_model
from mace_app.training import CheckpointError, Trainer, load_checkpoint, load_model, trainer


class Memory:
    """A recorder that remembers, and asks to stop after so many looks."""

    def __init__(self, folder: Path, looks: int | None = None) -> None:
        self.folder, self.looks = folder, looks
        self.records, self.arrays, self.lines, self.fields = [], {}, [], []

    def log(self, text):
        self.lines.append(text)

    def epoch(self, record):
        self.records.append(record)

    def parity(self, arrays, epoch):
        self.arrays = arrays

    def progress(self, **fields):
        self.fields.append(fields)

    def checkpoint_path(self, kind):
        return self.folder / f"{kind}.safetensors"

    def stop_requested(self):
        if self.looks is not None:
            self.looks -= 1
        return self.looks is not None and self.looks < 0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """``prepared(validation)``: 12 structures to train on, with or without 4 to validate."""
    found = {}

    def prepare_(validation: bool, count: int = 16):
        if (validation, count) not in found:
            folder = tmp_path_factory.mktemp("prepared")
            value = options(write_waters(folder / "data.xyz", count), num_epochs=0)
            value["validation_set"] = 0.25 if validation else 0.0
            found[validation, count] = prepare(parse_options(value), folder / "data")
        return found[validation, count]

    return prepare_


def begin(data, folder: Path, looks: int | None = None, seed: int = 3, **training) -> tuple[Trainer, Memory]:
    value = parse_options(options(Path("data.xyz"), batch_size=2, **training))
    torch.manual_seed(seed)
    model: MaceModel = make_model(value, data)
    fit_baseline(model.config, model.baseline, data.training)
    fit_scaler(model.config, model.scaler, model.baseline, data.training)
    hypers = value.architecture.training
    recorder = Memory(folder, looks)
    return Trainer(model, data, hypers, resolve_loss(hypers, model.config.targets), recorder, "cpu", seed), recorder


def folder(tmp_path, name):
    (tmp_path / name).mkdir()
    return tmp_path / name


def same(first: Path, second: Path) -> None:
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.parametrize("looks", [3, 8, 17])
def test_a_run_stopped_at_any_step_goes_on_with_the_same_bits(prepared, tmp_path, looks):
    data = prepared(True)
    whole, _ = begin(data, folder(tmp_path, "whole"), num_epochs=3)
    assert whole.run().last_epoch == 3
    part, first = begin(data, folder(tmp_path, "part"), looks=looks, num_epochs=3)
    stopped = part.run()
    assert stopped.stopped and stopped.last_epoch < 3
    again, second = begin(data, tmp_path / "part", num_epochs=3)
    assert not again.run(tmp_path / "part" / "last.safetensors").stopped
    same(tmp_path / "whole" / "last.safetensors", tmp_path / "part" / "last.safetensors")
    same(tmp_path / "whole" / "best.safetensors", tmp_path / "part" / "best.safetensors")
    epochs = [record["epoch"] for record in [*first.records, *second.records]]
    assert epochs == [0, 1, 2, 3]


def test_a_long_epoch_is_saved_in_between(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "LONG_EPOCH_SECONDS", 0.0)
    data = prepared(True)
    training, _ = begin(data, tmp_path, num_epochs=1)
    kept = []
    save = training.keeper.save

    def noticing(force=False):
        save(force)
        kept.append(load_checkpoint(tmp_path / "last.safetensors").header["step"])

    training.keeper.save = noticing
    training.run()
    assert kept == [1, 2, 3, 4, 5, 0, 0]


def test_without_validation_the_last_epoch_is_kept(prepared, tmp_path):
    training, recorder = begin(prepared(False), tmp_path, num_epochs=3)
    assert training.run().best_epoch == 3
    assert load_checkpoint(tmp_path / "best.safetensors").header["epoch"] == 3
    assert recorder.records[-1]["monitored"] is None


@pytest.mark.parametrize("metric", ["weighted_mae", "mae_prod", "rmse_prod", "loss"])
def test_the_untrained_model_is_never_the_best_even_if_training_makes_it_worse(prepared, tmp_path, metric):
    training, recorder = begin(
        prepared(True), tmp_path, num_epochs=1, learning_rate=1.0, grad_clip_norm=None, best_model_metric=metric
    )
    assert training.run().best_epoch == 1
    untrained, trained = recorder.records
    assert trained["monitored"] > untrained["monitored"]  # otherwise this proves nothing


def test_the_averaged_weights_are_validated_and_kept(prepared, tmp_path):
    data = prepared(True)
    training, recorder = begin(data, tmp_path, num_epochs=2, ema_decay=0.9)
    training.run()
    last = load_checkpoint(tmp_path / "last.safetensors")
    averages = last.group("average")
    assert not all(torch.equal(averages[name], last.group("model")[name]) for name in averages)
    assert recorder.records[-1]["best"]
    best = load_model(tmp_path / "best.safetensors")
    for name, weight in best.named_parameters():
        assert torch.equal(weight, averages[name])
    again, other = begin(data, folder(tmp_path, "plain"), num_epochs=2, ema_decay=None)
    again.run()
    plain = load_checkpoint(tmp_path / "plain" / "last.safetensors")
    assert plain.group("average") == {}
    # the average changes nothing about the training itself
    assert all(torch.equal(plain.group("model")[name], last.group("model")[name]) for name in averages)
    assert other.records[-1]["validation/loss"] != recorder.records[-1]["validation/loss"]


def test_one_structure_is_enough_to_train_on(prepared, tmp_path):
    training, _ = begin(prepared(False, count=1), tmp_path, num_epochs=2)
    assert training.run().last_epoch == 2


def test_errors_of_the_log_are_those_of_the_parity_data(prepared, tmp_path):
    training, recorder = begin(prepared(True), tmp_path, num_epochs=1)
    training.run()
    arrays, record = recorder.arrays, recorder.records[-1]
    difference = arrays["energy.forces:prediction"] - arrays["energy.forces:reference"]
    assert np.sqrt((difference**2).mean()) == pytest.approx(record["validation/energy.forces/rmse"], rel=1e-12)


def test_a_run_does_not_go_on_with_other_data_or_another_seed(prepared, tmp_path):
    begin(prepared(True), tmp_path, num_epochs=1)[0].run()
    last = tmp_path / "last.safetensors"
    with pytest.raises(CheckpointError, match="seed"):
        begin(prepared(True), tmp_path, seed=4, num_epochs=2)[0].run(last)
    with pytest.raises(CheckpointError, match="training structures"):
        begin(prepared(False), tmp_path, num_epochs=2)[0].run(last)
    with pytest.raises(CheckpointError, match="weights only"):
        begin(prepared(True), tmp_path, num_epochs=2)[0].run(tmp_path / "best.safetensors")


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_best_and_a_sound_state(prepared, tmp_path):
    training, _ = begin(prepared(True), tmp_path, num_epochs=3)
    step = training._step

    def poisoned(structures, batches, epoch):
        if epoch == 2:
            with torch.no_grad():
                training.weights[0].fill_(torch.nan)
        step(structures, batches, epoch)

    training._step = poisoned
    result = training.run()
    assert result.best_epoch == 1
    assert "epoch 2, step 1" in result.failure
    for kind in ("best", "last"):
        tensors = load_file(tmp_path / f"{kind}.safetensors")
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point())
