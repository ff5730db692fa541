"""Two and three processes train as one does, and stop, fail and go on together."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from several_processes import Team, first_gradients, lost_run, poisoned_run, whole_run, write_patchy
from small_training import folder, same

from mace_app.data import load_prepared
from mace_app.training import Processes, load_checkpoint
from mace_app.training.processes import divided

HUBER = {"loss": {"energy": {"type": "huber", "delta": 0.05, "forces": {"type": "huber", "delta": 0.02, "weight": 10}}}}
SUMS = {"loss": {"energy": {"reduction": "sum", "forces": {"weight": 3}, "stress": {"weight": 0.5, "type": "mae"}}}}
UNCLIPPED = {"grad_clip_norm": None}
STEPS = {
    "mse": {"batch_size": 5} | UNCLIPPED,
    "clipped": {"batch_size": 5, "grad_clip_norm": 1e-3},
    "huber": {"batch_size": 6} | HUBER | UNCLIPPED,
    "sums": {"batch_size": 7} | SUMS | UNCLIPPED,
    "weighted": {"batch_size": 5, "loss": "weighted"} | UNCLIPPED,
    "universal": {"batch_size": 5, "loss": "universal"} | UNCLIPPED,
    "accumulated": {"batch_size": 3, "accumulate_batches": 3} | UNCLIPPED,
    "one structure": {"batch_size": 1} | UNCLIPPED,
    "everything": {"batch_size": 13} | UNCLIPPED,
    "stress only": {"batch_size": 1, "loss": {"energy": {"weight": 0, "forces": {"weight": 0}}}} | UNCLIPPED,
}
RUNS = {
    "plain": {"batch_size": 5},
    "one structure a step": {"batch_size": 1, "num_epochs": 2},
    "schedule-free, accumulated": {"optimizer": "schedulefree", "batch_size": 3, "accumulate_batches": 2},
    "universal, packed by atoms": {"loss": "universal", "batch_size": 4, "batch_atom_bounds": [6, 15]},
    "two stages without average": {
        "batch_size": 4,
        "ema_decay": None,
        "stage_two_start": 2,
        "stage_two_learning_rate": 0.001,
        "stage_two_loss": {"energy": {"weight": 50}},
        "lr_scheduler_patience": 0,
    },
}


@pytest.fixture(scope="module")
def pair():
    team = Team(2)
    yield team
    team.close()


@pytest.fixture(scope="module")
def patchy(tmp_path_factory):
    return write_patchy(tmp_path_factory.mktemp("patchy"))


def close(one, other, relative):
    """Numbers, arrays, and what holds them."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            if key not in ("seconds", "structures_per_second"):
                close(one[key], other[key], relative)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            close(a, b, relative)
    elif isinstance(one, float | np.ndarray):
        np.testing.assert_allclose(other, one, rtol=relative, atol=relative * 1e-3)
    else:
        assert one == other


@pytest.mark.parametrize("name", STEPS)
def test_the_gradients_of_a_step_are_those_of_one_process(pair, patchy, tmp_path, name):
    alone, _ = first_gradients(Processes(), patchy, tmp_path, STEPS[name])
    answers = pair.call(first_gradients, patchy, tmp_path, STEPS[name])
    largest = max(np.abs(gradient).max() for gradient in alone if gradient is not None)
    for gradients, _ in answers:
        assert len(gradients) == len(alone)
        for one, other in zip(alone, gradients, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-13 * largest)
    if name == "one structure":
        assert sorted(structures for _, structures in answers) == [[0], [1]]
    assert all(np.array_equal(a, b) for a, b in zip(answers[0][0], answers[1][0], strict=True) if a is not None)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_gives_the_numbers_of_one_process_and_one_log(pair, patchy, tmp_path, name):
    training = {"num_epochs": 4, **RUNS[name]}
    alone = whole_run(Processes(), patchy, folder(tmp_path, "alone"), None, False, training)
    first, second = pair.call(whole_run, patchy, folder(tmp_path, "pair"), None, False, training)
    close(alone["records"], first["records"], 1e-10)
    close(alone["weights"], first["weights"], 1e-10)
    close(alone["parity"], first["parity"], 1e-10)
    close(alone["result"].__dict__, first["result"].__dict__, 1e-10)
    assert [len(line.split()) for line in alone["lines"]] == [len(line.split()) for line in first["lines"]]
    assert alone["progress"] and first["progress"]  # how often is a matter of time
    assert second["result"] == first["result"]
    assert not second["records"] and not second["lines"] and not second["parity"] and not second["progress"]
    for key, weight in first["weights"].items():
        assert np.array_equal(weight, second["weights"][key]), key
    files = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert sorted(path.name for path in (tmp_path / "pair").iterdir()) == files


