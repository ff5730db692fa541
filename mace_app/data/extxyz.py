"""Extended xyz files, frame by frame, with the exact place of every fault.

ASE's own reader scans the whole file first, stops silently at an empty line, ignores surplus columns and names no line.
The grammar of the comment line is ASE's (``comment_lines.py``). Processor time for 10,000 structures of
tests/benchmarks/large_data, ours, ASE 3.29 and libAtoms' reader in C (``extxyz`` 0.4.6): ethanol 0.42, 1.9 and 0.22 s,
carbon with its long comments 0.73, 4.2 and 1.5 s. libAtoms' reads no stream, names no line and cuts whole numbers to 32
bits, so it is not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase.data import atomic_numbers

from mace_app.data.comment_lines import read_comment
from mace_app.data.errors import DataError, at, excerpt
from mace_app.data.frames import Frame

LONGEST_LINE = 64 << 20  # bytes: no comment line is longer, but a file that isn't text may have no line end at all
_TRUTH = {"T": True, "F": False, "True": True, "False": False}
_KINDS = {"R": "a number", "I": "a whole number", "L": "T or F", "S": "text"}


@dataclass(frozen=True)
class _Column:
    name: str
    kind: str
    start: int
    stop: int


class Lines:
    """Lines of a binary stream with their numbers."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self.stream, self.path, self.number = stream, path, 0

    def next(self) -> bytes | None:
        """The next line without its end, or None after the last."""
        line = self.stream.readline(LONGEST_LINE)
        if not line:
            return None
        self.number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise DataError(
                f"{at(self.path, line=self.number)}: the line is longer than {LONGEST_LINE >> 20} MB, so this is "
                "hardly an extended xyz file. Give a text file in that format."
            )
        return line


def read_extxyz(stream: IO[bytes], path: Path, first_frame: int = 0, first_line: int = 1) -> Iterator[Frame]:
    """Every frame of an open file; DataError names frame and line of the first fault."""
    lines = Lines(stream, path)
    lines.number = first_line - 1
    index = first_frame
    while (count := read_header(lines, index)) is not None:
        yield _frame(lines, index, count)
        index += 1


def frame_offsets(stream: IO[bytes], path: Path) -> list[tuple[int, int]]:
    """Byte offset and line number of every frame's first line."""
    lines = Lines(stream, path)
    found: list[tuple[int, int]] = []
    while True:
        offset = stream.tell()
        count = read_header(lines, len(found))
        if count is None:
            return found
        found.append((offset, lines.number))
        for _ in range(count + 1):
            if lines.next() is None:
                break


def read_header(lines: Lines, index: int) -> int | None:
    """The declared number of atoms; None at the end of the file. Empty lines before it are skipped."""
    while True:
        line = lines.next()
        if line is None:
            return None
        if line.strip():
            break
    text = line.strip()
    if text.isdigit() and len(text) <= 12 and (count := int(text)) > 0:
        return count
    place = at(lines.path, index, lines.number)
    if not text.isdigit() or len(text) > 12:
        shown = excerpt(text[:200].decode("utf-8", "replace"))
        if text.startswith(b"VEC"):
            raise DataError(f'{place}: cell vectors in `VEC` lines are not read. Write the cell as `Lattice="…"`.')
        before = f" The frame before it, {index - 1}, may declare too few atoms." if index else ""
        raise DataError(
            f"{place}: expected the number of atoms of the next structure but found `{shown}`.{before} Correct the "
            "number or the line."
        )
    raise DataError(f"{place}: the structure has no atoms. Remove it from the file.")


def _frame(lines: Lines, index: int, count: int) -> Frame:
    first_line = lines.number
    comment = lines.next()
    if comment is None:
        raise DataError(
            f"{at(lines.path, index, lines.number)}: the file ends after the number of atoms. It was probably cut off "
            "while being written or copied; remove the incomplete structure or copy the file again."
        )
    info = _comment(comment, lines.path, index, lines.number)
    declared = "Properties" in info
    columns = _columns(info.pop("Properties", "species:S:1:pos:R:3"), lines.path, index, lines.number)
    width = columns[-1].stop
    rows: list[list[str]] = []
    for done in range(count):
        line = lines.next()
        if line is None:
            raise DataError(
                f"{at(lines.path, index, lines.number)}: the file ends after {done} of {count} atoms. It was probably "
                "cut off while being written or copied; remove the incomplete structure or copy the file again."
            )
        row = _decode(line, lines.path, index, lines.number).split()
        if len(row) != width and (declared or len(row) < width):
            raise _wrong_width(row, width, count, done, at(lines.path, index, lines.number))
        rows.append(row)
    arrays: dict[str, Any] = {}
    for column in columns:
        if column.name == "species" and (column.kind, column.stop - column.start) == ("S", 1):
            arrays["species"] = [row[column.start] for row in rows]
            continue
        try:
            arrays[column.name] = _values(rows, column)
        except (ValueError, KeyError, OverflowError):
            raise _wrong_value(rows, column, lines.path, index, first_line + 2) from None
    return _structure(arrays, info, lines.path, index, first_line, len(rows))


def _decode(line: bytes, path: Path, index: int, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(
            f"{at(path, index, number)}: the line holds bytes that are not text (UTF-8). Check that this is an "
            "extended xyz file and not damaged."
        ) from None


def _comment(line: bytes, path: Path, index: int, number: int) -> dict[str, Any]:
    text = _decode(line, path, index, number).strip()
    if not text:
        return {}
    try:
        return read_comment(text)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        if isinstance(error, ValueError) and "special 3x3" in str(error):
            key = next((name for name in ("Lattice", "virial", "stress") if f" {name}," in str(error)), "Lattice")
            raise DataError(
                f"{at(path, index, number)}: `{key}` must hold nine numbers, the rows of a 3×3 matrix. Correct the "
                "comment line, or rename the key if it is something else."
            ) from None
        raise DataError(
            f"{at(path, index, number)}: the comment line can't be read ({excerpt(str(error), 120)}). Correct it; it "
            "should hold `key=value` pairs."
        ) from None


def _columns(text: Any, path: Path, index: int, number: int) -> list[_Column]:
    try:
        return _parse_columns(text)
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{at(path, index, number)}: `Properties` can't be understood: {error}. It should read for example "
            "`species:S:1:pos:R:3:forces:R:3`."
        ) from None


