"""``metrics.jsonl``: appended by the training, read piece by piece by pages."""

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from mace_app.files import append_json_line
from mace_app.jobs.errors import RunFolderError

Array = NDArray[Any]
# Lines are turned into columns by so many bytes at a time, so that a long file never lies in memory as objects.
_PIECE_BYTES = 4 << 20


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
    header = None
    epochs = []
    end = 0
    restarted = False
    for piece in _pieces(path, offset):
        restarted |= piece.restarted
        found, records = _records(piece.lines)
        header = found or header
        epochs += records
        end = piece.end
    return MetricsChunk(header, epochs, end, restarted)


@dataclass(frozen=True)
class _Piece:
    """Complete lines, up to the byte ``end``."""

    lines: list[bytes]
    end: int
    restarted: bool


def _pieces(path: Path, offset: int) -> Iterable[_Piece]:
    """At least one, perhaps of no lines. RunFolderError if the file can't be read."""
    try:
        restarted = path.stat().st_size < offset
        at = 0 if restarted else offset
        with open(path, "rb") as stream:
            stream.seek(at)
            while True:
                block = _whole_lines(stream)
                at += len(block)
                yield _Piece(block.splitlines(), at, restarted)
                if not block:
                    return
                restarted = False
                stream.seek(at)
    except FileNotFoundError:
        yield _Piece([], 0, offset > 0)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}.") from error


def _whole_lines(stream: BinaryIO) -> bytes:
    """The next lines, about ``_PIECE_BYTES`` or one line that is longer; empty when there is no complete one."""
    block = b""
    while more := stream.read(_PIECE_BYTES):
        block += more
        if end := block.rfind(b"\n") + 1:
            return block[:end]
    return b""


def _records(lines: Iterable[bytes]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The header, if one is among them, and the records of epochs."""
    header = None
    epochs = []
    for line in lines:
        try:
            record = orjson.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict):
            continue
        if isinstance(record.get("header"), dict):
            header = record["header"]
        elif type(record.get("epoch")) is int:
            epochs.append(record)
    return header, epochs


def append_metrics(path: Path, record: Mapping[str, Any]) -> None:
    """Append one epoch's record; a number that is not finite becomes null, so that the file stays strict JSON."""
    append_json_line(path, {key: _finite(value) for key, value in record.items()})


def append_header(path: Path, units: Mapping[str, str], labels: list[str]) -> None:
    """Write the first line; on a file that already has one (a resumed run) nothing happens."""
    if read_metrics(path).header is None:
        append_json_line(path, {"header": {"format": 1, "units": dict(units), "labels": list(labels)}})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Column:
    """Numbers of one key, a row a line of the file; NaN where the line says null. Rows are only ever appended, so
    what was handed out stays as it was."""

    def __init__(self) -> None:
        self._values, self._present = np.empty(0), np.empty(0, bool)
        self._filled = 0

    def write(self, start: int, values: Array) -> None:
        """Into the rows from ``start`` on; rows before it that were not written have no value."""
        end = start + len(values)
        if end > len(self._values):
            room = max(64, 2 * end)
            self._values, self._present = _longer(self._values, room), _longer(self._present, room)
        self._present[self._filled : start] = False
        self._values[self._filled : start] = np.nan
        self._values[start:end] = values
        self._present[start:end] = True
        self._filled = end

    def read(self, count: int) -> tuple[Array, Array]:
        """Values, and which of the rows have the key at all."""
        self.write(count, np.empty(0))
        return self._values[:count], self._present[:count]


def _longer(array: Array, room: int) -> Array:
    longer = np.empty(room, array.dtype)
    longer[: len(array)] = array
    return longer


@dataclass
class MetricsHistory:
    """All epochs of a run as columns of numbers, kept up to date at the cost of the new lines only.

    Several threads may share one. What can't be read as a number is left out; true is 1.
    """

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    offset: int = 0
    _columns: dict[str, _Column] = field(default_factory=dict)
    _rows: int = 0
    _order: Array | None = None  # rows in order of epochs; None for all, as they stand
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def refresh(self) -> bool:
        """Read what is new; True if something was."""
        with self._lock:
            begun, changed = self.offset, False
            for piece in _pieces(self.path, self.offset):
                if piece.restarted:
                    self.header, self._columns, self._rows, self._order = {}, {}, 0, None
                    changed = True
                header, epochs = _records(piece.lines)
                self.header = header or self.header
                for keys, same in groupby(epochs, tuple):
                    self._append(keys, list(same))
                self.offset = piece.end
            changed |= self.offset != begun
            if changed:
                self._sort()
            return changed

    def _append(self, keys: tuple[str, ...], records: list[dict[str, Any]]) -> None:
        for key, values in zip(keys, _numbers(keys, records), strict=True):
            if values is not None:
                self._columns.setdefault(key, _Column()).write(self._rows, values)
        self._rows += len(records)

    def _sort(self) -> None:
        """Of a repeated epoch, after a resume, the later line counts."""
        epochs = self._columns["epoch"].read(self._rows)[0] if self._rows else np.empty(0)
        if (np.diff(epochs) > 0).all():
            self._order = None
        else:
            self._order = self._rows - 1 - np.unique(epochs[::-1], return_index=True)[1]

    @property
    def count(self) -> int:
        """How many epochs were written."""
        return self._rows if self._order is None else len(self._order)

    @property
    def keys(self) -> list[str]:
        """What was written of any epoch."""
        return list(self._columns)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """One record an epoch, in order, with None for null. Slow for a long training; charts use columns."""
        epochs = self.column("epoch")[0]
        records: list[dict[str, Any]] = [{} for _ in epochs]
        for key in self.keys:
            for place, value in zip(np.searchsorted(epochs, self.column(key)[0]), self.column(key)[1], strict=True):
                records[place][key] = None if math.isnan(value) else int(value) if key == "epoch" else float(value)
        return records

    @property
    def last_epoch(self) -> int | None:
        epochs = self.column("epoch")[0]
        return int(epochs[-1]) if len(epochs) else None

    @property
    def units(self) -> dict[str, str]:
        return dict(self.header.get("units", {}))

    @property
    def labels(self) -> list[str]:
        return list(self.header.get("labels", []))

    def column(self, key: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Epochs and values of one key, for the epochs that have it; NaN where the value was not finite."""
        with self._lock:
            if key not in self._columns:
                return np.empty(0, np.int64), np.empty(0)
            epochs = self._columns["epoch"].read(self._rows)[0]
            values, present = self._columns[key].read(self._rows)
            if self._order is not None:
                epochs, values, present = epochs[self._order], values[self._order], present[self._order]
            return epochs[present].astype(np.int64), values[present]

    def value(self, key: str, epoch: int | None) -> float | None:
        """The value of one epoch; None if it has none."""
        epochs, values = self.column(key)
        place = int(np.searchsorted(epochs, epoch)) if epoch is not None else len(epochs)
        if place == len(epochs) or epochs[place] != epoch or math.isnan(values[place]):
            return None
        return float(values[place])


def _numbers(keys: tuple[str, ...], records: list[dict[str, Any]]) -> list[Array | None]:
    """A column for every key of records that have the same keys; None where something is no number."""
    get = itemgetter(*keys)
    try:
        table = np.array([get(record) for record in records], float).reshape(len(records), len(keys))
    except (TypeError, ValueError, OverflowError):
        return [_column([record[key] for record in records]) for key in keys]
    return list(table.T)


def _column(values: list[Any]) -> Array | None:
    if not all(value is None or isinstance(value, int | float) for value in values):
        return None
    try:
        return np.array(values, float)
    except OverflowError:
        return None
