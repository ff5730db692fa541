"""``metrics.jsonl``: appended by the training, read piece by piece by pages."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mace_app.files import append_json_line
from mace_app.jobs.errors import RunFolderError


@dataclass(frozen=True)
class MetricsChunk:
    """What was new. ``restarted`` says the file got shorter, so the reader began again and older records are void."""

    header: dict[str, Any] | None
    epochs: list[dict[str, Any]]
    offset: int
    restarted: bool = False


def read_metrics(path: Path, offset: int = 0) -> MetricsChunk:
    """Every complete record that begins at or after ``offset`` bytes; pass the returned ``offset`` the next time.

    A line still being written is left for the next call; a line cut short by a kill is skipped.
    """
    try:
        size = path.stat().st_size
        restarted = size < offset
        start = 0 if restarted else offset
        with open(path, "rb") as stream:
            stream.seek(start)
            block = stream.read()
    except FileNotFoundError:
        return MetricsChunk(None, [], 0, restarted=offset > 0)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}.") from error
    complete = block[: block.rfind(b"\n") + 1]
    header = None
    epochs = []
    for line in complete.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict):
            continue
        if isinstance(record.get("header"), dict):
            header = record["header"]
        elif isinstance(record.get("epoch"), int):
            epochs.append(record)
    return MetricsChunk(header, epochs, start + len(complete), restarted)


def append_metrics(path: Path, record: Mapping[str, Any]) -> None:
    """Append one epoch's record; a number that is not finite becomes null, so that the file stays strict JSON."""
    append_json_line(path, {key: _finite(value) for key, value in record.items()})


def append_header(path: Path, units: Mapping[str, str], labels: list[str]) -> None:
    """Write the first line; on a file that already has one (a resumed run) nothing happens."""
    if read_metrics(path).header is None:
        append_json_line(path, {"header": {"format": 1, "units": dict(units), "labels": list(labels)}})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class MetricsHistory:
    """All epochs of a run, kept up to date at the cost of the new lines only. Pages keep one per run."""

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    offset: int = 0
    _by_epoch: dict[int, dict[str, Any]] = field(default_factory=dict)
    # What was asked for since the last new line.
    _sorted: list[dict[str, Any]] | None = None
    _columns: dict[str, tuple[list[int], list[float | None]]] = field(default_factory=dict)

    def refresh(self) -> bool:
        """Read what is new; True if something was."""
        chunk = read_metrics(self.path, self.offset)
        if chunk.restarted:
            self._by_epoch.clear()
            self.header = {}
        if chunk.header is not None:
            self.header = chunk.header
        self._by_epoch.update({record["epoch"]: record for record in chunk.epochs})
        changed = chunk.offset != self.offset or chunk.restarted
        if changed:
            self._sorted = None
            self._columns.clear()
        self.offset = chunk.offset
        return changed

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """One record an epoch, in order; of a repeated epoch (after a resume) the later line."""
        if self._sorted is None:
            self._sorted = [self._by_epoch[epoch] for epoch in sorted(self._by_epoch)]
        return self._sorted

    @property
    def units(self) -> dict[str, str]:
        return dict(self.header.get("units", {}))

    @property
    def labels(self) -> list[str]:
        return list(self.header.get("labels", []))

    def column(self, key: str) -> tuple[list[int], list[float | None]]:
        """Epochs and values of one key, for the epochs that have it; None where the value was not finite."""
        if key not in self._columns:
            having = [record for record in self.epochs if key in record]
            self._columns[key] = [record["epoch"] for record in having], [record[key] for record in having]
        return self._columns[key]
