"""Warm-up and schedules."""

import json
import math

import pytest
import torch

from mace_app.options import TrainingHypers
from mace_app.training.schedule import COSINE_FLOOR, Schedule


def make(epochs=None, **values):
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    return Schedule(optimiser, TrainingHypers.model_validate({"learning_rate": 0.1, **values}), epochs)


def rates(schedule, epochs, steps=1, loss=lambda epoch: 1.0):
    """The rate of every step."""
    found = []
    for epoch in range(epochs):
        for _ in range(steps):
            schedule.before_step()
            found.append(schedule.learning_rate)
        schedule.step(loss(epoch))
    return found


@pytest.mark.parametrize("kind", ["ExponentialLR", "ReduceLROnPlateau", "CosineAnnealingLR"])
def test_the_warm_up_rises_in_a_line_to_what_the_schedule_says(kind):
    values = {"lr_scheduler": kind, "num_epochs": 4}
    plain = rates(make(**values), 4, steps=3)
    warm = rates(make(warmup_steps=5, **values), 4, steps=3)
    assert warm == pytest.approx([rate * min(1, n / 5) for n, rate in enumerate(plain, start=1)])
    assert warm[0] == pytest.approx(0.02) and warm[5:] == plain[5:]


def test_the_cosine_ends_at_its_floor_with_the_last_epoch():
    found = rates(make(lr_scheduler="CosineAnnealingLR", num_epochs=10), 10)
    floor = 0.1 * COSINE_FLOOR
    expected = [floor + (0.1 - floor) * (1 + math.cos(math.pi * t / 10)) / 2 for t in range(10)]
    assert found == pytest.approx(expected)
    schedule = make(lr_scheduler="CosineAnnealingLR", num_epochs=10)
    assert rates(schedule, 12)[-2:] == pytest.approx([floor, floor])  # more epochs than planned


@pytest.mark.parametrize("kind", ["ExponentialLR", "ReduceLROnPlateau", "CosineAnnealingLR"])
def test_a_schedule_goes_on_from_its_state(kind):
    values = {"lr_scheduler": kind, "num_epochs": 9, "warmup_steps": 4}
    values |= {"lr_scheduler_patience": 1} if kind == "ReduceLROnPlateau" else {}
    whole = rates(make(**values), 9, steps=2)
    first, second = make(**values), make(**values)
    start = rates(first, 4, steps=2)
    second.load_state(json.loads(json.dumps(first.state())))
    assert start + rates(second, 5, steps=2) == whole


def test_stage_two_begins_anew_at_its_rate_without_another_warm_up():
    schedule = make(lr_scheduler="CosineAnnealingLR", num_epochs=20, epochs=4, warmup_steps=2)
    rates(schedule, 4)
    schedule.restart(0.01, 5)
    found = rates(schedule, 5)
    assert found[0] == 0.01
    assert found == pytest.approx([0.01 / 0.1 * rate for rate in rates(make(5, lr_scheduler="CosineAnnealingLR"), 5)])


def test_the_plateau_of_another_loss_is_not_compared_with_that_before():
    schedule = make(lr_scheduler_patience=1, lr_factor=0.5)
    rates(schedule, 3, loss=lambda epoch: 1e-6)
    assert schedule.learning_rate == pytest.approx(0.05)
    schedule.forget_losses()
    rates(schedule, 4, loss=lambda epoch: 10.0 - epoch)
    assert schedule.learning_rate == pytest.approx(0.05)


def test_the_schedule_free_optimiser_keeps_its_rate_after_the_warm_up():
    schedule = make(optimizer="schedulefree", warmup_steps=2)
    assert rates(schedule, 60, loss=lambda epoch: 5.0) == [0.05, *[0.1] * 59]


def test_epochs_without_improvement_before_stage_two_do_not_count_in_it():
    schedule = make(lr_scheduler_patience=2, lr_factor=0.5)
    rates(schedule, 3)
    schedule.restart(0.01, 20)
    assert rates(schedule, 4) == [0.01] * 4  # one that sets the level, two to wait
    assert schedule.learning_rate == 0.005


@pytest.mark.parametrize("optimizer", ["adam", "schedulefree"])
@pytest.mark.parametrize("kind", ["ExponentialLR", "ReduceLROnPlateau", "CosineAnnealingLR"])
def test_a_group_with_a_factor_has_that_multiple_of_the_rate_at_every_step_and_is_not_the_one_logged(kind, optimizer):
    values = {"learning_rate": 0.1, "warmup_steps": 3, "num_epochs": 8}
    values |= {"lr_scheduler": kind} if optimizer == "adam" else {"optimizer": optimizer}
    values |= {"lr_scheduler_patience": 1} if (kind, optimizer) == ("ReduceLROnPlateau", "adam") else {}
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": weights[:1], "rate_factor": 0.3}, {"params": weights[1:]}]
    schedule = Schedule(torch.optim.Adam(groups, lr=0.5), TrainingHypers.model_validate(values))
    plain = make(**values)
    logged = []
    for epoch in range(8):
        if epoch == 5:
            schedule.restart(0.02, 3)
            plain.restart(0.02, 3)
        for _ in range(2):
            for each in (schedule, plain):
                each.before_step()
            slow, usual = (group["lr"] for group in schedule.optimiser.param_groups)
            assert usual == schedule.learning_rate == plain.learning_rate
            assert slow == pytest.approx(0.3 * usual, rel=1e-14)
            logged.append(usual)
        for each in (schedule, plain):
            each.step(1.0)
    assert len(set(logged)) > 3
