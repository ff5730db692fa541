"""Long series made short and noisy ones smooth, for the eye only. A missing value is NaN, and None in lists."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Number = float | None


def thin(x: ArrayLike, y: ArrayLike, limit: int = 800) -> tuple[list[float], list[Number]]:
    """At most about ``limit`` points as lists; the first, the last, and of every stretch its lowest and highest are
    kept.

    A point without a value is kept where its stretch has none at all, so that gaps stay gaps.
    """
    places: NDArray[Any] = np.asarray(x)
    values: Floats = np.asarray(y, float)
    count = len(places)
    if count > limit:
        width = math.ceil(count / max(1, limit // 2 - 1))
        rows = math.ceil(count / width)
        padded = np.full(rows * width, np.nan)
        padded[:count] = values
        table = padded.reshape(rows, width)
        empty, begin = np.isnan(table), np.arange(rows) * width
        lowest = begin + np.where(empty, np.inf, table).argmin(axis=1)
        highest = begin + np.where(empty, -np.inf, table).argmax(axis=1)
        kept = np.unique(np.concatenate([[0, count - 1], lowest, highest]))
        places, values = places[kept], values[kept]
    return places.tolist(), [None if math.isnan(value) else value for value in values.tolist()]


def smooth(y: ArrayLike, strength: float) -> Floats:
    """Exponential moving average; ``strength`` 0 changes nothing, 0.9 averages over about ten points.

    The start is not pulled towards zero: each value is the weighted mean of what was seen so far. Missing values stay
    missing and do not count.
    """
    y = np.asarray(y, float)
    known = np.isfinite(y)
    if strength <= 0 or not known.any():
        return y
    from scipy.signal import lfilter  # half a second that most pages need not wait

    smoothed = np.full(len(y), np.nan)
    weights = 1 - strength ** np.arange(1, known.sum() + 1)
    smoothed[known] = lfilter([1 - strength], [1, -strength], y[known]) / weights
    return smoothed


def drawable(y: ArrayLike, logarithmic: bool) -> Floats:
    """On a logarithmic axis zero and negative values have no place: they become gaps."""
    y = np.asarray(y, float)
    return np.where(y > 0, y, np.nan) if logarithmic else y
