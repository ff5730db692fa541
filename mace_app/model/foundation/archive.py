"""The container of a ``.model`` file: what ``torch.save`` writes, an uncompressed zip with one pickle and raw storages.

Everything is bounded before it is read. torch never compresses, so a compressed entry is refused, and with it every zip
bomb; entries that together claim more than the file has are refused as well.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mace_app.model.foundation.errors import FoundationError

MOST_BYTES = 32 * 2**30
MOST_ENTRIES = 50_000
MOST_DIRECTORY = 16 * 2**20
MOST_PICKLE = 256 * 2**20

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")

# First bytes of what people take for a model: an interrupted login, a forgotten `git lfs pull`, another suffix.
_OTHERS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"),
    (b"<", "is a web page or XML, probably what a failed download left; download the model again"),
    (b"\x1f\x8b", "is a gzip archive; unpack it and give the file inside"),
    (b"\xfd7zXZ", "is an xz archive; unpack it and give the file inside"),
    (b"BZh", "is a bzip2 archive; unpack it and give the file inside"),
    (b"Rar!", "is a RAR archive; unpack it and give the file inside"),
    (b"7z\xbc\xaf", "is a 7z archive; unpack it and give the file inside"),
    (b"\x89HDF", "is an HDF5 file, not a model of MACE"),
    (b"\x7fELF", "is a program, not a model of MACE"),
    (b"MZ", "is a program, not a model of MACE"),
    (b"%PDF", "is a PDF document, not a model of MACE"),
)
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"


class Archive:
    """An open file: its pickle, and its storages by key, each read in one piece."""

    def __init__(self, name: str, file: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
        self.name = name
        self._file = file
        self._entries = entries

    def pickle(self) -> bytes:
        return self._read("data.pkl")

    def size_of(self, key: str) -> int | None:
        """Bytes of a storage; None if there is none of that key."""
        entry = self._entries.get(f"data/{key}")
        return None if entry is None else entry.file_size

    @property
    def size(self) -> int:
        """Bytes of everything in it."""
        return sum(entry.file_size for entry in self._entries.values())

    def storage(self, key: str) -> bytes:
        return self._read(f"data/{key}")

    @property
    def little_endian(self) -> bool:
        return "byteorder" not in self._entries or self._read("byteorder").strip() == b"little"

    def _read(self, name: str) -> bytes:
        try:
            return self._file.read(self._entries[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
            raise FoundationError(
                f"`{self.name}` is damaged: `{name}` in it can't be read ({error}). Download or copy it again."
            ) from None


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Raises FoundationError for anything but an undamaged file of ``torch.save``; OSError if it can't be opened."""
    if path.is_dir():
        raise FoundationError(f"`{path.name}` is a folder; name the `.model` file inside.")
    if path.exists() and not path.is_file():
        raise FoundationError(f"`{path.name}` is no ordinary file; name the `.model` file itself.")
    with path.open("rb") as stream:
        _check_beginning(path.name, stream)
        _check_directory(path.name, stream)
        try:
            file = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, struct.error) as error:
            raise _damaged(path.name, str(error)) from None
        with file:
            yield Archive(path.name, file, _checked_entries(path.name, file, path.stat().st_size))


def _check_beginning(name: str, stream: BinaryIO) -> None:
    start = stream.read(512)
    size = stream.seek(0, 2)
    if size == 0:
        raise FoundationError(f"`{name}` is empty; download or copy it again.")
    if size > MOST_BYTES:
        raise FoundationError(
            f"`{name}` has {size / 2**30:.0f} GiB; models of MACE are far below {MOST_BYTES >> 30} GiB."
        )
    if start.startswith(b"PK\x03\x04"):
        return
    for beginning, what in _OTHERS:
        if start.lstrip()[: len(beginning)] == beginning:
            raise FoundationError(f"`{name}` {what}.")
    if _LEGACY_MAGIC in start[:32]:
        raise FoundationError(
            f"`{name}` was written in PyTorch's format from before 2020, which is not read here; MACE never used it."
        )
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        raise FoundationError(f"`{name}` is a bare pickle, not a model of MACE, and was not loaded.")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size:
        raise FoundationError(
            f"`{name}` is a safetensors file; a checkpoint of MACE Studio must end in `.safetensors`."
        )
    raise FoundationError(f"`{name}` is no model of MACE: it does not begin as a file of PyTorch does.")


def _check_directory(name: str, stream: BinaryIO) -> None:
    """Python reads a zip's whole directory at once, so its size is looked at first."""
    size = stream.seek(0, 2)
    tail = min(size, _END.size + 65536)
    stream.seek(size - tail)
    block = stream.read(tail)
    place = block.rfind(b"PK\x05\x06")
    if place < 0 or len(block) - place < _END.size:
        raise _damaged(name, "its end is missing")
    *_, entries, directory, _, _ = _END.unpack(block[place : place + _END.size])
    locator = size - tail + place - _LOCATOR.size
    if locator >= 0:
        stream.seek(locator)
        signature, _, offset, _ = _LOCATOR.unpack(stream.read(_LOCATOR.size))
        if signature == b"PK\x06\x07":
            stream.seek(min(offset, size))
            record = stream.read(_END64.size)
            if len(record) < _END64.size or record[:4] != b"PK\x06\x06":
                raise _damaged(name, "its end is unreadable")
            *_, entries, directory, _ = _END64.unpack(record)
    if entries > MOST_ENTRIES or directory > MOST_DIRECTORY:
        raise FoundationError(
            f"`{name}` claims to hold {entries} parts, far more than any model of MACE; it is refused."
        )
    stream.seek(0)


def _checked_entries(name: str, file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by their path below the one folder that ``torch.save`` puts everything into."""
    found: dict[str, zipfile.ZipInfo] = {}
    infos = file.infolist()
    roots = set()
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        if "\\" in info.filename or ".." in parts or info.filename.startswith("/") or len(parts) > 8:
            raise FoundationError(f"`{name}` names a part {info.filename[:80]!r}, which no model does; it is refused.")
        roots.add(parts[0] if parts else "")
        inside = "/".join(parts[1:])
        if inside in found:
            raise FoundationError(f"`{name}` holds `{inside[:80]}` twice, which no model does; it is refused.")
        if inside:
            found[inside] = info
    if "constants.pkl" in found or any(part.startswith("code/") for part in found):
        raise FoundationError(
            f"`{name}` is compiled code (TorchScript), such as an exported model or one for LAMMPS; its architecture "
            "can't be read from it. Use the `.model` file it was made from."
        )
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1 for info in infos):
        raise FoundationError(
            f"`{name}` is a compressed or encrypted zip, which PyTorch never writes; unpack it first."
        )
    if len(infos) > MOST_ENTRIES or sum(info.file_size for info in infos) > size:
        raise FoundationError(
            f"`{name}` claims to hold more than its {size} bytes; it is damaged or a trap, and refused."
        )
    if "data.pkl" not in found or len(roots) != 1:
        inner = next((entry for entry in file.namelist() if entry.endswith((".model", ".pt", ".pth"))), None)
        hint = f"unpack it and give `{inner[:80]}`" if inner else "check that it is the right file"
        raise FoundationError(f"`{name}` is a zip archive, but not one that PyTorch wrote; {hint}.")
    if found["data.pkl"].file_size > MOST_PICKLE:
        raise FoundationError(
            f"`{name}` describes itself in {found['data.pkl'].file_size} bytes, far more than any model."
        )
    return found


def _damaged(name: str, reason: str) -> FoundationError:
    return FoundationError(f"`{name}` is cut off or damaged ({reason}); download or copy it again.")
