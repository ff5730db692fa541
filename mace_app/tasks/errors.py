"""What may go wrong in a task, as sentences."""

import torch

from mace_app.data import DataError
from mace_app.export import ExportRefused
from mace_app.jobs import JobsError
from mace_app.model import ModelError
from mace_app.options import OptionsError
from mace_app.training import TrainingError, out_of_memory


class TaskError(Exception):
    """What is wrong, where, and what to do."""


class Stopped(Exception):
    """Somebody asked for the end before there was anything to keep."""


# Their texts are written for people; anything else is a defect of ours and needs its traceback.
EXPECTED = (DataError, ExportRefused, JobsError, ModelError, OptionsError, TaskError, TrainingError)


def sentence(error: BaseException, log: str = "log.txt") -> str:
    """Why a run failed, for ``run.json`` and the terminal."""
    if out_of_memory(error):
        where = "GPU" if isinstance(error, torch.OutOfMemoryError) else "machine"
        return (
            f"The memory of the {where} is not enough. Lower `batch_size`, `hidden_irreps`, `correlation` or `r_max`, "
            "or close other programs."
        )
    if isinstance(error, ExportRefused):
        return error.message
    if isinstance(error, EXPECTED):
        return str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"The system refused an access{where}: {error.strerror or error}. Check free space and permissions."
    text = str(error).splitlines()[0] if str(error) else "no text"
    return (
        f"An unexpected {type(error).__name__} ended the work: {text}. "
        f"This is a defect of MACE Studio; the details are in {log}."
    )
