"""The loop itself, over real graphs and a small real model."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_training import begin, folder, same

from mace_app.training import CheckpointError, load_checkpoint, load_model, trainer


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
