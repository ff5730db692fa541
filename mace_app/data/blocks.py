"""Extended xyz files in pieces of whole frames, which can be read one by one, in other processes too.

Cutting only looks at the numbers of atoms and counts lines. Where a file is broken is told as if it had been read from
its beginning: frames before the fault come in a block, and are read, before the fault is raised.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from mace_app.data.errors import DataError
from mace_app.data.extxyz import Lines, read_extxyz, read_header
from mace_app.data.frames import Frame
from mace_app.data.reading import DAMAGED, empty_file, kind_of, uncompressed

BLOCK_BYTES = (
    1 << 17
)  # some hundred small molecules: progress several times a second, and little to wait for at the end
HUGE_FRAME = (
    1 << 23
)  # bytes; in what is longer, a line without species and position ends the search for the frame's end
_FEWEST_COLUMNS = 4


@dataclass(frozen=True)
class Block:
    """``data`` holds ``frames`` frames from number ``first`` on; its first line is ``line`` of the file. ``done`` bytes
    of the file, compressed if it is, were read up to its end."""

    path: Path
    data: bytes
    first: int
    frames: int
    line: int
    done: int

    def read(self) -> Iterator[Frame]:
        """Raises DataError where a frame is broken."""
        return read_extxyz(BytesIO(self.data), self.path, self.first, self.line)


def has_blocks(path: Path) -> bool:
    """Whether a file can be cut: extended xyz, compressed or not. Raises DataError for what is no readable file."""
    return kind_of(path) == "extxyz"


def blocks(path: Path, size: int | None = None) -> Iterator[Block]:
    """The file in blocks of about ``size`` bytes, at least a frame each."""
    empty = True
    with path.open("rb") as raw, uncompressed(raw, path) as stream:
        for block in _cut(stream, path, size or BLOCK_BYTES, raw.tell):
            empty = False
            yield block
    if empty:
        raise empty_file(path)


def _cut(stream: IO[bytes], path: Path, size: int, tell: Callable[[], int]) -> Iterator[Block]:
    lines = _KeptLines(stream, path)
    first = index = 0
    line = 1
    fault: Exception | None = None
    while fault is None:
        whole, kept = len(lines.kept), lines.bytes
        try:
            count = read_header(lines, index)
            whole_frame = count is not None and _skip(lines, count, kept)
        except (DataError, *DAMAGED) as error:
            fault = error
            del lines.kept[whole:]
            break
        if count is None:
            break
        index += 1
        if not whole_frame:  # whoever reads it says what is wrong
            break
        if lines.bytes >= size:
            yield Block(path, b"".join(lines.kept), first, index - first, line, tell())
            lines.kept, lines.bytes = [], 0
            first, line = index, lines.number + 1
    if index > first:
        yield Block(path, b"".join(lines.kept), first, index - first, line, tell())
    if fault is not None:
        raise fault


def _skip(lines: "_KeptLines", atoms: int, before: int) -> bool:
    """Go to the end of a frame; False where there is none."""
    for number in range(atoms + 1):
        line = lines.next()
        if line is None:
            return False
        if lines.bytes - before > HUGE_FRAME and number and len(line.split(maxsplit=4)) < _FEWEST_COLUMNS:
            return False
    return True


class _KeptLines(Lines):
    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__(stream, path)
        self.kept: list[bytes] = []
        self.bytes = 0

    def next(self) -> bytes | None:
        line = super().next()
        if line is not None:
            self.kept.append(line)
            self.bytes += len(line)
        return line
