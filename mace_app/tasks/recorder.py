"""Between a task and its run folder: log, progress, metrics, and the wish to stop."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np

from mace_app.jobs import ProgressWriter, RunFolder
from mace_app.jobs.disk_space import WORKER_NEEDS_MB, checkpoint_mb, free_mb
from mace_app.jobs.progress_writer import TimeLeft
from mace_app.jobs.run_state import StopMode
from mace_app.tasks.loggers import EventFiles

LOOK_SECONDS = 0.25
DISK_SECONDS = 5.0


def _words(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__


class Listener(Protocol):
    """Someone who watches, such as a terminal."""

    def log(self, text: str) -> None: ...

    def progress(self, fields: Mapping[str, Any]) -> None: ...


class RunRecorder:
    """Writes what a training tells into a run folder and passes it on to ``listener``."""

    def __init__(self, run: RunFolder, listener: Listener | None = None) -> None:
        self.run = run
        self.listener = listener
        self._write_progress = ProgressWriter(run)
        self._time_left = TimeLeft()
        self._stop: StopMode | None = None
        self._looked = -LOOK_SECONDS
        self._disk_looked = -DISK_SECONDS
        self.disk_is_low = False
        self._events: EventFiles | None = None

    def log(self, text: str) -> None:
        self.run.append_log(text)
        if self.listener is not None:
            self.listener.log(text)

    def epoch(self, record: dict[str, Any]) -> None:
        self.run.append_metrics(record)
        if self._events is not None:
            try:
                self._events.epoch(record)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not worth a training
                self._events = None
                self.log(f"Warning: The TensorBoard files end here: {_words(error)}. The training goes on.")

    def open_event_files(self, up_to: int | None = None) -> None:
        """From now on every epoch is also written for TensorBoard, with those that were before, see ``EventFiles``."""
        try:
            self._events = EventFiles(self.run, up_to)
        except Exception as error:  # noqa: BLE001
            self.log(f"Warning: No TensorBoard files can be written: {_words(error)}. The training goes on.")

    def close_event_files(self) -> None:
        if self._events is not None:
            with suppress(OSError):
                self._events.close()
            self._events = None

    def parity(self, arrays: Mapping[str, np.ndarray], epoch: int) -> None:
        self.run.write_parity(arrays, epoch)

    def progress(self, **fields: Any) -> None:
        fields = self._time_left.added(fields)
        self._write_progress(**fields)
        if self.listener is not None:
            self.listener.progress(fields)

    def flush(self) -> None:
        self._write_progress.flush()

    def checkpoint_path(self, kind: str) -> Path:
        return self.run.checkpoint_path(kind)

    def stop_requested(self) -> bool:
        """By somebody, or because the disk is nearly full: while it is not, the training can still be saved."""
        self._look_at_the_disk()
        return self.disk_is_low or self.stop_mode() is not None

    def _look_at_the_disk(self) -> None:
        now = time.monotonic()
        if self.disk_is_low or now - self._disk_looked < DISK_SECONDS:
            return
        self._disk_looked = now
        free = free_mb(self.run.path)
        self.disk_is_low = free is not None and free < WORKER_NEEDS_MB + 2 * checkpoint_mb(self.run.path)

    def stop_mode(self) -> StopMode | None:
        """``now`` wins over ``best``. The folder is looked at a few times a second, however often this is asked."""
        now = time.monotonic()
        if self._stop != "now" and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._stop = self.run.stop_requested() or self._stop
        return self._stop

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Inside the block SIGTERM and the first Ctrl-C ask to stop and keep the best; a second Ctrl-C interrupts."""

        def stop(number: int, _frame: FrameType | None) -> None:
            self._stop = self._stop or "best"
            if number == signal.SIGINT:
                signal.signal(signal.SIGINT, signal.default_int_handler)

        if threading.current_thread() is not threading.main_thread():
            yield  # signals only ever reach the main thread
            return
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
