"""A short look at ``metrics.jsonl``, however long it is: its header, its last epoch and the best one.

A list of many runs needs no more. Only the ends of the file are read, and what a search by halves for the best epoch
meets on its way.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

TAIL_BYTES = 1 << 16
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class MetricsGlance:
    """``best`` is the record of the best epoch, as far as it was found; None before there is one."""

    header: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Any] | None = None
    best: dict[str, Any] | None = None

    @property
    def labels(self) -> list[str]:
        return list(self.header.get("labels", []))

    @property
    def units(self) -> dict[str, str]:
        return dict(self.header.get("units", {}))


def glance_at_metrics(path: Path, best_epoch: int | None = None) -> MetricsGlance:
    """``best_epoch`` where it is known; otherwise the best is looked for among the last records."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            first = _record(stream.readline(HEAD_BYTES)) or {}
            header = first.get("header")
            start = max(0, size - TAIL_BYTES)
            stream.seek(start)
            lines = stream.read().splitlines()
            tail = list(_epochs(lines[1:] if start else lines))
            best = next((record for record in reversed(tail) if _is_best(record, best_epoch)), None)
            if best is None and best_epoch is not None and start:
                best = _find(stream, best_epoch, start)
    except OSError:
        return MetricsGlance()
    return MetricsGlance(header if isinstance(header, dict) else {}, tail[-1] if tail else None, best)


def _is_best(record: dict[str, Any], best_epoch: int | None) -> bool:
    if best_epoch is not None:
        return bool(record["epoch"] == best_epoch)
    return bool(record.get("best")) and record["epoch"] > 0


def _find(stream: BinaryIO, epoch: int, end: int) -> dict[str, Any] | None:
    """The record of ``epoch`` in the first ``end`` bytes: epochs grow along the file but for a resume's few."""
    low, high = 0, end
    while high - low > TAIL_BYTES:
        middle = (low + high) // 2
        stream.seek(middle)
        stream.readline()
        found = next(_epochs(iter(stream.readline, b"")), None)
        if found is None or found["epoch"] > epoch:
            high = middle
        else:
            low = middle
    stream.seek(low)
    lines = stream.read(2 * TAIL_BYTES).splitlines()
    return next((record for record in _epochs(lines) if record["epoch"] == epoch), None)


def _epochs(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        record = _record(line)
        if record is not None and isinstance(record.get("epoch"), int):
            yield record


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
