"""From a model and graphs to predictions, errors and tables."""

from mace_app.evaluation.evaluate import Evaluation, evaluate
from mace_app.evaluation.structures import write_predictions
from mace_app.evaluation.tables import aligned, error_table

__all__ = ["Evaluation", "aligned", "error_table", "evaluate", "write_predictions"]
