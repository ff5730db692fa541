"""Points of an analysis in a plane: parity, residuals, error against size, the map of structures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.crowd import crowding, thinned
from mace_app.ui.charts.style import (
    DENSITY_SCALE,
    NEUTRAL,
    PALETTE,
    VALIDATION,
    base_figure,
    empty_figure,
    plain_text,
)

DENSITY_FROM = 400
MOST_POINTS = 1200
MOST_MARKED = 800
MOST_GHOSTS = 600
OUTLIERS = 100
# From small to large errors; readable on white and near-black.
ERROR_SCALE = ((0.0, "#4f7fd6"), (0.4, "#8a56c2"), (0.7, "#d9597a"), (1.0, "#f0a531"))


@dataclass(frozen=True)
class Cloud:
    """Places of points, the row of the structure each belongs to (structure after structure), its atom (−1: the whole
    structure) and its error.

    ``rows`` are those to draw, in the order of drawing, ``colours`` theirs: crowding, or of a ``scale`` the errors.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    structure: NDArray[np.int32]
    atom: NDArray[np.int32]
    size: NDArray[np.float64]
    log_x: bool = False
    log_y: bool = False
    coloured_by_error: bool = False
    rows: NDArray[np.int64] = field(init=False)
    colours: NDArray[np.float64] | None = field(init=False)

    def __post_init__(self) -> None:
        possible = np.isfinite(self.x) & np.isfinite(self.y)
        possible &= (self.x > 0) if self.log_x else True
        possible &= (self.y > 0) if self.log_y else True
        known = np.flatnonzero(possible)
        rows, colours = known, None
        if len(known):
            x, y = self.x[known], self.y[known]
            x, y = np.log10(x) if self.log_x else x, np.log10(y) if self.log_y else y
            worst = np.argsort(self.size[known])[-OUTLIERS:] if len(known) > OUTLIERS else None
            chosen = thinned(x, y, MOST_POINTS, worst)
            if self.coloured_by_error:
                colours = self.size[known[chosen]]
            elif len(known) >= DENSITY_FROM:
                colours = np.log10(crowding(x, y)[chosen])
            order = np.arange(len(chosen)) if colours is None else np.argsort(colours, kind="stable")
            rows, colours = known[chosen[order]], None if colours is None else colours[order]
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "colours", colours)

    def marked(self, structures: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the points of chosen structures: those with the largest errors, and an even choice of the rest."""
        found = rows_of(self.structure, structures)
        found = found[np.isfinite(self.x[found]) & np.isfinite(self.y[found])]
        if len(found) <= MOST_MARKED:
            return found
        half = MOST_MARKED // 2
        order = found[np.argpartition(-self.size[found], half)]
        rest = order[half:]
        return np.concatenate([order[:half], rest[:: -(-len(rest) // half)]])


def rows_of(owners: NDArray[np.integer], wanted: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where ``owners``, which never fall, are among those ``wanted``; costs what is found, not what there is."""
    wanted = np.unique(wanted).astype(owners.dtype)
    starts, ends = (np.searchsorted(owners, wanted, side) for side in ("left", "right"))
    counts = ends - starts
    return np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


@dataclass(frozen=True)
class Names:
    """How structures are told in a chart: number in the data set and formula, by row."""

    frame: NDArray[np.int64]
    formula: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.frame)


