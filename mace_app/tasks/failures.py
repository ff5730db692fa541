"""From an error to how a run ends: its state, one sentence, and what may help."""

from dataclasses import dataclass
from typing import Any, Literal

from mace_app.data import DataError
from mace_app.export import ExportRefused
from mace_app.jobs import Cause, Failure, Suggestion
from mace_app.jobs.disk_space import disk_is_full
from mace_app.options import OptionsError, RunOptions, TrainingHypers
from mace_app.tasks.errors import EXPECTED, sentence
from mace_app.training import BatchOutOfMemory, ProcessLost, out_of_memory

Outcome = Literal["finished", "stopped", "failed", "interrupted"]
TRAINING = ("architecture", "training")
# In what torch says when a GPU, its driver or its context is gone; another process may well succeed.
_DEVICE_LOST = (
    "CUDA error",
    "CUDA driver error",
    "cuDNN error",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "no CUDA-capable device",
    "GPU is lost",
    "unspecified launch failure",
)


@dataclass(frozen=True)
class End:
    outcome: Outcome
    reason: str | None = None
    failure: Failure | None = None


def device_lost(error: BaseException) -> bool:
    """Whether the GPU, rather than the program, gave up."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _DEVICE_LOST)


def end_of(error: BaseException, options: RunOptions | None, hope: str) -> End:
    """``hope`` says what a resume would do."""
    if isinstance(error, BatchOutOfMemory) or out_of_memory(error):
        suggestion = None if options is None else smaller_batches(options.architecture.training, error)
        advice = "Choose a smaller model: lower `hidden_irreps`, `correlation` or `r_max`."
        if suggestion is not None:
            advice = f"{suggestion.text}."
        told = f"{error} {advice}" if isinstance(error, BatchOutOfMemory) else sentence(error)
        return End("failed", told, Failure("out_of_memory", suggestion))
    if disk_is_full(error):
        return End("interrupted", disk_full_sentence(hope), Failure("disk_full"))
    if isinstance(error, ProcessLost):
        return End("interrupted", f"{error} {hope}", Failure("killed"))
    if device_lost(error):
        first = str(error).splitlines()[0]
        told = (
            f"The GPU stopped answering ({first}). {hope} If it happens again, restart the machine, or look for a "
            "defect of the card or its driver."
        )
        return End("interrupted", told, Failure("device_lost"))
    return End("failed", sentence(error), Failure(_cause(error)))


def disk_full_sentence(hope: str) -> str:
    return f"The disk of the run is full; what was complete is as it was. Free space. {hope}"


def _cause(error: BaseException) -> Cause:
    if isinstance(error, DataError):
        return "bad_data"
    if isinstance(error, OptionsError):
        return "bad_options"
    if isinstance(error, ExportRefused):
        return "export_refused"
    return "other" if isinstance(error, (*EXPECTED, OSError)) else "defect"


def smaller_batches(training: TrainingHypers, error: BaseException | None = None) -> Suggestion | None:
    """As many atoms or structures at once as are known to fit, otherwise half of them; None where a batch is one
    structure already."""
    lowest, highest = training.batch_atom_bounds
    if isinstance(error, BatchOutOfMemory):
        if error.structures == 1 or error.fits == 0:
            return None
        if highest is not None and error.atoms > 1:
            half = max(1, min(highest, error.atoms) // 2) if error.fits is None else error.fits
            bounds = [None if lowest is None else min(lowest, half), half]
            text = f"Put at most {half} atoms into a batch (`batch_atom_bounds`, now {highest})"
            return Suggestion((*TRAINING, "batch_atom_bounds"), bounds, list(training.batch_atom_bounds), text)
    size = training.batch_size
    most = error.structures if isinstance(error, BatchOutOfMemory) else size
    half = max(1, min(size, most) // 2)
    if isinstance(error, BatchOutOfMemory) and error.fits is not None:
        half = error.fits
    if half == size:
        return None
    return Suggestion((*TRAINING, "batch_size"), half, size, f"Set `batch_size` to {half} (now {size})")


def lower_rate(training: TrainingHypers) -> Suggestion:
    """A tenth of the learning rate."""
    rate: Any = float(f"{training.learning_rate / 10:.3g}")
    before = training.learning_rate
    return Suggestion((*TRAINING, "learning_rate"), rate, before, f"Set `learning_rate` to {rate:g} (now {before:g})")
