"""What a training tells the outside world, and how it is told to stop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Recorder(Protocol):
    """A run folder, a test, or anything else that wants to know. Every method must be quick."""

    def log(self, text: str) -> None:
        """One line for people."""

    def epoch(self, record: dict[str, Any]) -> None:
        """One line of ``metrics.jsonl``; values may be None or not finite."""

    def parity(self, arrays: Mapping[str, np.ndarray], epoch: int) -> None:
        """The newest validation labels and predictions."""

    def progress(self, **fields: Any) -> None:
        """Entries of ``progress.json``; called every step, so the recorder decides how often to write."""

    def checkpoint_path(self, kind: str) -> Path:
        """``last``, ``best`` or ``epoch_<number>``."""

    def stop_requested(self) -> bool:
        """Asked every step."""


class Silent:
    """Tells nobody anything, and never wants to stop: for the processes that leave that to the first."""

    def log(self, text: str) -> None: ...

    def epoch(self, record: dict[str, Any]) -> None: ...

    def parity(self, arrays: Mapping[str, np.ndarray], epoch: int) -> None: ...

    def progress(self, **fields: Any) -> None: ...

    def checkpoint_path(self, kind: str) -> Path:
        raise RuntimeError("only the first process writes checkpoints")

    def stop_requested(self) -> bool:
        return False