@lru_cache(maxsize=64)
def _parse_columns(text: str) -> list[_Column]:
    parts = text.split(":")
    if len(parts) % 3 or len(parts) > 3000:
        raise ValueError(f"`{excerpt(text)}` does not consist of name:type:columns")
    columns: list[_Column] = []
    start = 0
    for name, kind, size in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if kind not in _KINDS:
            raise ValueError(f"`{name}` has the unknown type `{excerpt(kind)}`, not one of R, I, S, L")
        if not size.isdigit() or not 1 <= int(size) <= 100_000:
            raise ValueError(f"`{name}` has `{excerpt(size)}` columns")
        if any(column.name == name for column in columns):
            raise ValueError(f"`{name}` occurs twice")
        columns.append(_Column(name, kind, start, start + int(size)))
        start += int(size)
    sizes = {column.name: (column.kind, column.stop - column.start) for column in columns}
    if sizes.get("pos") not in (("R", 3), ("I", 3)):
        raise ValueError("there are no positions (`pos:R:3`)")
    if sizes.get("species") != ("S", 1) and sizes.get("Z") != ("I", 1):
        raise ValueError("there are no elements (`species:S:1`)")
    return columns


def _values(rows: list[list[str]], column: _Column) -> np.ndarray:
    """``[n]`` or ``[n, columns]``."""
    if column.stop - column.start == 1:
        flat: list[Any] = [row[column.start] for row in rows]
        shape: tuple[int, ...] = (len(rows),)
    else:
        flat = [text for row in rows for text in row[column.start : column.stop]]
        shape = (len(rows), column.stop - column.start)
    if column.kind == "R":
        return np.array([float(text) for text in flat]).reshape(shape)
    if column.kind == "I":
        return np.array([int(text) for text in flat], dtype=np.int64).reshape(shape)
    if column.kind == "L":
        return np.array([_TRUTH[text] for text in flat], dtype=bool).reshape(shape)
    return np.array(flat, dtype=str).reshape(shape)


def _wrong_width(row: list[str], width: int, count: int, done: int, place: str) -> DataError:
    if len(row) <= 1 and done:
        return DataError(
            f"{place}: the frame declares {count} atoms, but the line after atom {done - 1} does not describe one: "
            f"`{excerpt(' '.join(row))}`. Correct the number of atoms."
        )
    return DataError(
        f"{place}: {len(row)} columns where `Properties` declares {width}: `{excerpt(' '.join(row))}`. Correct the "
        f"line, or the number of atoms ({count}) if it is wrong."
    )


def _wrong_value(rows: list[list[str]], column: _Column, path: Path, index: int, line: int) -> DataError:
    for number, row in enumerate(rows):
        for text in row[column.start : column.stop]:
            try:
                _values([[text]], _Column(column.name, column.kind, 0, 1))
            except (ValueError, KeyError, OverflowError):
                return DataError(
                    f"{at(path, index, line + number)}: `{excerpt(text)}` in column `{column.name}` is not "
                    f"{_KINDS[column.kind]}. Correct the line or remove the structure."
                )
    raise AssertionError("no value is wrong")


def _structure(
    arrays: dict[str, Any], info: dict[str, Any], path: Path, index: int, first_line: int, count: int
) -> Frame:
    species, numbers = arrays.pop("species", None), arrays.pop("Z", None)
    if numbers is None:
        assert species is not None
        try:
            numbers = np.array([atomic_numbers[symbol] for symbol in species], dtype=np.int64)
        except KeyError:
            numbers = np.array([atomic_numbers.get(symbol.capitalize(), -1) for symbol in species], dtype=np.int64)
    unknown = np.flatnonzero((numbers < 1) | (numbers > 118))
    if unknown.size:
        atom = int(unknown[0])
        shown = species[atom] if species is not None else numbers[atom]
        raise DataError(
            f"{at(path, index, first_line + 2 + atom)}: `{excerpt(str(shown))}` is not a chemical element. Correct the "
            "line or remove the structure."
        )
    lattice = info.pop("Lattice", None)
    cell = np.zeros((3, 3)) if lattice is None else np.array(lattice, dtype=float).T
    return Frame(
        index=index,
        numbers=numbers,
        positions=arrays.pop("pos").astype(float, copy=False),
        cell=cell,
        pbc=_periodicity(info.pop("pbc", None), lattice is not None, path, index, first_line + 1),
        info=info,
        arrays=arrays,
        line=first_line,
    )


def _periodicity(value: Any, has_cell: bool, path: Path, index: int, line: int) -> np.ndarray:
    """As in ASE: a lattice without ``pbc`` is periodic in all directions."""
    if value is None:
        return np.full(3, has_cell)
    if isinstance(value, list) and list(map(type, value)) == [bool, bool, bool]:
        return np.array(value)
    flags = np.asarray(value)
    if flags.shape not in ((), (3,)) or flags.dtype.kind not in "bi" or not np.isin(flags, (0, 1)).all():
        raise DataError(
            f'{at(path, index, line)}: `pbc` must be three times T or F, for example `pbc="T T F"`; it is `{value}`.'
        )
    return np.broadcast_to(flags.astype(bool), (3,)).copy()
