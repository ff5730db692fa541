"""What pages read of a run, again only when its files have changed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import streamlit as st

from mace_app.jobs import ACTIVE_STATES, JobsError, MetricsHistory, Parity, Progress, RunFolder, RunInfo
from mace_app.ui.charts import best_epoch, error_unit, headline, three_digits
from mace_app.ui.run_table import RunRow
from mace_app.ui.state import STATE_COLOURS
from mace_app.ui.times import clock, duration

Value = TypeVar("Value")
PHASES = {
    "preparing": "Preparing data",
    "training": "Training",
    "exporting": "Exporting",
    "evaluating": "Evaluating",
    "done": "Done",
}
Signature = tuple[int, int, int] | None


def signature(path: Path) -> Signature:
    """Changes whenever the file is written; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass
class RunReader:
    """One run as this browser session last read it. Errors of damaged files are left to the caller."""

    run: RunFolder
    history: MetricsHistory = field(init=False)
    _kept: dict[str, tuple[object, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.history = MetricsHistory(self.run.metrics_file)

    def refresh(self) -> MetricsHistory:
        self.history.refresh()
        return self.history

    def parity(self) -> Parity | None:
        return self.kept("parity", signature(self.run.parity_file), self.run.parity)

    def kept(self, name: str, state: object, make: Callable[[], Value]) -> Value:
        """``make()``, called again only when ``state`` differs from the last time."""
        if name not in self._kept or self._kept[name][0] != state:
            self._kept[name] = (state, make())
        return self._kept[name][1]  # type: ignore[return-value]


def reader_of(run: RunFolder) -> RunReader:
    """The reader of a run in this session."""
    readers: dict[str, RunReader] = st.session_state.setdefault("run_readers", {})
    if run.id not in readers:
        readers[run.id] = RunReader(run)
    return readers[run.id]


def best_errors(history: MetricsHistory, most: int = 2) -> str:
    """``1.20 meV/atom · 34.1 meV/Å`` of the best epoch; empty before there is one."""
    epoch = best_epoch(history)
    parts = []
    for label in history.labels:
        chosen = headline(history, label)
        value = value_at(history, f"{chosen[0]}/{label}/{chosen[1]}", epoch) if chosen else None
        if chosen and value is not None:
            unit = error_unit(history, label, chosen[1])
            parts.append(f"{three_digits(value * unit.factor)} {unit.text}".strip())
    return " · ".join(parts[:most])


def value_at(history: MetricsHistory, key: str, epoch: int | None) -> float | None:
    epochs, values = history.column(key)
    return dict(zip(epochs, values, strict=True)).get(epoch) if epoch is not None else None


def elapsed(info: RunInfo) -> str:
    """From start to end, or to now while the run is under way."""
    if info.started is None:
        return ""
    end = _moment(info.ended) or datetime.now(UTC)
    start = _moment(info.started)
    return duration((end - start).total_seconds()) if start is not None else ""


def left(info: RunInfo, progress: Progress | None) -> str:
    if info.state not in ("running", "stopping") or progress is None or progress.eta_seconds is None:
        return ""
    return duration(progress.eta_seconds)


def epochs_text(progress: Progress | None, history: MetricsHistory) -> str:
    """``12 of 100``."""
    epoch = progress.epoch if progress is not None and progress.epoch is not None else None
    if epoch is None:
        epoch = history.epochs[-1]["epoch"] if history.epochs else None
    if epoch is None:
        return ""
    return f"{epoch} of {progress.epochs}" if progress is not None and progress.epochs else str(epoch)


def row_of(run: RunFolder, place: int | None = None) -> RunRow:
    """A run's line; a damaged run gets one that says so. ``place`` is its place in the queue."""
    try:
        info = run.info()
    except JobsError:
        return RunRow(run.id, run.id, "damaged", "red", "", phase="Its record can't be read")
    reader = reader_of(run)
    history = reader.refresh()
    progress = progress_of(run)
    active = info.state in ACTIVE_STATES
    phase, fraction = "", None
    if info.state == "queued":
        phase = f"Waiting, number {place}" if place else "Waiting"
    elif active and progress is not None:
        phase, fraction = PHASES[progress.phase], progress.fraction
    return RunRow(
        id=run.id,
        name=info.name,
        state=info.state,
        colour=STATE_COLOURS[info.state],
        created=clock(info.created),
        phase=phase,
        fraction=fraction,
        epoch=epochs_text(progress, history),
        best=best_errors(history),
        elapsed=elapsed(info),
        left=left(info, progress),
    )


def progress_of(run: RunFolder) -> Progress | None:
    """None where there is none or it is damaged: it is written anew every second."""
    try:
        return run.progress()
    except JobsError:
        return None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
