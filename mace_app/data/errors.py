"""What can be wrong with data, in a sentence a page can show."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 1e100


class DataError(ValueError):
    """One sentence or two: what is wrong, where (file, frame, key), what to do."""


class Cancelled(Exception):
    """Raised when ``cancelled()`` said that the work should end."""


def at(path: Path | str, frame: int | None = None, line: int | None = None) -> str:
    """``file.xyz, frame 3 (counted from 0), line 47``; lines count from 1."""
    place = str(path)
    if frame is not None:
        place += f", frame {frame} (counted from 0)"
    if line is not None:
        place += f", line {line}"
    return place


def numbered(frames: Sequence[int] | Iterable[int], most: int = 8) -> str:
    """``1, 5, 9`` or ``1, 5, 9 and 120 more``."""
    frames = list(frames)
    text = ", ".join(str(frame) for frame in frames[:most])
    return text if len(frames) <= most else f"{text} and {len(frames) - most} more"


def is_number(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where values are neither NaN nor infinite, nor so large that their squares would be."""
    return np.asarray(np.abs(values) < LARGEST)


def excerpt(text: str, most: int = 40) -> str:
    """A short quotation of something that may be long or hold unprintable characters."""
    text = "".join(character if character.isprintable() else "?" for character in text.strip())
    return text if len(text) <= most else text[:most] + "…"
