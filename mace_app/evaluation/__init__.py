"""From a model and graphs to predictions, errors and tables."""

from mace_app.evaluation.comparison import Compared, Part, compare
from mace_app.evaluation.evaluate import Evaluation, evaluate
from mace_app.evaluation.structures import write_predictions

__all__ = ["Compared", "Evaluation", "Part", "compare", "evaluate", "write_predictions"]
