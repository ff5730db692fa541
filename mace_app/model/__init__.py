"""From a batch of graphs to predictions: MACE's backbone, heads, baseline and scale. The only user of mace and e3nn."""

from mace_app.model.batch import Batch
from mace_app.model.composition import Baseline, BaselineReport, fit_baseline
from mace_app.model.config import LoRA, ModelConfig
from mace_app.model.errors import ModelError
from mace_app.model.fine_tuning import add_asked_corrections, freeze, trained_and_all
from mace_app.model.graph_source import GraphSource
from mace_app.model.last_layer import EnergyFeatures, InternalFeatures, last_scalars
from mace_app.model.optimiser import parameter_groups
from mace_app.model.potential import MaceModel
from mace_app.model.scaler import Scaler, ScaleReport, fit_scaler
from mace_app.model.uncertainty import EnergyUncertainty

__all__ = [
    "Baseline",
    "BaselineReport",
    "Batch",
    "EnergyFeatures",
    "EnergyUncertainty",
    "GraphSource",
    "InternalFeatures",
    "LoRA",
    "MaceModel",
    "ModelConfig",
    "ModelError",
    "ScaleReport",
    "Scaler",
    "add_asked_corrections",
    "fit_baseline",
    "fit_scaler",
    "freeze",
    "last_scalars",
    "parameter_groups",
    "trained_and_all",
]
