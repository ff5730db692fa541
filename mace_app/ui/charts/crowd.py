"""Many points in a plane: how crowded each place is, and which of them to draw."""

import numpy as np
from numpy.typing import NDArray

BINS = (120, 90, 64, 45)
MOST_POINTS = 2500


def cells(x: NDArray, y: NDArray, bins: int = BINS[0]) -> NDArray[np.int64]:
    """The cell of a grid over the points' ranges that each point lies in."""
    return _places(x, bins) * bins + _places(y, bins)


def crowding(x: NDArray, y: NDArray) -> NDArray[np.int64]:
    """How many points share each point's cell."""
    found = cells(x, y)
    return np.bincount(found)[found]


def thinned(x: NDArray, y: NDArray, limit: int = MOST_POINTS, always: NDArray | None = None) -> NDArray[np.int64]:
    """Rows to draw, in their order: all of a sparse cell, the first few of a crowded one, about ``limit`` together, and
    those of ``always``."""
    if len(x) <= limit:
        return np.arange(len(x))
    for bins in BINS:
        where = cells(x, y, bins)
        counts = np.bincount(where)
        counts = counts[counts > 0]
        if len(counts) <= limit:
            break
    order = np.argsort(where.astype(np.int16), kind="stable")  # numpy sorts small integers by their digits
    starts = np.r_[0, np.cumsum(np.bincount(where)[np.unique(where)])]
    rank = np.arange(len(order)) - np.repeat(starts[:-1], np.diff(starts))
    allowed = 1
    while np.minimum(counts, allowed + 1).sum() <= limit:
        allowed += 1
    rows = order[rank < allowed]
    return np.unique(rows if always is None else np.concatenate([rows, always]))


def _places(values: NDArray, bins: int) -> NDArray[np.int64]:
    low, high = values.min(), values.max()
    return np.minimum(((values - low) / ((high - low) or 1.0) * bins).astype(np.int64), bins - 1)
