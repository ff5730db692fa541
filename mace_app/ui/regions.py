"""Parts of a plane that a person marked in a chart, tested against every point, drawn or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_CORNERS = 5000


@dataclass(frozen=True)
class Region:
    """A box, of which ``x`` and ``y`` are the ends (``y`` may be empty: all heights), or a polygon with these
    corners."""

    lasso: bool
    x: tuple[float, ...]
    y: tuple[float, ...]

    @staticmethod
    def read(value: object) -> "Region | None":
        """What a browser says; None if that is no region."""
        if not isinstance(value, Mapping):
            return None
        x, y = _numbers(value.get("x")), _numbers(value.get("y"))
        if value.get("lasso"):
            whole = x is not None and y is not None and len(x) == len(y) and 3 <= len(x) <= MOST_CORNERS
            return Region(True, x, y) if whole and x and y else None
        return Region(False, x, y or ()) if x is not None and len(x) == 2 and len(y or (0, 0)) == 2 else None

    def inside(self, x: Floats, y: Floats, log_x: bool = False, log_y: bool = False) -> NDArray[np.bool_]:
        """Which points lie in it. On a logarithmic axis the polygon's edges are straight in the logarithm."""
        if not self.lasso:
            found = (x >= min(self.x)) & (x <= max(self.x))
            return found & (y >= min(self.y)) & (y <= max(self.y)) if self.y else found
        with np.errstate(divide="ignore", invalid="ignore"):
            points = [np.log10(v) if log else v for v, log in ((x, log_x), (y, log_y))]
            corners = [np.log10(v) if log else np.asarray(v) for v, log in ((self.x, log_x), (self.y, log_y))]
        return _in_polygon(points[0], points[1], corners[0], corners[1])


def _in_polygon(x: Floats, y: Floats, corners_x: Floats, corners_y: Floats) -> NDArray[np.bool_]:
    """By the number of edges to the right of a point (Shimrat 1962), band by band between the corners' heights: only
    the few edges that cross a band are compared with its points."""
    found = np.zeros(len(x), dtype=bool)
    with np.errstate(invalid="ignore"):
        candidates = np.flatnonzero(
            (x >= corners_x.min()) & (x <= corners_x.max()) & (y >= corners_y.min()) & (y < corners_y.max())
        )
    if not len(candidates):
        return found
    heights = np.unique(corners_y)
    band = np.searchsorted(heights, y[candidates], side="right") - 1
    order = np.argsort(band.astype(np.int16), kind="stable")
    candidates, band = candidates[order], band[order]
    next_x, next_y = np.roll(corners_x, -1), np.roll(corners_y, -1)
    low, high = np.minimum(corners_y, next_y), np.maximum(corners_y, next_y)
    bounds = np.searchsorted(band, np.arange(len(heights)))
    for number in range(len(heights) - 1):
        rows = candidates[bounds[number] : bounds[number + 1]]
        if not len(rows):
            continue
        crossing = np.flatnonzero((low <= heights[number]) & (high >= heights[number + 1]) & (high > low))
        odd = np.zeros(len(rows), dtype=bool)
        for edge in crossing:
            slope = (next_x[edge] - corners_x[edge]) / (next_y[edge] - corners_y[edge])
            odd ^= x[rows] < corners_x[edge] + slope * (y[rows] - corners_y[edge])
        found[rows] = odd
    return found


def _numbers(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list | tuple) or len(value) > MOST_CORNERS:
        return None
    if not all(isinstance(entry, int | float) and np.isfinite(entry) for entry in value):
        return None
    return tuple(float(entry) for entry in value)
