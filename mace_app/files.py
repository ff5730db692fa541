"""Files that are written whole or not at all.

Every reader in this project may run while a writer is at work, and a machine may lose power at any moment. So a file is
written under a temporary name beside its destination, flushed to disk, and renamed into place.
"""

import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

# Of this module, `.run.json.123-456.tmp`, and of the export, `.model.123.tmp.pt`.
TEMPORARY = re.compile(r"\..+\.(\d+)(-\d+)?\.tmp(\.\w+)?")


@contextmanager
def atomic_open(path: Path, mode: str = "wb", durable: bool = True) -> Iterator[IO[Any]]:
    """Open ``path`` for writing; it appears, whole, when the block ends, and not at all when the block raises.

    Without ``durable`` a power cut may bring back the version before, or none: for what is written anew all the time.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(temporary, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Names are written to disk too: without this a power cut may undo a rename that was reported as done."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems have no such thing
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def remove_temporary(folder: Path, in_use: Callable[[int], bool]) -> int:
    """Delete what killed writers left in ``folder``; ``in_use`` says whether a process of this number may still write.
    How many files that were."""
    removed = 0
    for path in folder.glob(".*.tmp*"):
        match = TEMPORARY.fullmatch(path.name)
        if match is not None and not in_use(int(match[1])):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def write_text(path: Path, text: str, durable: bool = True) -> None:
    with atomic_open(path, "w", durable) as stream:
        stream.write(text)


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Strict JSON: a NaN or an infinity is a programming error here, never a token another reader chokes on."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n", durable)


def read_json(path: Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def append_json_line(path: Path, value: Any) -> None:
    """One record a line, in one write: a killed writer can only cut the last line short; the next starts afresh."""
    line = json.dumps(value, allow_nan=False).encode() + b"\n"
    with open(path, "a+b") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)


def read_json_lines(path: Path) -> list[Any]:
    """Every complete record of the file; a last line cut short is left out."""
    if not Path(path).exists():
        return []
    records = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()
