"""The whole way of a label, from the file to the loss, against a few lines of numpy over what was written."""

import numpy as np
import pytest
import torch
from loss_data import SIZES, VOLUME, fitted, run_options, structures, whole, write

from mace_app.options import resolve_loss
from mace_app.training.losses import Loss, LossAccumulator, scaled_terms

LOSS = {
    "energy": {
        "type": "huber",
        "weight": 0.7,
        "delta": 0.02,
        "forces": {"type": "masked_mse", "weight": 10},
        "stress": {"type": "mae", "weight": 0.3, "reduction": "sum"},
    },
    "mtt::dipole": {"type": "mse", "weight": 2},
    "charge": {"type": "masked_huber", "weight": 3, "delta": 0.5},
}
TERMS = {  # type, weight, reduction, delta
    "energy": ("huber", 0.7, "mean", 0.02),
    "energy.forces": ("mse", 10, "mean", 1),
    "energy.stress": ("mae", 0.3, "sum", 1),
    "mtt::dipole": ("mse", 2, "mean", 1),
    "charge": ("huber", 3, "mean", 0.5),
}
WEIGHTS = [1.0, 2.5 * 4, 4.0, 0.5, 1.0]  # config_weight times that of the config_type


def reference(frames, predictions, scales):
    """Σ over labels of weight · loss over every value that is there, d = (prediction − label)/scale."""
    total = 0.0
    for label, (kind, weight, reduction, delta) in TERMS.items():
        entries = []
        for frame, prediction, scale, own in zip(frames, predictions[label], scales[label], WEIGHTS, strict=True):
            d = abs((prediction - frame[label]) / scale)
            huber = np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))
            entries.extend(own * {"mse": d**2, "mae": d, "huber": huber}[kind][~np.isnan(d)])
        total += weight * (np.mean(entries) if reduction == "mean" else np.sum(entries))
    return total


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Frames with what is missing, masked or weighted; the same with NaN instead; model, batch and options."""
    folder = tmp_path_factory.mktemp("loss")
    random = np.random.default_rng(11)
    frames = structures(random)
    frames[1]["info"] = {"config_weight": 2.5, "config_type": "dimer"}
    frames[2]["info"] = {"config_type": "dimer"}
    frames[3]["info"] = {"config_weight": 0.5, "config_type": "liquid"}
    known = [dict(frame) for frame in frames]
    for label, missing in (("energy", 0), ("energy.stress", 3), ("mtt::dipole", 2), ("energy.forces", 4)):
        frames[missing][label] = None
        known[missing][label] = np.array([np.nan])
    frames[2]["energy.forces"][1, 2] = np.nan  # in both
    for index, n in enumerate(SIZES):
        forces, charge = random.random((n, 3)) < 0.7, random.random((n, 1)) < 0.7
        if index != 4:  # a structure without the mask keeps all
            frames[index]["masks"] = {"energy_forces_mask": forces, "charge_mask": charge}
            known[index]["energy.forces"] = np.where(forces, known[index]["energy.forces"], np.nan)
            known[index]["charge"] = np.where(charge, known[index]["charge"], np.nan)
    options = run_options(
        write(folder / "data.xyz", frames),
        {"loss": LOSS, "config_weights": {"dimer": 4}},
        extra_data={"energy_forces_mask": {}, "charge_mask": {}},
    )
    prepared, model = fitted(options, folder / "data")
    return known, prepared, model, options.architecture.training


def by_structure(values):
    """Rows of all atoms → one array for each structure."""
    return np.split(values, np.cumsum(SIZES)[:-1])


def test_the_loss_of_the_pipeline_is_that_of_ten_lines_of_numpy_over_the_file(case):
    known, prepared, model, training = case
    batch = whole(prepared, model)
    loss = Loss(scaled_terms(resolve_loss(training, model.config.targets), model))
    predictions = model(batch, loss.labels, create_graph=True)
    value = loss(predictions, model.normalise_labels(batch), batch)

    physical = {
        label: rows.numpy()
        for label, rows in model.physical(batch, {label: p.detach() for label, p in predictions.items()}).items()
    }
    for label in ("energy.forces", "charge"):
        physical[label] = by_structure(physical[label])
    sigma = {name: model.scaler.scale(name).numpy() for name in model.config.targets}
    elements = by_structure(batch.elements.numpy())
    scales = {
        "energy": [n * sigma["energy"][0] for n in SIZES],
        "energy.forces": [sigma["energy"][0]] * len(SIZES),
        "energy.stress": [n * sigma["energy"][0] / VOLUME for n in SIZES],
        "mtt::dipole": [n * sigma["mtt::dipole"][0] for n in SIZES],
        "charge": [sigma["charge"][rows][:, None] for rows in elements],
    }
    assert value.total.item() == pytest.approx(reference(known, physical, scales), rel=1e-11)
    assert sigma["energy"][0] != pytest.approx(1, abs=0.01)  # otherwise a forgotten scale would not show
    value.total.backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_the_loss_of_a_pass_is_that_of_all_structures_at_once_whatever_the_batches(case):
    _, prepared, model, training = case
    from mace_app.training.passes import load_batch

    loss = Loss(scaled_terms(resolve_loss(training, model.config.targets), model))

    def summary(*cuts):
        sums = LossAccumulator(loss.terms, "cpu")
        for start, stop in zip((0, *cuts), (*cuts, len(SIZES)), strict=True):
            batch = load_batch(prepared.training, range(start, stop), model)
            sums.update(loss(model(batch, loss.labels), model.normalise_labels(batch), batch), stop - start)
        return sums.summary()

    one, several = summary(), summary(1, 4)
    assert several.terms == pytest.approx(one.terms, rel=1e-11)
    assert several.mean_deviations == pytest.approx(one.mean_deviations, rel=1e-11)


def test_validation_is_weighted_too(case):
    _, prepared, _, _ = case
    assert prepared.validation.collate(range(len(SIZES)))["weight"].tolist() == WEIGHTS
    assert prepared.training.collate(range(len(SIZES)))["weight"].tolist() == WEIGHTS
