"""From a model and graphs to predictions, errors and tables."""

from mace_app.evaluation.comparison import Compared, Part, compare
from mace_app.evaluation.evaluate import Evaluation, evaluate
from mace_app.evaluation.structures import write_predictions
from mace_app.evaluation.uncertainty import fit_uncertainties

__all__ = ["Compared", "Evaluation", "Part", "compare", "evaluate", "fit_uncertainties", "write_predictions"]
