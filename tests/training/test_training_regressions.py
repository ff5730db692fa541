"""Defects of other trainers that this one must not have (one test each, named by what must hold)."""

from dataclasses import replace

import pytest
import torch
from small_training import begin, folder, same

from mace_app.data import GraphSet
from mace_app.model import parameter_groups
from mace_app.options import TrainingHypers
from mace_app.training import load_checkpoint
from mace_app.training.optimiser import make_optimiser
from mace_app.training.sampling import BatchLimits, EpochOrder


def weights_of(path):
    return load_checkpoint(path / "last.safetensors").group("model")


@pytest.mark.parametrize(
    "values", [{"ema_decay": None}, {"ema_decay": 0.9}, {"optimizer": "schedulefree"}], ids=["plain", "ema", "free"]
)
def test_validation_never_changes_training(prepared, tmp_path, values):
    data = prepared(True)
    values |= {} if "optimizer" in values else {"lr_scheduler": "ExponentialLR"}  # the plateau looks at validation
    begin(data, folder(tmp_path, "with"), num_epochs=3, **values)[0].run()
    unseen = replace(data, validation=GraphSet(data.validation._pack, []))
    begin(unseen, folder(tmp_path, "without"), num_epochs=3, **values)[0].run()
    one, two = weights_of(tmp_path / "with"), weights_of(tmp_path / "without")
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_the_plateau_and_the_logged_losses_do_not_depend_on_how_the_set_is_cut_into_batches(prepared, tmp_path):
    """Summed losses would: with twice as many batches they are twice as large."""
    found = []
    for batch_size in (1, 2, 4):
        training, recorder = begin(prepared(True), tmp_path, num_epochs=0, batch_size=batch_size)
        training.run()
        found.append(recorder.records[0]["validation/loss"])
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)
    seen = []
    training, recorder = begin(prepared(True), tmp_path, num_epochs=1)
    step = training.state.schedule.step
    training.state.schedule.step = lambda loss: (seen.append(loss), step(loss))
    training.run()
    assert seen == [recorder.records[1]["validation/loss"]]


def test_training_and_validation_losses_of_the_same_structures_are_the_same_number(prepared, tmp_path):
    data = replace(prepared(True), validation=prepared(True).training)
    training, recorder = begin(data, tmp_path, num_epochs=1, learning_rate=1e-12, ema_decay=None, amsgrad=False)
    training.run()
    record = recorder.records[1]
    assert record["train/loss"] == pytest.approx(record["validation/loss"], rel=1e-9)
    assert record["train/energy.forces/rmse"] == pytest.approx(record["validation/energy.forces/rmse"], rel=1e-9)


def test_the_last_partial_batch_is_trained_on_and_a_set_smaller_than_a_batch_too():
    assert [len(batch) for batch in EpochOrder([3] * 5, BatchLimits(2), 0).batches(1)] == [2, 2, 1]
    assert [len(batch) for batch in EpochOrder([3] * 5, BatchLimits(64), 0).batches(1)] == [5]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "schedulefree"])
def test_added_heads_and_readouts_have_no_hidden_decay(prepared, tmp_path, optimizer):
    """torch's AdamW would take 0.01 where a group says nothing. With no gradient, only decay moves a weight."""
    training, _ = begin(prepared(True), tmp_path)
    groups = parameter_groups(training.model, 0.1)
    settings = TrainingHypers(optimizer=optimizer, learning_rate=0.5)
    optimiser = make_optimiser([*groups, {"params": [torch.nn.Parameter(torch.ones(2))]}], settings)
    before = [[weight.detach().clone() for weight in group["params"]] for group in optimiser.param_groups]
    for group in optimiser.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    optimiser.step()
    moved = {
        group.get("name", "unnamed")
        for group, old in zip(optimiser.param_groups, before, strict=True)
        for weight, value in zip(group["params"], old, strict=True)
        if not torch.equal(weight, value)
    }
    assert moved == {"interactions_decay", "products"}


def test_the_number_of_epochs_is_the_total_also_after_a_resume(prepared, tmp_path):
    begin(prepared(True), tmp_path, num_epochs=2)[0].run()
    last = tmp_path / "last.safetensors"
    done, recorder = begin(prepared(True), tmp_path, num_epochs=2)
    assert done.run(last).last_epoch == 2 and recorder.records == []
    longer, recorder = begin(prepared(True), tmp_path, num_epochs=4)
    assert longer.run(last).last_epoch == 4
    assert [record["epoch"] for record in recorder.records] == [3, 4]
    begin(prepared(True), folder(tmp_path, "whole"), num_epochs=4)[0].run()
    same(tmp_path / "whole" / "last.safetensors", last)


@pytest.mark.parametrize("optimizer", ["adam", "schedulefree"])
def test_saving_never_moves_or_shares_the_live_model(prepared, tmp_path, optimizer):
    training, _ = begin(prepared(True), tmp_path, num_epochs=1, optimizer=optimizer, checkpoint_interval=1)
    training.run()
    model = training.model

    def live():
        return {
            name: (id(weight), weight.data_ptr(), weight.device, weight.dtype, weight.requires_grad)
            for name, weight in model.named_parameters()
        }

    before, values = live(), {name: weight.detach().clone() for name, weight in model.named_parameters()}
    training.keeper.save(force=True)
    training.keeper.save_weights("epoch_1", 1, training.state.averaged_weights())
    assert live() == before
    assert all(torch.equal(weight, values[name]) for name, weight in model.named_parameters())
    places = {place for _, place, *_ in before.values()}
    assert not places & {weight.data_ptr() for weight in training.state.best.weights.values()}
    assert not places & {weight.data_ptr() for weight in training.state.averaged_weights().values()}


def test_a_checkpoint_is_data_and_is_never_seen_half_written(prepared, tmp_path, monkeypatch):
    training, _ = begin(prepared(True), tmp_path, num_epochs=1)
    training.run()
    whole = (tmp_path / "last.safetensors").read_bytes()
    assert int.from_bytes(whole[:8], "little") < len(whole) and whole[8:9] == b"{"  # JSON, not a pickle or a zip
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="the disk is full"):
        training.keeper.save(force=True)
    assert (tmp_path / "last.safetensors").read_bytes() == whole


def test_periodic_weights_are_the_averaged_ones_of_their_epoch(prepared, tmp_path):
    training, _ = begin(prepared(True), tmp_path, num_epochs=3, checkpoint_interval=2)
    training.run()
    assert not (tmp_path / "epoch_1.safetensors").exists()
    kept = load_checkpoint(tmp_path / "epoch_2.safetensors")
    assert kept.header["epoch"] == 2 and kept.group("optimiser") == {}
    shorter, _ = begin(prepared(True), folder(tmp_path, "shorter"), num_epochs=2)
    shorter.run()
    averages = load_checkpoint(tmp_path / "shorter" / "last.safetensors").group("average")
    assert averages and all(torch.equal(kept.group("model")[name], average) for name, average in averages.items())
