"""From a batch of graphs to predictions: MACE's backbone, heads, baseline and scale. The only user of mace and e3nn."""

from mace_app.model.batch import Batch
from mace_app.model.composition import Baseline, BaselineReport, fit_baseline
from mace_app.model.config import ModelConfig
from mace_app.model.errors import ModelError
from mace_app.model.graph_source import GraphSource
from mace_app.model.optimiser import parameter_groups
from mace_app.model.potential import MaceModel
from mace_app.model.scaler import Scaler, ScaleReport, fit_scaler

__all__ = [
    "Baseline",
    "BaselineReport",
    "Batch",
    "GraphSource",
    "MaceModel",
    "ModelConfig",
    "ModelError",
    "ScaleReport",
    "Scaler",
    "fit_baseline",
    "fit_scaler",
    "parameter_groups",
]
