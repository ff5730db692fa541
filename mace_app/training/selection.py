"""The number by which the best epoch is chosen."""

import math
from collections.abc import Mapping

from mace_app.options import LossTerm
from mace_app.training.losses import LossSummary
from mace_app.training.metrics import Errors

# One error that is exactly zero would make a product zero for ever, and no later epoch could be better.
SMALLEST_FACTOR = 1e-30


def monitored_value(
    metric: str, terms: Mapping[str, LossTerm], loss: LossSummary, errors: Mapping[str, Errors]
) -> float | None:
    """Lower is better; None when the validation set has nothing to judge by.

    ``weighted_mae``: Σ weight · MAE/scale over the labels; ``loss``: the validation loss; ``mae_prod`` and
    ``rmse_prod``: the product of the errors of all labels in physical units, as in metatrain. Irreps that are reported
    separately don't count again. The first two need a label with a weight: without one they would be 0 for ever, and
    no epoch better than the first.
    """
    if not errors:
        return None
    if metric in ("loss", "weighted_mae") and not loss.terms:
        return None
    if metric == "loss":
        return loss.total
    if metric == "weighted_mae":
        return math.fsum(terms[label].weight * value for label, value in loss.mean_deviations.items())
    if metric in ("mae_prod", "rmse_prod"):
        kind = metric.removesuffix("_prod")
        return math.prod(max(getattr(errors[label], kind), SMALLEST_FACTOR) for label in terms if label in errors)
    raise ValueError(f"unknown best_model_metric {metric!r}")


def is_better(value: float, best: float | None) -> bool:
    """A value that is not finite is never better; any finite one is better than none."""
    return math.isfinite(value) and (best is None or value < best)
