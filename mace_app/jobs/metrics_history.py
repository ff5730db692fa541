"""``metrics.jsonl`` as columns of numbers, for pages."""

import math
import threading
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mace_app.jobs.metrics_file import pieces, records_in

Array = NDArray[Any]


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
            for piece in pieces(self.path, self.offset):
                if piece.restarted:
                    self.header, self._columns, self._rows, self._order = {}, {}, 0, None
                    changed = True
                header, epochs = records_in(piece.lines)
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