def points_figure(
    cloud: Cloud,
    names: Names,
    x_title: str,
    y_title: str,
    title: str,
    ghost: Cloud | None = None,
    line: str = "",
    notes: Sequence[str] = (),
    hover: str = "",
    height: int = 420,
    colour_title: str = "",
) -> Chart:
    """The points of a cloud. ``line``: "diagonal" or "zero"; ``notes`` stand
    in the corner; ``ghost`` lies pale underneath. ``customdata`` is [structure's row, atom, number in the data set]."""
    if not len(cloud.rows):
        return empty_figure("There are no labels to compare with here", height)
    figure = base_figure(x_title, y_title, height)
    span = _span(cloud, line == "diagonal")
    _guide(figure, line, span)
    if ghost is not None and len(ghost.rows):
        shown = ghost.rows if len(ghost.rows) <= MOST_GHOSTS else ghost.rows[:: -(-len(ghost.rows) // MOST_GHOSTS)]
        figure.add_scatter(
            x=ghost.x[shown], y=ghost.y[shown], mode="markers", hoverinfo="skip", name="The other model",
            marker={"size": 5, "color": PALETTE[2], "symbol": "circle-open"}, opacity=0.35,
        )  # fmt: skip
    crowded = cloud.colours is not None
    marker: dict[str, Any] = {
        "size": 5 if len(cloud.rows) >= DENSITY_FROM else 7,
        "color": cloud.colours if crowded else VALIDATION,
        "colorscale": (ERROR_SCALE if cloud.coloured_by_error else DENSITY_SCALE) if crowded else None,
    }
    if cloud.coloured_by_error and crowded:
        marker |= _error_colours(cloud.colours, colour_title)
    figure.add_scatter(
        **_data(cloud, cloud.rows, names), mode="markers", marker=marker, hovertemplate=_hover(cloud, hover), name="",
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}}, opacity=0.85,
    )  # fmt: skip
    if notes:
        figure.add_annotation(
            text="<br>".join(notes), x=0.02, y=0.98, xref="paper", yref="paper", xanchor="left", yanchor="top",
            align="left", showarrow=False,
        )  # fmt: skip
    figure.update_layout(
        showlegend=False, margin={"t": 40}, dragmode="lasso", title=_title(title),
        uirevision=f"{title}|{x_title}|{y_title}",
    )  # fmt: skip
    figure.update_xaxes(tickformat="~g", type="log" if cloud.log_x else None, nticks=5 if cloud.log_x else None)
    figure.update_yaxes(tickformat="~g", type="log" if cloud.log_y else None, nticks=5 if cloud.log_y else None)
    if line == "diagonal":
        limits = [float(np.log10(value)) for value in span] if cloud.log_x else list(span)
        figure.update_xaxes(range=limits)
        figure.update_yaxes(range=limits)
    return figure


def points_overlay(cloud: Cloud, structures: NDArray[np.int64]) -> dict[str, Any] | None:
    """The points of chosen structures; None of none."""
    return {"points": _places(cloud, cloud.marked(structures))} if len(structures) else None


def ring_overlay(cloud: Cloud, structure: int) -> dict[str, Any]:
    """Rings around the points of the structure that is looked at."""
    return {"rings": _places(cloud, cloud.marked(np.array([structure])))}


def _places(cloud: Cloud, rows: NDArray[np.int64]) -> dict[str, list[float]]:
    return {"x": _five_digits(cloud.x[rows]), "y": _five_digits(cloud.y[rows])}


def _five_digits(values: NDArray[np.float64]) -> list[float]:
    """Rounded to as many significant digits."""
    size = np.abs(values)
    step = 10.0 ** (4 - np.floor(np.log10(np.where(size > 0, size, 1.0))))
    return [float(value) for value in np.round(values * step) / step]


def _title(text: str) -> dict[str, Any]:
    return {"text": plain_text(text), "x": 0, "xref": "paper", "font": {"size": 14}, "y": 0.985, "yanchor": "top"}


def _span(cloud: Cloud, square: bool) -> tuple[float, float]:
    x, y = cloud.x[cloud.rows], cloud.y[cloud.rows]
    low = float(min(x.min(), y.min()) if square else x.min())
    high = float(max(x.max(), y.max()) if square else x.max())
    if cloud.log_x:
        return low / 1.3, high * 1.3
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def _guide(figure: Chart, line: str, span: tuple[float, float]) -> None:
    if line:
        figure.add_scatter(
            x=list(span), y=list(span) if line == "diagonal" else [0, 0], mode="lines", hoverinfo="skip",
            line={"width": 1, "dash": "dash", "color": NEUTRAL},
        )  # fmt: skip


def _data(cloud: Cloud, rows: NDArray[np.int64], names: Names) -> dict[str, Any]:
    structure = cloud.structure[rows]
    return {
        "x": cloud.x[rows],
        "y": cloud.y[rows],
        "customdata": np.stack([structure, cloud.atom[rows], names.frame[structure]], axis=1),
        "text": [plain_text(formula) for formula in names.formula[structure].tolist()],
    }


def _hover(cloud: Cloud, hover: str) -> str:
    atoms = len(cloud.atom) > 0 and cloud.atom[0] >= 0
    return (
        "structure %{customdata[2]}, %{text}" + (", atom %{customdata[1]}" if atoms else "") + hover + "<extra></extra>"
    )


def _error_colours(colours: NDArray[np.float64] | None, title: str) -> dict[str, Any]:
    assert colours is not None
    known = colours[np.isfinite(colours)]
    high = float(np.quantile(known, 0.98)) if len(known) else 1.0
    return {
        "cmin": 0.0,
        "cmax": high or 1.0,
        "showscale": True,
        "colorbar": {
            "title": {"text": plain_text(title), "side": "right"},
            "thickness": 10,
            "outlinewidth": 0,
            "tickformat": "~g",
            "nticks": 5,
        },
    }
