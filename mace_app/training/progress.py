"""How far a training is and when it will end."""

import math
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

# What validating a structure costs compared with training on it, until it has been measured: there is no second
# backward pass and no step.
VALIDATION_SHARE = 0.4
# For so long a resumed training trusts what it measured before: the first steps of a process are slow.
TRUST_SECONDS = 10.0
# Between two reports within an epoch: nobody reads them faster.
REPORT_SECONDS = 0.1


class Clock:
    """Seconds per structure of this session, apart for training and validation, and what is left to do."""

    def __init__(
        self,
        epochs: int,
        training: int,
        validation: int,
        tell: Callable[..., None],
        device: torch.device,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epochs = epochs
        self.sizes = {"training": training, "validation": validation}
        self.tell = tell
        self.device = device
        self.now = now
        self._seconds = {"training": 0.0, "validation": 0.0}
        self._seen = {"training": 0, "validation": 0}
        self._before: dict[str, float] = {}
        self._last = now()
        self._told = -math.inf

    def speeds(self) -> dict[str, Any]:
        """For a checkpoint: structures per second in training and validation, as far as known, and on what."""
        known = {
            kind: self._seen[kind] / seconds if seconds else self._before.get(kind)
            for kind, seconds in self._seconds.items()
        }
        return {"device": self.device.type, **{kind: speed for kind, speed in known.items() if speed}}

    def remember(self, speeds: Mapping[str, Any] | None) -> None:
        """What ``speeds`` gave in the process that made a checkpoint; of another device it says nothing."""
        if speeds is not None and speeds.get("device") == self.device.type:
            self._before = {kind: float(speeds[kind]) for kind in self._seen if kind in speeds}

    def restart(self) -> None:
        """What happened since the last call is no part of the measurement."""
        self._last = self.now()

    def count(self, kind: str, structures: int) -> None:
        """``structures`` were trained on (``training``) or validated since the last call."""
        moment = self.now()
        self._seconds[kind] += moment - self._last
        self._seen[kind] += structures
        self._last = moment

    @property
    def structures_per_second(self) -> float | None:
        if not self._seen["training"] or not self._seconds["training"]:
            return None
        return self._seen["training"] / self._seconds["training"]

    def eta_seconds(self, training_left: int, validation_left: int) -> float | None:
        """None until something was trained, in this process or before."""
        speed = self.structures_per_second
        if speed is None or self._seconds["training"] < TRUST_SECONDS:
            speed = self._before.get("training", speed)
        if speed is None:
            return None
        validated = self._seen["validation"]
        each = self._seconds["validation"] / validated if validated else VALIDATION_SHARE / speed
        if self._seconds["validation"] < TRUST_SECONDS and "validation" in self._before:
            each = 1 / self._before["validation"]
        return training_left / speed + validation_left * each

    def report(self, epoch: int, step: int, steps: int, best_epoch: int | None, validated: int = 0) -> None:
        """In ``epoch`` (from 1), ``step`` of ``steps`` are done, and ``validated`` validation structures. Not told just
        after the last report, unless a part of the epoch is over."""
        over = (step == steps and validated == 0) or validated == self.sizes["validation"]
        if not over and self.now() - self._told < REPORT_SECONDS:
            return
        self._told = self.now()
        training, validation = self.sizes["training"], self.sizes["validation"]
        done_here = training * step / steps
        training_left = training * (self.epochs - epoch) + training - done_here
        validation_left = validation * (self.epochs - epoch + 1) - validated
        share = (done_here + VALIDATION_SHARE * validated) / (training + VALIDATION_SHARE * validation)
        self.tell(
            phase="training",
            message=f"Epoch {epoch} of {self.epochs}",
            done=epoch - 1 + share,
            total=self.epochs,
            eta_seconds=self.eta_seconds(int(training_left), validation_left),
            epoch=epoch,
            epochs=self.epochs,
            step=step,
            steps=steps,
            structures_per_second=self.structures_per_second,
            best_epoch=best_epoch,
            **memory(self.device),
        )


def memory(device: torch.device) -> dict[str, Any]:
    """``memory_mb`` in 10⁶ bytes: of the GPU at its highest, or of this process."""
    if device.type == "cuda":
        return {"memory_mb": torch.cuda.max_memory_allocated(device) / 1e6}
    return {"memory_mb": _this_process().memory_info().rss / 1e6}


@cache
def _this_process() -> Any:
    """Making it costs several times what asking it does, and it is asked after every step."""
    import psutil

    return psutil.Process()
