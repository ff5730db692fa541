"""Files to frames, whatever the format."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ase import Atoms

from mace_app.data.errors import DataError, at
from mace_app.data.extxyz import frame_offsets, read_extxyz
from mace_app.data.frames import Frame
from mace_app.data.other_formats import format_of, read_other
from mace_app.options import DatasetOptions

Progress = Callable[[int, int, str], None]
"""``progress(done, total, message)``; total is 0 where it isn't known."""

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error)  # what reading a compressed file may raise
_PEEK = 4096
_REPORT_EVERY = 50


def read_frames(path: Path | str, progress: Callable[[int], None] | None = None) -> Iterator[Frame]:
    """The frames of a file one after the other; ``progress`` is told the bytes of the file that were read so far.

    Raises DataError for a file that is missing, empty, of an unknown format or broken, with frame and line.
    """
    path = Path(path)
    name = kind_of(path)
    frames = _xyz_frames(path, progress) if name == "extxyz" else read_other(path, name)
    index = -1
    for index, frame in enumerate(frames):  # noqa: B007 - the last value tells an empty file from others
        yield frame
    if index < 0:
        raise empty_file(path)
    if progress is not None:
        progress(path.stat().st_size)


def _xyz_frames(path: Path, progress: Callable[[int], None] | None) -> Iterator[Frame]:
    with path.open("rb") as raw, uncompressed(raw, path) as stream:
        for frame in read_extxyz(stream, path):
            yield frame
            if progress is not None and frame.index % _REPORT_EVERY == 0:
                progress(raw.tell())


def empty_file(path: Path) -> DataError:
    return DataError(f"{path}: there are no structures in the file. Choose another one.")


@contextmanager
def uncompressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """What a file holds; DataError where its compression is damaged."""
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        yield raw
        return
    try:
        with opener(raw, "rb") as stream:
            yield stream
    except DAMAGED as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}). Copy it again.") from error


def kind_of(path: Path) -> str:
    """``extxyz`` or the name of another format; DataError for what is no readable file."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file. Check the path.")
    if not path.is_file():
        raise DataError(f"{path}: this is no file. Name the file with the structures.")
    try:
        with path.open("rb") as raw, uncompressed(raw, path) as stream:
            head = stream.read(_PEEK)
    except OSError as error:
        raise DataError(f"{path}: the file can't be opened ({error.strerror}). Check its permissions.") from error
    if not head.strip():
        raise DataError(f"{path}: the file is empty. Choose a file that holds structures.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _OPENERS:
        suffixes.pop()
    if suffixes and suffixes[-1] in (".xyz", ".extxyz"):
        if b"\0" in head:
            raise DataError(f"{path}: this is a binary file, not extended xyz, which is text. Check the file's name.")
        return "extxyz"
    name = format_of(path)
    return "extxyz" if name == "xyz" else name


def iter_frames(source: DatasetOptions | Path | str) -> Iterator[Atoms]:
    """Every structure of a data set, as written in the file."""
    for frame in read_frames(path_of(source)):
        yield frame.to_atoms()


def frame_of(source: DatasetOptions | Path | str, index: int) -> Atoms:
    """One structure of a data set by its position in the file, counted from 0, for showing it.

    For extended xyz the places of all frames are found once and remembered until the file changes.
    """
    path = path_of(source)
    if index < 0:
        raise DataError(f"{at(path, index)}: frames are counted from 0.")
    if kind_of(path) != "extxyz" or path.suffix.lower() in _OPENERS:
        for frame in read_frames(path):
            if frame.index == index:
                return frame.to_atoms()
        raise DataError(f"{at(path, index)}: the file has no such frame.")
    status = path.stat()
    offsets = _offsets(path, status.st_mtime_ns, status.st_size)
    if index >= len(offsets):
        raise DataError(f"{at(path, index)}: the file has only {len(offsets)} frames.")
    offset, line = offsets[index]
    with path.open("rb") as stream:
        stream.seek(offset)
        return next(read_extxyz(stream, path, index, line)).to_atoms()


@lru_cache(maxsize=8)
def _offsets(path: Path, modified: int, size: int) -> list[tuple[int, int]]:
    with path.open("rb") as stream:
        return frame_offsets(stream, path)


def path_of(source: DatasetOptions | Path | str) -> Path:
    return Path(source.systems.read_from if isinstance(source, DatasetOptions) else source)
