"""Telling a run folder how far the work is, often asked and seldom written."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mace_app.jobs.run_folder import RunFolder


class ProgressWriter:
    """Remembers the fields given so far and writes them about once a second, at once when the phase changes."""

    def __init__(self, folder: "RunFolder", interval: float = 1.0) -> None:
        self.folder = folder
        self.interval = interval
        self._fields: dict[str, Any] = {}
        self._written = -interval

    def __call__(self, **fields: Any) -> None:
        new_phase = fields.get("phase", self._fields.get("phase")) != self._fields.get("phase")
        if new_phase:
            self._fields.update(done=None, total=None, eta_seconds=None, step=None, steps=None)
        self._fields.update(fields)
        if new_phase or time.monotonic() - self._written >= self.interval:
            self.flush()

    def flush(self) -> None:
        self.folder.write_progress(**self._fields)
        self._written = time.monotonic()