@pytest.mark.parametrize("name", ["plain", "schedule-free, accumulated", "two stages without average"])
def test_stopped_again_and_again_they_end_with_the_bits_of_two_left_alone(pair, patchy, tmp_path, name):
    training = {"num_epochs": 3, **RUNS[name]}
    expected = pair.call(whole_run, patchy, folder(tmp_path, "whole"), None, False, training)
    part, records = folder(tmp_path, "part"), []
    for number in range(40):
        answers = pair.call(whole_run, patchy, part, 4, number > 0, training)
        records += answers[0]["records"]
        assert answers[0]["result"] == answers[1]["result"]
        if not answers[0]["result"].stopped:
            break
    assert number > 2
    assert answers[0]["result"] == expected[0]["result"]
    for kind in ("last", "best"):
        same(tmp_path / "whole" / f"{kind}.safetensors", part / f"{kind}.safetensors")
    close(expected[0]["records"], records, 0.0)


def test_a_run_of_two_goes_on_alone_and_says_that_digits_may_differ(pair, patchy, tmp_path):
    training = {"num_epochs": 3, "batch_size": 4}
    alone = whole_run(Processes(), patchy, folder(tmp_path, "alone"), None, False, training)
    part = folder(tmp_path, "part")
    assert pair.call(whole_run, patchy, part, 9, False, training)[0]["result"].stopped
    assert load_checkpoint(part / "last.safetensors").header["processes"] == 2
    rest = whole_run(Processes(), patchy, part, None, True, training)
    assert any("made with 2 processes, now there are 1" in line for line in rest["lines"])
    close(alone["weights"], rest["weights"], 1e-10)


def test_a_loss_that_is_not_finite_in_one_process_ends_both_with_the_name_of_the_label(pair, patchy, tmp_path):
    training = {"num_epochs": 2, "batch_size": 13}
    graphs = load_prepared(patchy).training
    parts = divided(np.arange(len(graphs)), graphs, 2)
    for number, part in enumerate(parts):
        labelled = next(int(index) for index in part if graphs.labels_present("energy")[index])
        where = folder(tmp_path, str(number))
        first, second = pair.call(poisoned_run, patchy, where, labelled, training)
        assert "The loss (energy) stopped being a finite number in epoch 1, step 1" in first.failure
        assert second.failure is not None


def test_when_one_ends_the_other_says_so_instead_of_waiting(patchy, tmp_path):
    team = Team(2)
    try:
        told = team.call(lost_run, patchy, tmp_path, {"num_epochs": 2, "batch_size": 4}, answering=1)
    finally:
        team.close()
    assert told[0].startswith("Another process of this training ended")


@pytest.mark.slow
def test_three_processes_give_the_numbers_of_one(patchy, tmp_path):
    training = {"num_epochs": 3, "batch_size": 5}
    alone = whole_run(Processes(), patchy, folder(tmp_path, "alone"), None, False, training)
    team = Team(3)
    try:
        answers = team.call(whole_run, patchy, folder(tmp_path, "three"), None, False, training)
    finally:
        team.close()
    close(alone["records"], answers[0]["records"], 1e-10)
    for other in answers[1:]:
        assert all(np.array_equal(weight, other["weights"][key]) for key, weight in answers[0]["weights"].items())


def test_structures_are_divided_evenly_completely_and_in_order(patchy):
    graphs = load_prepared(patchy).training
    sizes = graphs.n_edges[np.arange(len(graphs))] + graphs.n_atoms[np.arange(len(graphs))]
    random = np.random.default_rng(0)
    for count in (1, 2, 3, 20):
        indices = random.permutation(len(graphs))
        parts = divided(indices, graphs, count)
        assert len(parts) == count
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(graphs)))
        place = {int(index): number for number, index in enumerate(indices)}
        assert all(sorted(part, key=lambda index: place[int(index)]) == list(part) for part in parts)
        loads = [sizes[part].sum() for part in parts]
        assert max(loads) - min(loads) <= sizes.max()


def test_checkpoints_of_two_processes_are_those_of_one_in_all_but_the_last_digits(pair, patchy, tmp_path):
    training = {"num_epochs": 2, "batch_size": 4}
    whole_run(Processes(), patchy, folder(tmp_path, "alone"), 9, False, training)
    pair.call(whole_run, patchy, folder(tmp_path, "pair"), 9, False, training)
    one, two = (load_checkpoint(tmp_path / name / "last.safetensors").header for name in ("alone", "pair"))
    assert one.keys() == two.keys() and one["step"] == two["step"] > 0
    assert json.dumps(one["config"]) == json.dumps(two["config"])
    ours, theirs = (load_file(tmp_path / name / "last.safetensors") for name in ("alone", "pair"))
    assert ours.keys() == theirs.keys()
    for name in ours:
        if ours[name].is_floating_point():
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12, equal_nan=True)
