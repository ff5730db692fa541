"""Every option of the loop goes on bit for bit from any step, and changes what it should."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_training import begin, folder, same

from mace_app.training import CheckpointError, load_checkpoint, load_model, passes, trainer

OPTIONS = {
    "schedule-free": {"optimizer": "schedulefree", "warmup_steps": 5},
    "atoms": {"batch_atom_bounds": [6, 15], "batch_size": 4},
    "accumulation": {"accumulate_batches": 3},
    "warm-up and cosine": {"warmup_steps": 20, "lr_scheduler": "CosineAnnealingLR"},
    "stage two": {
        "stage_two_start": 2,
        "stage_two_learning_rate": 0.001,
        "stage_two_loss": {"energy": {"weight": 50}},
        "lr_scheduler_patience": 0,
    },
    "stage two without forces": {
        "loss": {"energy": {"weight": 0}},
        "stage_two_start": 2,
        "stage_two_loss": {"energy": {"weight": 50, "forces": {"weight": 0}}},
        "lr_scheduler": "CosineAnnealingLR",
    },
    "schedule-free in two stages": {
        "optimizer": "schedulefree",
        "stage_two_start": 3,
        "stage_two_learning_rate": 0.002,
        "accumulate_batches": 2,
        "batch_atom_bounds": [None, 12],
    },
    "patience": {"early_stopping_patience": 2, "learning_rate": 0.5, "num_epochs": 9},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_stopped_again_and_again_ends_with_the_bits_of_one_left_alone(clusters, tmp_path, name):
    values = {"num_epochs": 3, "num_workers": 0, **OPTIONS[name]}
    whole, alone = begin(clusters, folder(tmp_path, "whole"), **values)
    expected = whole.run()
    folder(tmp_path, "part")
    records, last = [], tmp_path / "part" / "last.safetensors"
    for _ in range(60):
        # a stop in the middle of an epoch, in a validation, and between them; loaded by threads this time
        part, recorder = begin(clusters, tmp_path / "part", looks=7, **values | {"num_workers": 2})
        result = part.run(last if last.exists() else None)
        records += recorder.records
        if not result.stopped:
            break
    assert result == expected
    for kind in ("last", "best"):
        same(tmp_path / "whole" / f"{kind}.safetensors", tmp_path / "part" / f"{kind}.safetensors")
    assert [without_time(record) for record in records] == [without_time(record) for record in alone.records]
    one, two = (load_checkpoint(tmp_path / name / "last.safetensors").header for name in ("whole", "part"))
    assert without_time(one) == without_time(two)


def without_time(record):
    return {key: value for key, value in record.items() if key not in ("seconds", "structures_per_second")}


def test_steps_are_counted_over_epochs_of_different_lengths(clusters, tmp_path):
    training, recorder = begin(clusters, tmp_path, num_epochs=3, batch_size=8, batch_atom_bounds=[None, 14])
    training.run()
    steps = [len(training.order.steps(epoch)) for epoch in (1, 2, 3)]
    assert [record["step"] for record in recorder.records] == [0, *np.cumsum(steps)]
    assert len({int(step) for step in steps}) > 1 or steps[0] > 12 / 8


def test_one_structure_larger_than_the_bound_is_trained_on_validated_and_mentioned_once(
    clusters, tmp_path, monkeypatch
):
    training, recorder = begin(clusters, tmp_path, num_epochs=2, batch_size=4, batch_atom_bounds=[None, 8])
    seen = []
    load, validated, load_to_validate = training._load, [], passes.load_batch
    training._load = lambda indices: seen.append(list(indices)) or load(indices)
    monkeypatch.setattr(
        passes,
        "load_batch",
        lambda graphs, indices, model: (
            validated.append(graphs.n_atoms[indices]) or load_to_validate(graphs, indices, model)
        ),
    )
    training.run()
    assert all(sizes.sum() <= 8 or len(sizes) == 1 for sizes in validated)
    warnings = [line for line in recorder.lines if "`batch_atom_bounds`" in line]
    assert len(warnings) == 2 and "training" not in warnings[0] and "validation" in warnings[1]
    assert sorted(index for batch in seen for index in batch) == sorted([*range(12), *range(12)])
    assert set(recorder.arrays["energy:structure"]) == set(range(4))


def gradient_of_the_first_step(data, where, **values):
    training, _ = begin(data, where, num_epochs=1, grad_clip_norm=None, **values)
    found = []
    step = training.state.optimiser.step
    training.state.optimiser.step = lambda: (
        found.append([None if w.grad is None else w.grad.clone() for w in training.weights]),
        step(),
    )
    training.run()
    return [gradient for gradient in found[0] if gradient is not None], len(found)


def test_batches_put_together_give_the_gradient_of_one_large_batch(prepared, tmp_path):
    """12 structures of equal size: 2 × 4 in the first step, 4 in the last."""
    large, steps = gradient_of_the_first_step(prepared(True), tmp_path, batch_size=8)
    together, same_steps = gradient_of_the_first_step(prepared(True), tmp_path, batch_size=4, accumulate_batches=2)
    assert steps == same_steps == 2
    for one, two in zip(large, together, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    # batches that differ in size count by their structures, and sums are added
    whole, _ = gradient_of_the_first_step(prepared(True), tmp_path, batch_size=12)
    uneven, _ = gradient_of_the_first_step(prepared(True), tmp_path, batch_size=5, accumulate_batches=3)
    for one, two in zip(whole, uneven, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    loss = {"energy": {"reduction": "sum", "forces": {"reduction": "sum"}}}
    whole, _ = gradient_of_the_first_step(prepared(True), tmp_path, batch_size=12, loss=loss)
    added, _ = gradient_of_the_first_step(prepared(True), tmp_path, batch_size=4, accumulate_batches=3, loss=loss)
    for one, two in zip(whole, added, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_what_is_exported_of_a_schedule_free_run_is_its_average_and_looking_at_it_changes_nothing(prepared, tmp_path):
    training, recorder = begin(prepared(True), tmp_path, num_epochs=3, optimizer="schedulefree")
    training.run()
    last = load_checkpoint(tmp_path / "last.safetensors")
    state = training.state.optimiser.state_dict()["state"]
    average, weights = last.group("average"), last.group("model")
    names = [name for name, _ in training.model.named_parameters()]
    order = {id(weight): name for name, weight in training.model.named_parameters()}
    moved = 0
    for index, weight in enumerate(training.weights):
        name = order[id(weight)]
        if "z" in state.get(index, {}):
            # y = 0.9 x + 0.1 z
            torch.testing.assert_close(weights[name], 0.9 * average[name] + 0.1 * state[index]["z"])
            moved += not torch.equal(weights[name], average[name])
    assert moved > 0 and set(average) == set(names)
    assert recorder.records[-1]["best"]
    for name, weight in load_model(tmp_path / "best.safetensors").named_parameters():
        assert torch.equal(weight, average[name])
    assert recorder.records[-1]["validation/loss"] < recorder.records[0]["validation/loss"]
    unlooked, _ = begin(prepared(False), folder(tmp_path, "unlooked"), num_epochs=3, optimizer="schedulefree")
    looked, _ = begin(prepared(False), folder(tmp_path, "looked"), num_epochs=3, optimizer="schedulefree")
    step = looked._step

    def curious(*arguments):
        step(*arguments)
        looked.state.averaged_weights()
        looked.keeper.save(force=True)

    looked._step = curious
    unlooked.run()
    looked.run()
    same(tmp_path / "unlooked" / "last.safetensors", tmp_path / "looked" / "last.safetensors")


def test_stage_two_changes_loss_and_rate_and_the_choice_of_the_best_begins_anew(prepared, tmp_path):
    values = {
        "num_epochs": 4,
        "stage_two_start": 3,
        "stage_two_learning_rate": 0.001,
        # in other units altogether: were it compared with stage one, nothing could be better than before
        "stage_two_loss": {"energy": {"weight": 1e6, "forces": {"weight": 1e6}}},
    }
    training, recorder = begin(prepared(True), tmp_path, **values)
    result = training.run()
    one, two, three, four = recorder.records[1:]
    assert one["learning_rate"] == two["learning_rate"] == 0.01
    assert three["learning_rate"] == four["learning_rate"] == 0.001
    assert three["validation/loss"] > 1e4 * two["validation/loss"]
    assert [record["stage"] for record in recorder.records] == [1, 1, 1, 2, 2]
    assert three["best"] and result.best_epoch in (3, 4)
    first = load_checkpoint(tmp_path / "stage_one.safetensors")
    assert first.header["epoch"] == max(record["epoch"] for record in (one, two) if record["best"])
    assert any(line.startswith("Stage two begins with epoch 3: learning rate 0.001") for line in recorder.lines)
    # up to there nothing differs from a run of one stage
    plain, other = begin(prepared(True), folder(tmp_path, "plain"), num_epochs=4)
    plain.run()
    assert [without_time(record) | {"stage": 1} for record in other.records[:3]] == [
        without_time(record) for record in recorder.records[:3]
    ]


def test_a_stage_two_with_the_same_loss_goes_on_comparing(prepared, tmp_path):
    training, _ = begin(
        prepared(True), tmp_path, num_epochs=4, stage_two_start=3, stage_two_learning_rate=1.0, grad_clip_norm=None
    )
    assert training.run().best_epoch == 2
    assert not (tmp_path / "stage_one.safetensors").exists()


def test_a_stage_two_that_fails_at_once_leaves_the_best_of_stage_one(prepared, tmp_path):
    training, _ = begin(prepared(True), tmp_path, num_epochs=3, stage_two_start=2, stage_two_loss="mae")
    step = training._step

    def poisoned(structures, batches, epoch):
        if epoch == 2:
            with torch.no_grad():
                training.weights[0].fill_(torch.nan)
        step(structures, batches, epoch)

    training._step = poisoned
    result = training.run()
    assert result.failure is not None and result.best_epoch == 1
    assert all(torch.isfinite(tensor).all() for tensor in load_file(tmp_path / "best.safetensors").values())


def test_patience_ends_a_run_with_a_sentence_and_a_finished_one_stays_so(prepared, tmp_path):
    values = {"num_epochs": 50, "early_stopping_patience": 3, "learning_rate": 0.5}
    training, _ = begin(prepared(True), tmp_path, **values)
    result = training.run()
    assert result.last_epoch == result.best_epoch + 3 < 50 and not result.stopped and result.failure is None
    assert result.reason.startswith(f"Ended after epoch {result.last_epoch} of 50, because there was no new best")
    again, more = begin(prepared(True), tmp_path, **values)
    assert again.run(tmp_path / "last.safetensors") == result
    assert more.records == []


def test_patience_in_stage_one_begins_stage_two_which_keeps_its_length(prepared, tmp_path):
    values = {"num_epochs": 60, "early_stopping_patience": 3, "learning_rate": 0.5}
    values |= {"stage_two_start": 58, "stage_two_learning_rate": 0.001, "lr_scheduler": "CosineAnnealingLR"}
    training, recorder = begin(prepared(True), tmp_path, **values)
    result = training.run()
    begun = training.state.stage_two
    assert 4 < begun < 50 and result.last_epoch == begun + 2 and result.reason is None
    assert [record["epoch"] for record in recorder.records] == list(range(begun + 3))
    assert recorder.records[begun]["learning_rate"] == 0.001
    assert recorder.fields[-1]["epochs"] == begun + 2


def test_what_decides_the_order_can_not_be_changed_by_a_resume(clusters, tmp_path):
    begin(clusters, tmp_path, num_epochs=1)[0].run()
    last = tmp_path / "last.safetensors"
    for values, words in (
        ({"batch_atom_bounds": [None, 12]}, "bounds on the atoms"),
        ({"accumulate_batches": 2}, "batches per step"),
        ({"batch_size": 3}, "batch size"),
        ({"optimizer": "schedulefree"}, "another optimiser"),
    ):
        with pytest.raises(CheckpointError, match=words):
            begin(clusters, tmp_path, num_epochs=2, **values)[0].run(last)


def test_a_long_epoch_is_looked_at_in_between(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "LOOK_EVERY", 2)
    training, _ = begin(prepared(True), tmp_path, num_epochs=1)
    looks = []
    look = training.state.watch.look
    training.state.watch.look = lambda loss, step, whole: looks.append((step, whole)) or look(loss, step, whole)
    training.run()
    assert looks == [(2, False), (4, False), (6, True)]
    assert json.loads(json.dumps(training.state.watch.state()))["lowest"] > 0


def test_a_damaged_batch_in_a_thread_ends_the_training_with_its_error(prepared, tmp_path):
    training, _ = begin(prepared(True), tmp_path, num_epochs=1, num_workers=2)
    load = training._load

    def damaged(indices):
        if 5 in indices:
            raise OSError("the file of structure 5 is gone")
        return load(indices)

    training._load = damaged
    with pytest.raises(OSError, match="structure 5 is gone"):
        training.run()
