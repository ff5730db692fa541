"""Whether a worker gives signs of life: its files change. Measured by this process's own clock, which nobody sets.

A worker writes ``progress.json`` about once a second while it trains, and its log now and then. It can be silent for a
while where nothing is to be told: in its imports, in one step with very large structures, in the export's check. Silent
for longer than that, it probably hangs, for instance in a GPU's driver. It is marked, not killed: only a person knows
whether it is worth waiting.
"""

import time
from collections.abc import Callable
from pathlib import Path

TRAINING_SECONDS = 15 * 60.0
ELSE_SECONDS = 60 * 60.0  # preparing large files, exporting, evaluating
SIGNS = ("progress.json", "metrics.jsonl", "log.txt", "output.txt", "checkpoints/last.safetensors")


class Pulse:
    """Of one worker at work in ``folder``."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.now = now
        self._signs = self._read()
        self._changed = now()

    def _read(self) -> tuple[tuple[int, int] | None, ...]:
        found: list[tuple[int, int] | None] = []
        for name in SIGNS:
            try:
                status = (self.folder / name).stat()
                found.append((status.st_mtime_ns, status.st_size))
            except OSError:
                found.append(None)
        return tuple(found)

    def silent_seconds(self) -> float:
        """How long no sign has changed."""
        signs = self._read()
        if signs != self._signs:
            self._signs, self._changed = signs, self.now()
        return self.now() - self._changed


def patience_seconds(phase: str | None) -> float:
    """How long a worker may be silent in a phase of ``progress.json``."""
    return TRAINING_SECONDS if phase == "training" else ELSE_SECONDS
