"""The uncertainty of energies, from the structures a model was trained on and those it was validated with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from mace_app.data import GraphSet
from mace_app.evaluation.comparison import STRUCTURES_AT_ONCE, batches, summed
from mace_app.evaluation.rigidity import FEWEST, Floats, fit_uncertainty
from mace_app.model import EnergyFeatures, EnergyUncertainty, MaceModel
from mace_app.training.passes import frozen_weights, load_batch


def fit_uncertainties(
    model: MaceModel,
    targets: Iterable[str],
    training: GraphSet,
    validation: GraphSet,
    structures_at_once: int = STRUCTURES_AT_ONCE,
    on_batch: Callable[[int], None] = lambda structures: None,
) -> dict[str, EnergyUncertainty | str]:
    """Of each of ``targets``, scalar energies of structures; or a sentence that says why there is none.

    One pass over both sets on the model's device, without any gradient. ``on_batch`` is told how many structures each
    batch held. Only structures with the energy count.
    """
    fits = {name: _Fit(EnergyFeatures(model, name)) for name in targets}
    if not fits:
        return {}
    with frozen_weights(model):
        for indices in batches(training, model.device, structures_at_once):
            batch = load_batch(training, indices, model)
            _, features = model.with_features(batch, set())
            for name, fit in fits.items():
                if name in training.labels:
                    known = training.labels_present(name)[indices]
                    fit.learn(summed(batch, fit.features(features)).cpu().numpy()[known])
            on_batch(len(indices))
        for indices in batches(validation, model.device, structures_at_once):
            batch = load_batch(validation, indices, model)
            predictions, features = model.with_features(batch, set(fits))
            physical = model.physical(batch, predictions)
            for name, fit in fits.items():
                if name in batch.labels:
                    errors = (physical[name] - batch.labels[name])[:, 0].cpu().numpy()
                    fit.judge(summed(batch, fit.features(features)).cpu().numpy(), errors)
            on_batch(len(indices))
    return {name: fit.result() for name, fit in fits.items()}


@dataclass
class _Fit:
    features: EnergyFeatures
    gram: Floats | None = None
    trained_on: int = 0
    held_out: list[Floats] = field(default_factory=list)
    errors: list[Floats] = field(default_factory=list)

    def learn(self, rows: Floats) -> None:
        product = rows.T @ rows
        self.gram = product if self.gram is None else self.gram + product
        self.trained_on += len(rows)

    def judge(self, rows: Floats, errors: Floats) -> None:
        known = np.isfinite(errors)
        self.held_out.append(rows[known])
        self.errors.append(errors[known])

    def result(self) -> EnergyUncertainty | str:
        count = sum(len(errors) for errors in self.errors)
        if self.gram is None or self.trained_on == 0:
            return "no training structure has this energy."
        if count < FEWEST:
            return f"{count} validation structures have this energy, and it takes at least {FEWEST} to calibrate."
        errors, held_out = np.concatenate(self.errors), np.concatenate(self.held_out)
        fitted = fit_uncertainty(self.gram, self.trained_on, held_out, errors)
        return "errors or last-layer features of the validation structures are zero." if fitted is None else fitted
