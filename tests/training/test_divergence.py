"""The watch over a diverging training: on losses alone, and on real runs."""

import json

import numpy as np
import pytest
from small_training import begin

from mace_app.training.watch import LOOKS, DivergenceWatch


def first_alarm(losses, untrained=1.0, steps=50):
    """The number of the epoch in which the watch gives the alarm, passing its state through JSON every time."""
    watch = DivergenceWatch()
    if untrained is not None:
        watch.begin(untrained)
    for epoch, loss in enumerate(losses, start=1):
        watch = DivergenceWatch(**json.loads(json.dumps(watch.state())))
        if watch.look(loss, epoch * steps, whole_epoch=True):
            return epoch
    return None


def test_a_loss_that_stays_a_hundred_times_above_its_lowest_is_an_alarm_after_five_looks_and_a_hundred_steps():
    losses = [0.5, 0.1, *[60.0] * 9]
    assert first_alarm(losses) == 2 + LOOKS
    assert first_alarm(losses, steps=20) == 2 + 6  # a hundred steps later than the first
    assert first_alarm([300.0] * 5) == LOOKS  # from the beginning
    assert first_alarm([1e9, 1e12, 1.1] * 9) == 8  # again and again


@pytest.mark.parametrize(
    "losses",
    [
        [0.5, 0.1, *[60.0] * 4, *[0.2] * 8, *[60.0] * 4, 0.2],  # it comes back
        [0.5, 1e-4, *[0.9] * 9],  # far above its lowest, but still better than nothing
        [0.5, 0.1, *[9.0] * 9],  # bad, but not by orders of magnitude
        [50.0] * 9,
        [0.5, 0.1, 60.0, 0.1, 0.1] * 20,
        [0.5, 0.1, *[float("nan")] * 9],  # another check deals with it
    ],
)
def test_noise_is_no_alarm(losses):
    assert first_alarm(losses) is None


def test_noisy_runs_over_many_orders_of_magnitude_are_left_alone():
    for seed in range(200):
        random = np.random.default_rng(seed)
        falling = np.geomspace(1, 1e-5, 400) * np.exp(random.normal(scale=1.0, size=400))
        assert first_alarm(falling) is None


def test_after_the_loss_has_changed_the_watch_begins_anew():
    watch = DivergenceWatch()
    watch.begin(1.0)
    watch.look(1e-3, 50, True)
    watch.restart()
    assert [watch.look(500.0, 100 * n, True) for n in range(2, 8)] == [False] * 6
    assert [watch.look(60000.0, 100 * n, True) for n in range(8, 13)] == [False] * 4 + [True]


def test_a_rate_far_too_high_ends_the_run_and_the_best_epoch_is_kept(prepared, tmp_path):
    """And goes on to the end where that is wanted."""
    wild = {"num_epochs": 24, "learning_rate": 1.0, "grad_clip_norm": None, "ema_decay": None}
    training, recorder = begin(prepared(True), tmp_path, **wild)
    result = training.run()
    assert result.failure is not None and "diverged" in result.failure and "`learning_rate`" in result.failure
    assert 16 < result.last_epoch < 24
    assert result.best_epoch is not None and (tmp_path / "best.safetensors").exists()
    losses = [record["train/loss"] for record in recorder.records[1:]]
    assert min(losses[-3:]) > 100 * min(recorder.records[0]["validation/loss"], *losses)
    assert all(record["gradient_norm"] > 0 for record in recorder.records[1:])
    training, recorder = begin(prepared(True), tmp_path, stop_when_diverging=False, **wild)
    assert training.run().failure is None
    assert recorder.records[-1]["epoch"] == 24


def test_a_normal_run_is_left_alone_and_its_gradient_is_logged(prepared, tmp_path):
    training, recorder = begin(prepared(True), tmp_path, num_epochs=15)
    assert training.run().failure is None
    norms = [record["gradient_norm"] for record in recorder.records[1:]]
    assert "gradient_norm" not in recorder.records[0]
    assert 0 < norms[-1] < norms[0]
