import numpy as np
import pytest
import torch

from mace_app.model import Batch
from mace_app.options import LossTerm
from mace_app.training.losses import Loss, LossAccumulator

RANDOM = np.random.default_rng(5)


def structures(*sizes, weights=None, cell=10.0):
    """A batch of hydrogen atoms without edges."""
    n = sum(sizes)
    arrays = {
        "numbers": np.ones(n, dtype=int),
        "positions": np.zeros((n, 3)),
        "cells": np.tile(cell * np.eye(3), (len(sizes), 1, 1)),
        "senders": np.zeros(0, dtype=int),
        "receivers": np.zeros(0, dtype=int),
        "shifts": np.zeros((0, 3)),
        "edge_structure": np.zeros(0, dtype=int),
        "structure": np.repeat(np.arange(len(sizes)), sizes),
        "ptr": np.concatenate(([0], np.cumsum(sizes))),
    }
    return Batch.from_arrays(arrays if weights is None else arrays | {"weight": np.array(weights)}, [1])


def reference(terms, predictions, references):
    """The loss in plain numpy."""
    total = 0.0
    for label, term in terms.items():
        there = ~np.isnan(references[label])
        d = (predictions[label] - references[label])[there]
        entries = {
            "mse": d**2,
            "mae": abs(d),
            "huber": np.where(abs(d) <= term.delta, d**2 / 2, term.delta * (abs(d) - term.delta / 2)),
        }[term.type]
        value = 0.0 if d.size == 0 else entries.mean() if term.reduction == "mean" else entries.sum()
        total += term.weight * value
    return total


def arrays(*shapes, missing=0.3):
    found = []
    for shape in shapes:
        values = RANDOM.normal(size=shape)
        values[RANDOM.random(shape) < missing] = np.nan
        found.append(values)
    return found


TERMS = {
    "energy": LossTerm("huber", 0.7, "mean", 0.2),
    "energy.forces": LossTerm("mse", 10.0, "mean"),
    "energy.stress": LossTerm("mae", 0.3, "sum"),
}


FIVE = structures(3, 5, 8, 2, 5)


@pytest.fixture
def batch():
    shapes = (5, 1), (23, 3), (5, 3, 3)
    references = dict(zip(TERMS, arrays(*shapes), strict=True))
    predictions = {label: RANDOM.normal(size=shape) for label, shape in zip(TERMS, shapes, strict=True)}
    return predictions, references


def tensors(values):
    return {label: torch.from_numpy(value).requires_grad_(not np.isnan(value).any()) for label, value in values.items()}


def test_the_loss_equals_a_numpy_reference_for_mixed_types_weights_and_missing_labels(batch):
    value = Loss(TERMS)(tensors(batch[0]), tensors(batch[1]), FIVE)
    assert value.total.item() == pytest.approx(reference(TERMS, *batch), rel=1e-13)


def test_a_missing_label_gets_no_gradient_and_a_bad_prediction_there_does_no_harm(batch):
    predictions, references = tensors(batch[0]), tensors(batch[1])
    missing = torch.isnan(references["energy.stress"])
    with torch.no_grad():
        predictions["energy.stress"][missing] = torch.nan  # as a stress without a volume is
    Loss(TERMS)(predictions, references, FIVE).total.backward()
    for label, prediction in predictions.items():
        assert torch.isfinite(prediction.grad).all()
        assert (prediction.grad[torch.isnan(references[label])] == 0).all()
        assert (prediction.grad[~torch.isnan(references[label])] != 0).any()


def test_without_any_label_the_loss_is_zero_and_can_be_differentiated():
    prediction = torch.ones((4, 3), requires_grad=True)
    value = Loss({"energy.forces": LossTerm("mse")})(
        {"energy.forces": prediction}, {"energy.forces": torch.full((4, 3), torch.nan)}, structures(1, 3)
    )
    assert value.total.item() == 0
    value.total.backward()
    assert (prediction.grad == 0).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_of_a_pass_does_not_depend_on_the_batches(reduction):
    terms = {"energy": LossTerm("mse", 2.0, reduction)}
    loss = Loss(terms)
    (references,) = arrays((10, 1))
    predictions = RANDOM.normal(size=(10, 1))

    def summary(sizes):
        accumulator = LossAccumulator(terms, "cpu")
        start = 0
        for size in sizes:
            part = slice(start, start + size)
            value = loss(
                {"energy": torch.from_numpy(predictions[part])},
                {"energy": torch.from_numpy(references[part])},
                structures(*[2] * size),
            )
            accumulator.update(value, size)
            start += size
        return accumulator.summary()

    whole, parts = summary([10]), summary([1, 4, 3, 2])
    assert parts.total == pytest.approx(whole.total, rel=1e-13)
    there = ~np.isnan(references)
    squares = ((predictions - references)[there] ** 2).sum()
    assert whole.total == pytest.approx(2 * squares / (there.sum() if reduction == "mean" else 10), rel=1e-13)


def test_shares_add_up_to_one_and_absent_labels_have_none(batch):
    predictions, references = batch
    references["energy"][:] = np.nan
    accumulator = LossAccumulator(TERMS, "cpu")
    accumulator.update(Loss(TERMS)(tensors(predictions), tensors(references), FIVE), 5)
    shares = accumulator.summary().shares()
    assert set(shares) == {"energy.forces", "energy.stress"}
    assert sum(shares.values()) == pytest.approx(1)


def test_a_weight_of_zero_is_not_minimised_but_its_deviation_is_known():
    terms = {"energy": LossTerm(weight=0.0), "energy.forces": LossTerm()}
    predictions = {
        "energy": torch.ones((2, 1), requires_grad=True),
        "energy.forces": torch.ones((2, 3), requires_grad=True),
    }
    zeros = {label: torch.zeros_like(prediction) for label, prediction in predictions.items()}
    value = Loss(terms)(predictions, zeros, structures(1, 1))
    value.total.backward()
    assert predictions["energy"].grad is None
    accumulator = LossAccumulator(terms, "cpu")
    accumulator.update(value, 2)
    assert accumulator.summary().mean_deviations == {"energy": 1.0, "energy.forces": 1.0}
