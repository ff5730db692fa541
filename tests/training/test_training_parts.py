import json
import math

import numpy as np
import pytest
import torch

from mace_app.options import LossTerm, TrainingHypers
from mace_app.training.averaging import ScheduleFreeAverage, WeightAverage
from mace_app.training.losses import LossSummary
from mace_app.training.metrics import Errors
from mace_app.training.optimiser import (
    clip_gradients,
    load_optimiser_state,
    make_optimiser,
    optimiser_state,
)
from mace_app.training.progress import Clock
from mace_app.training.sampling import BatchLimits, EpochOrder
from mace_app.training.schedule import Schedule
from mace_app.training.selection import is_better, monitored_value


def test_every_structure_comes_once_an_epoch_and_the_order_depends_on_seed_and_epoch_alone():
    def order(seed=3):
        return EpochOrder([3] * 10, BatchLimits(4), seed)

    first = order().batches(1)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(np.concatenate(first)) == list(range(10))
    used = order()
    used.batches(2)  # what was drawn before doesn't matter
    assert all((a == b).all() for a, b in zip(used.batches(1), first, strict=True))
    assert (np.concatenate(used.batches(2)) != np.concatenate(first)).any()
    assert (np.concatenate(order(seed=4).batches(1)) != np.concatenate(first)).any()


def test_a_batch_larger_than_the_set_is_the_whole_set():
    assert [len(batch) for batch in EpochOrder([3], BatchLimits(16), seed=0).batches(1)] == [1]


def summary(**deviations):
    return LossSummary(sum(deviations.values()), dict(deviations), dict(deviations))


def errors(value):
    return Errors(value, value, value, None, 1, "eV")


TERMS = {"a": LossTerm(weight=1.0), "b": LossTerm(weight=10.0), "c": LossTerm(weight=0.0)}


def test_the_weighted_mae_is_the_weighted_sum_of_normalised_deviations():
    value = monitored_value("weighted_mae", TERMS, summary(a=0.5, b=0.25, c=7.0), {"a": errors(1.0)})
    assert value == pytest.approx(0.5 + 2.5)


def test_a_term_that_is_exactly_zero_does_not_freeze_the_choice():
    before = monitored_value("mae_prod", TERMS, summary(), {"a": errors(0.0), "b": errors(2.0)})
    after = monitored_value("mae_prod", TERMS, summary(), {"a": errors(0.0), "b": errors(1.0)})
    assert is_better(after, before)


def test_an_epoch_whose_error_is_not_finite_is_never_the_best():
    nan = monitored_value("rmse_prod", TERMS, summary(), {"a": errors(math.nan), "b": errors(2.0)})
    assert not is_better(nan, None)
    assert not is_better(math.inf, None)
    assert is_better(3.0, None)
    assert not is_better(3.0, 3.0)


def test_without_anything_to_judge_by_there_is_no_value():
    assert monitored_value("mae_prod", TERMS, summary(), {}) is None


def test_the_average_follows_quickly_at_first_and_comes_and_goes_without_a_trace():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, 0.9)
    expected = 0.0
    for n in range(1, 200):
        with torch.no_grad():
            model.weight.fill_(float(n))
        average.update()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert average.averages["weight"].item() == pytest.approx(expected, rel=1e-5)
    own = model.weight.detach().clone()
    with average.applied():
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(model.weight, own)


def trained(optimiser, weight, steps):
    for step in range(steps):
        weight.grad = torch.full_like(weight, 0.1 * (step + 1))
        optimiser.step()


def hypers(**values):
    return TrainingHypers.model_validate(values)


@pytest.mark.parametrize("name", ["adam", "adamw", "schedulefree"])
def test_an_optimiser_goes_on_exactly_from_its_state(name):
    def new():
        weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        return weight, make_optimiser([{"params": [weight], "weight_decay": 0.1}], hypers(optimizer=name))

    weight, optimiser = new()
    trained(optimiser, weight, 3)
    groups, tensors = optimiser_state(optimiser)
    tensors = {key: value.clone() for key, value in tensors.items()}
    other, resumed = new()
    with torch.no_grad():
        other.copy_(weight)
    load_optimiser_state(resumed, groups, tensors)
    trained(optimiser, weight, 2)
    trained(resumed, other, 2)
    assert torch.equal(weight, other)


def test_groups_without_a_decay_get_none_even_with_adamw():
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser = make_optimiser([{"params": [weight]}], hypers(optimizer="adamw"))
    weight.grad = torch.zeros(1)
    optimiser.step()
    assert weight.item() == 1.0


def test_the_plateau_waits_for_its_patience_and_remembers_it_over_a_resume():
    def new():
        optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        return Schedule(optimiser, hypers(learning_rate=0.1, lr_scheduler_patience=2, lr_factor=0.5))

    schedule = new()
    assert schedule.state()["plateau"]["best"] is None
    for loss in (1.0, 2.0, 2.0):
        schedule.step(loss)
    resumed = new()
    resumed.load_state(json.loads(json.dumps(schedule.state())))
    assert resumed.learning_rate == 0.1
    resumed.step(2.0)
    assert resumed.learning_rate == pytest.approx(0.05)


def test_the_exponential_schedule_multiplies_every_epoch():
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = Schedule(optimiser, hypers(learning_rate=0.1, lr_scheduler="ExponentialLR", lr_scheduler_gamma=0.9))
    for _ in range(3):
        schedule.step(1.0)
    assert schedule.learning_rate == pytest.approx(0.1 * 0.9**3)


def test_gradients_are_shortened_together_or_not_at_all():
    weights = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    for weight, value in zip(weights, (3.0, 4.0), strict=True):
        weight.grad = torch.tensor([value])
    assert clip_gradients(weights, None).item() == pytest.approx(5)
    assert weights[1].grad.item() == 4.0
    clip_gradients(weights, 1.0)
    assert [weight.grad.item() for weight in weights] == pytest.approx([0.6, 0.8], rel=1e-4)


def test_the_time_left_counts_training_and_validation_of_this_session_only():
    moment = [100.0]
    told = []
    clock = Clock(3, 10, 4, lambda **fields: told.append(fields), torch.device("cpu"), lambda: moment[0])
    clock.report(2, 0, 5, None)
    assert told[-1]["eta_seconds"] is None
    clock.restart()
    moment[0] += 8.0
    clock.count("training", 8)
    moment[0] += 2.0
    clock.count("validation", 4)
    clock.report(2, 4, 5, 1)
    # 2 structures of this epoch and 10 of the next at 1 s, twice 4 to validate at 0.5 s
    assert told[-1]["eta_seconds"] == pytest.approx(12 + 4)
    assert told[-1]["structures_per_second"] == pytest.approx(1.0)
    assert 1 < told[-1]["done"] < 2


def test_a_schedule_free_average_begins_anew_where_it_stands():
    """Afterwards the first step counts fully; otherwise it would be one vote among all steps so far."""
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    model = torch.nn.Module()
    model.register_parameter("weight", weight)
    optimiser = make_optimiser([{"params": [weight]}], hypers(optimizer="schedulefree"))
    average = ScheduleFreeAverage(model, optimiser)
    trained(optimiser, weight, 50)
    before = average.averages["weight"].clone()
    average.restart()
    assert torch.equal(weight, before) and torch.equal(average.averages["weight"], before)
    trained(optimiser, weight, 1)
    moved = (average.averages["weight"] - before).abs()
    assert torch.allclose(average.averages["weight"], optimiser.state[weight]["z"], rtol=1e-12)
    assert (moved > 1e-5).all()
