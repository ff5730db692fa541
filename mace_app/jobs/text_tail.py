"""The end of a text file that may be long."""

import os
from pathlib import Path

TAIL_BYTES = 1 << 18


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file, at the cost of its end only; empty if there is no file."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - TAIL_BYTES))
            block = stream.read()
    except FileNotFoundError:
        return []
    found = block.decode("utf-8", errors="replace").splitlines()
    if size > TAIL_BYTES:
        found = found[1:]
    return found[-lines:]
