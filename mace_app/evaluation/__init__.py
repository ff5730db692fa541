"""From a model and graphs to predictions, errors and tables."""

from mace_app.evaluation.evaluate import Evaluation, evaluate
from mace_app.evaluation.structures import write_predictions

__all__ = ["Evaluation", "evaluate", "write_predictions"]
