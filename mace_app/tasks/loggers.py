"""Losses and errors in the files of TensorBoard and of Weights & Biases, as far as the options ask for them.

Neither may cost a training anything: what goes wrong is a warning in the log. Both are made from ``metrics.jsonl``, so
that a run which was interrupted and resumed has every epoch once.
"""

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mace_app.jobs import RunFolder
from mace_app.options import RunOptions
from mace_app.options.packages import is_here
from mace_app.tasks.errors import TaskError

FLUSH_SECONDS = 1.0
WANDB_SECONDS = 600.0


def check_loggers(options: RunOptions) -> None:
    """TaskError if the options ask for a program that is not installed."""
    if options.wandb is not None and not is_here("wandb"):
        raise TaskError(
            "The options ask for files of Weights & Biases, but the package wandb is not installed here. Install it "
            "(`pip install wandb`), or leave `wandb` out."
        )


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """What of an epoch's record is a curve."""
    return {
        key: float(value)
        for key, value in record.items()
        if key not in ("epoch", "best") and isinstance(value, int | float) and math.isfinite(value)
    }


class EventFiles:
    """The folder ``tensorboard`` of a run: one event file, begun anew by every process that trains it."""

    def __init__(self, run: RunFolder, up_to: int | None = None) -> None:
        """With the epochs that were written before; of a run that goes on from a checkpoint those ``up_to`` its."""
        from tensorboardX.event_file_writer import EventsWriter

        folder = run.path / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._writer = EventsWriter(str(folder / "events"))
        self._flushed = 0.0
        for record in run.metrics().epochs:
            if up_to is None or record["epoch"] <= up_to:
                self._write(record)
        self._writer.flush()

    def epoch(self, record: Mapping[str, Any]) -> None:
        """At most so often to the disk that fast epochs are not held up."""
        self._write(record)
        now = time.monotonic()
        if now - self._flushed > FLUSH_SECONDS:
            self._flushed = now
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, record: Mapping[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=key, simple_value=value) for key, value in numbers(record).items()]
        self._writer.write_event(Event(wall_time=time.time(), step=int(record["epoch"]), summary=Summary(value=values)))


def write_wandb(run: RunFolder) -> Path:
    """The folder ``wandb`` of a run that has ended, anew; what is returned is what ``wandb sync`` wants.

    It is written by a process of its own, which is told to send nothing, to look at nothing of this machine and to
    keep no files elsewhere. TaskError with what it said if it fails.
    """
    folder = run.path / "wandb"
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="mace-studio-wandb-") as elsewhere:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        places = dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"), elsewhere)
        quiet = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "mace_app.tasks.wandb_files", str(run.path)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=WANDB_SECONDS,
                env={**kept, **places, **quiet},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TaskError(f"The files of Weights & Biases took more than {WANDB_SECONDS:.0f} s.") from error
    written = sorted(folder.glob("offline-run-*"))
    if done.returncode != 0 or not written:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
        raise TaskError(f"The files of Weights & Biases could not be written: {last.strip()}")
    for path in folder.glob("*"):  # what the program noted down for itself
        if path.is_symlink():
            path.unlink()
    shutil.rmtree(written[-1] / "logs", ignore_errors=True)
    return written[-1]
