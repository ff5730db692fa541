"""From a model and prepared data to trained weights: loss, errors, loop, checkpoints."""

from mace_app.training.checkpoint import (
    Checkpoint,
    best_weights,
    build_model,
    checkpoint_file,
    last_weights,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from mace_app.training.errors import CheckpointError, NonFiniteLoss, TrainingError
from mace_app.training.losses import Loss
from mace_app.training.memory import BatchOutOfMemory, out_of_memory
from mace_app.training.metrics import ErrorAccumulator, Errors, Reported, reported_labels
from mace_app.training.passes import PassResult, load_batch, run_pass
from mace_app.training.processes import Group, Processes, ProcessLost
from mace_app.training.recorder import Recorder
from mace_app.training.trainer import Trainer, TrainingResult
from mace_app.training.uncertainties import numbers_of, put_uncertainties, uncertainties_of

__all__ = [
    "BatchOutOfMemory",
    "Checkpoint",
    "CheckpointError",
    "ErrorAccumulator",
    "Errors",
    "Group",
    "Loss",
    "NonFiniteLoss",
    "PassResult",
    "ProcessLost",
    "Processes",
    "Recorder",
    "Reported",
    "Trainer",
    "TrainingError",
    "TrainingResult",
    "best_weights",
    "build_model",
    "checkpoint_file",
    "last_weights",
    "load_batch",
    "load_checkpoint",
    "load_model",
    "numbers_of",
    "out_of_memory",
    "put_uncertainties",
    "reported_labels",
    "run_pass",
    "save_checkpoint",
    "uncertainties_of",
]
