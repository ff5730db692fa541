"""``metrics.jsonl``: appended by the training, read piece by piece by pages."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from mace_app.files import append_json_line
from mace_app.jobs.errors import RunFolderError

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
    for piece in pieces(path, offset):
        restarted |= piece.restarted
        found, records = records_in(piece.lines)
        header = found or header
        epochs += records
        end = piece.end
    return MetricsChunk(header, epochs, end, restarted)


@dataclass(frozen=True)
class Piece:
    """Complete lines, up to the byte ``end``."""

    lines: list[bytes]
    end: int
    restarted: bool


def pieces(path: Path, offset: int) -> Iterable[Piece]:
    """At least one, perhaps of no lines. RunFolderError if the file can't be read."""
    try:
        restarted = path.stat().st_size < offset
        at = 0 if restarted else offset
        with open(path, "rb") as stream:
            stream.seek(at)
            while True:
                block = _whole_lines(stream)
                at += len(block)
                yield Piece(block.splitlines(), at, restarted)
                if not block:
                    return
                restarted = False
                stream.seek(at)
    except FileNotFoundError:
        yield Piece([], 0, offset > 0)
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


def records_in(lines: Iterable[bytes]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
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
