"""Telling a run folder how far the work is, often asked and seldom written."""

import time
from collections.abc import Callable, Mapping
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


class TimeLeft:
    """Adds ``eta_seconds`` to the progress of a piece of work that counts what it has done and knows no better."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._piece: tuple[Any, ...] = ()
        self._begun = self._done = 0.0

    def added(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """By what was done since the piece of work (phase and message) began; None at its beginning."""
        done, total = fields.get("done"), fields.get("total")
        if "eta_seconds" in fields or done is None or not total:
            return dict(fields)
        piece = (fields.get("phase"), fields.get("message"), total)
        now = self._now()
        if piece != self._piece or done < self._done:
            self._piece, self._begun, self._done = piece, now, float(done)
        worked = done - self._done
        left = (total - done) * (now - self._begun) / worked if worked > 0 else None
        return {**fields, "eta_seconds": left}
