"""When a training writes which checkpoint."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mace_app.training.checkpoint import load_checkpoint, model_checkpoint, save_checkpoint
from mace_app.training.errors import CheckpointError
from mace_app.training.recorder import Recorder
from mace_app.training.state import TrainingState

# Checkpoints that nothing else asks for take this share of the time. Where that would mean more than so many seconds
# between two of them, which a resumed run has to repeat, they may take the larger share.
SAVE_SHARE = 0.003
SAVE_SECONDS = 20.0
LARGEST_SHARE = 0.02
# What a run can't change when it goes on: otherwise the steps done would not be the first ones of the epoch.
FIXED = {
    "training_structures": "training structures",
    "seed": "seed",
    "batch_size": "batch size",
    "batch_atom_bounds": "bounds on the atoms of a batch",
    "accumulate_batches": "number of batches per step",
}


class Keeper:
    """Writes the state of a training and its best weights through ``recorder``. ``header`` tells what the run is.

    Nothing is written while ``writes`` is False: of several processes only the first does."""

    def __init__(
        self,
        state: TrainingState,
        header: Mapping[str, Any],
        recorder: Recorder,
        now: Callable[[], float],
        speeds: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.state = state
        self.header = dict(header)
        self.recorder = recorder
        self.now = now
        self.speeds = speeds
        self.writes = True
        self.saved = -math.inf
        self._seconds = 0.0
        self._best_on_disk: int | None = None

    def save(self, force: bool = False) -> None:
        """``last`` and, if it is new, ``best``; without ``force`` only now and then."""
        start = self.now()
        if not self.writes:
            return
        wait = min(self._seconds / SAVE_SHARE, max(SAVE_SECONDS, self._seconds / LARGEST_SHARE))
        if not force and start - self.saved < wait:
            return
        header = {**self.header, "structures_per_second": dict(self.speeds())}
        save_checkpoint(self.recorder.checkpoint_path("last"), self.state.to_checkpoint(header))
        self.save_best()
        self.saved = self.now()
        self._seconds = self.saved - start

    def save_best(self) -> None:
        best = self.state.best
        if best is not None and self._best_on_disk != best.epoch:
            self.save_weights("best", best.epoch, best.weights)
            self._best_on_disk = best.epoch

    def save_weights(self, kind: str, epoch: int, weights: Mapping[str, torch.Tensor]) -> None:
        """The model alone, to export or evaluate, with ``weights`` as its parameters."""
        if not self.writes:
            return
        header = dict(self.header)
        config, precision = self.state.model.config, header.pop("precision")
        header.pop("config")
        checkpoint = model_checkpoint(
            config,
            precision,
            {**self.state.model.state_dict(), **weights},
            kind="best" if kind == "best" else "periodic",
            epoch=epoch,
            **header,
        )
        save_checkpoint(self.recorder.checkpoint_path(kind), checkpoint)

    def load(self, path: Path, prepare: Callable[[Mapping[str, Any]], None]) -> None:
        """Go on from ``path``; ``prepare`` gets its header and makes the state ready for it.

        Raises CheckpointError where the checkpoint is of another run or of other options.
        """
        checkpoint = load_checkpoint(path)
        for key, what in FIXED.items():
            found = checkpoint.header.get(key)
            if found != self.header[key]:
                raise CheckpointError(
                    f"{path} was made with another {what} ({found}, now {self.header[key]}), so the training can't go "
                    "on exactly. Put back the data and options, or start a new run."
                )
        prepare(checkpoint.header)
        self.state.restore(checkpoint)
        for key in ("threads", "processes"):
            found, now = checkpoint.header.get(key, 1), self.header[key]
            if found != now:
                self.recorder.log(
                    f"The checkpoint was made with {found} {key}, now there are {now}: the last digits may differ from "
                    "those of an uninterrupted run."
                )
        place = f"epoch {self.state.epoch}" + (f", step {self.state.step}" if self.state.step else "")
        self.recorder.log(f"Resumed after {place}.")
