"""What pages read of a run, again only when its files have changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import streamlit as st

from mace_app.jobs import ACTIVE_STATES, JobsError, Parity, Progress, RunFolder, RunInfo
from mace_app.jobs.metrics_glance import MetricsGlance, glance_at_metrics
from mace_app.jobs.metrics_history import MetricsHistory
from mace_app.ui.charts import display_unit, three_digits
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
# Which error stands for a label: the first of these that was written.
HEADLINES = ("validation/{}/mae", "validation/{}/rmse", "train/{}/mae", "train/{}/rmse")
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
    """One run as this browser session last drew it. Errors of damaged files are left to the caller."""

    run: RunFolder
    history: MetricsHistory = field(init=False)
    _kept: dict[str, tuple[object, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.history = _history(str(self.run.metrics_file))

    def refresh(self) -> MetricsHistory:
        """What is new is read; what was read is kept."""
        self.history.refresh()
        return self.history

    @property
    def unread(self) -> int:
        """Bytes of metrics that are new."""
        found = signature(self.run.metrics_file)
        return found[1] - self.history.offset if found is not None else 0

    def parity(self) -> Parity | None:
        return self.kept("parity", signature(self.run.parity_file), self.run.parity)

    def kept(self, name: str, state: object, make: Callable[[], Value]) -> Value:
        """``make()``, called again only when ``state`` differs from the last time."""
        if name not in self._kept or self._kept[name][0] != state:
            self._kept[name] = (state, make())
        return self._kept[name][1]  # type: ignore[return-value]


@st.cache_resource(show_spinner=False, max_entries=24)
def _history(path: str) -> MetricsHistory:
    """One serves all sessions of a server: a long training fills some tens of megabytes."""
    return MetricsHistory(Path(path))


def reader_of(run: RunFolder) -> RunReader:
    """The reader of a run in this session."""
    readers: dict[str, RunReader] = st.session_state.setdefault("run_readers", {})
    if run.id not in readers:
        readers[run.id] = RunReader(run)
    return readers[run.id]


def best_errors(glance: MetricsGlance, most: int = 2) -> str:
    """``1.20 meV/atom · 34.1 meV/Å`` of the best epoch; empty before there is one."""
    parts = []
    for label in glance.labels if glance.best is not None else []:
        for kind in HEADLINES:
            value = (glance.best or {}).get(kind.format(label))
            if isinstance(value, int | float):
                unit = display_unit(glance.units.get(label, ""), [value])
                parts.append(f"{three_digits(value * unit.factor)} {unit.text}".strip())
                break
    return " · ".join(parts[:most])


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
        epoch = history.last_epoch
    if epoch is None:
        return ""
    return f"{epoch} of {progress.epochs}" if progress is not None and progress.epochs else str(epoch)


@dataclass(frozen=True)
class RunGlance:
    """What the list shows of a run; ``info`` is None of a damaged one."""

    run: RunFolder
    info: RunInfo | None
    state: str
    name: str
    tags: tuple[str, ...] = ()
    archived: bool = False

    def fits(self, words: str) -> bool:
        """Whether the name or a tag holds these words."""
        return any(words.casefold() in text.casefold() for text in (self.name, *self.tags))


class RunGlances:
    """The list of runs at the cost of what changed since it was last read. One serves all sessions of a server."""

    def __init__(self) -> None:
        self._infos: dict[Path, tuple[Signature, RunGlance]] = {}
        self._rows: dict[Path, tuple[object, RunRow]] = {}

    def all(self, runs: Sequence[RunFolder]) -> list[RunGlance]:
        found = []
        for run in runs:
            state = signature(run.run_file)
            kept = self._infos.get(run.path)
            if kept is None or kept[0] != state:
                kept = self._infos[run.path] = (state, _glance(run))
            found.append(kept[1])
        for gone in self._infos.keys() - {run.path for run in runs}:
            self._infos.pop(gone, None)
            self._rows.pop(gone, None)
        return found

    def row(self, glance: RunGlance, place: str = "") -> RunRow:
        run = glance.run
        state = (glance, place, signature(run.metrics_file), signature(run.path / "progress.json"))
        kept = self._rows.get(run.path)
        # The time of a run at work goes on though nothing of it changes.
        if kept is None or kept[0] != state or glance.state in ACTIVE_STATES:
            kept = self._rows[run.path] = (state, row_of(glance, place))
        return kept[1]


@st.cache_resource(show_spinner=False)
def run_glances() -> RunGlances:
    return RunGlances()


def _glance(run: RunFolder) -> RunGlance:
    try:
        info = run.info()
    except JobsError:
        return RunGlance(run, None, "damaged", run.id)
    return RunGlance(run, info, info.state, info.name, tuple(map(str, info.tags)), bool(info.archived))


def row_of(glance: RunGlance, place: str = "") -> RunRow:
    """A run's line; a damaged run gets one that says so. ``place`` says where it stands in the queue."""
    run, info = glance.run, glance.info
    if info is None:
        return RunRow(run.id, run.id, "damaged", "red", "", phase="Its record can't be read")
    progress = progress_of(run)
    best_epoch = info.best_epoch if progress is None or progress.best_epoch is None else progress.best_epoch
    metrics = glance_at_metrics(run.metrics_file, best_epoch)
    phase, fraction = "", None
    if info.state == "queued":
        phase = place or "Waiting"
    elif info.not_responding is not None:
        phase = f"No sign of life since {clock(info.not_responding)}"
    elif info.state in ACTIVE_STATES and progress is not None:
        phase, fraction = PHASES[progress.phase], progress.fraction
    return RunRow(
        id=run.id,
        name=info.name,
        state=info.state,
        colour=STATE_COLOURS[info.state],
        created=" · ".join([clock(info.created), *(f"#{tag}" for tag in glance.tags)]),
        phase=phase,
        fraction=fraction,
        epoch=_epoch_of(progress, metrics),
        best=best_errors(metrics),
        elapsed=elapsed(info),
        left=left(info, progress),
    )


def _epoch_of(progress: Progress | None, metrics: MetricsGlance) -> str:
    epoch = progress.epoch if progress is not None and progress.epoch is not None else None
    if epoch is None and metrics.last is not None:
        epoch = metrics.last["epoch"]
    if epoch is None:
        return ""
    return f"{epoch} of {progress.epochs}" if progress is not None and progress.epochs else str(epoch)


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
