"""The charts of the analysis page: what stands on their axes, and which structures a mark in them means."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from mace_app.analysis import Analysis
from mace_app.ui import charts
from mace_app.ui.analysis_controls import Looked
from mace_app.ui.analysis_state import Selection
from mace_app.ui.analysis_values import Errors, Values, errors_of
from mace_app.ui.charts.analysis_points import Cloud, Names, points_figure, points_overlay, ring_overlay
from mace_app.ui.charts.analysis_spread import (
    cumulative_figure,
    cumulative_overlay,
    error_histogram_figure,
    histogram_overlay,
)
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.style import plain_text
from mace_app.ui.live_plotly import Picture, Pointed, region_plotly

PARITY, RESIDUALS, SIZE, HISTOGRAM, CUMULATIVE, ATOMS, MAP, UNCERTAINTY = (
    "Parity",
    "Residuals",
    "Error against size",
    "Histogram",
    "Cumulative",
    "Structure size",
    "Map",
    "Uncertainty",
)
DEFAULT = (PARITY, HISTOGRAM, RESIDUALS)
MAIN_HEIGHT, HEIGHT = 520, 360


@dataclass(frozen=True)
class Shown:
    """All a chart needs: the values, those of another model as a ghost (or None), and the choice."""

    analysis: Analysis
    looked: Looked
    ghost: Values | None
    selection: Selection
    picture: Picture

    @property
    def names(self) -> Names:
        return Names(self.analysis.structures.frame, self.analysis.structures.formula)


def available(analysis: Analysis, looked: Looked) -> list[str]:
    """Charts that say something of these data."""
    found = [PARITY, HISTOGRAM, RESIDUALS, SIZE, CUMULATIVE]
    if np.ptp(analysis.structures.n_atoms) > 0:
        found.append(ATOMS)
    if np.isfinite(analysis.structures.map).all(axis=1).any():
        found.append(MAP)
    about = analysis.info.uncertainty or {}
    if about.get("target") == looked.view.label and np.isfinite(analysis.structures.uncertainty).any():
        found.append(UNCERTAINTY)
    return found


def draw(kind: str, shown: Shown, height: int = HEIGHT) -> None:
    """One chart; what is chosen in it is shown by ``marks_of``."""
    label = f"{kind} of {shown.looked.title}"
    if kind in (HISTOGRAM, CUMULATIVE):
        make = partial(_spread, kind, shown, height)
        pointed = partial(_range_pointed, kind, shown)
    else:
        cloud = cloud_of(kind, shown.analysis, shown.looked)
        make = partial(_points, kind, cloud, shown, height)
        pointed = partial(_cloud_pointed, cloud, shown)
    name = f"figure {kind} {height} {shown.looked.largest}"
    if shown.ghost is None:
        figure = shown.looked.values.derived(name, make)
    else:
        figure = shown.looked.values.latest(f"{name} and another", shown.ghost, make)
    region_plotly(figure, key_of(kind), label, pointed, shown.picture)


def key_of(kind: str) -> str:
    return "analysis-" + kind.lower().replace(" ", "-")


def marks_of(kinds: Sequence[str], shown: Shown) -> dict[str, dict[str, Any] | None]:
    """What is chosen in each of these charts, by the chart's key."""
    return {key_of(kind): _marks(kind, shown) for kind in kinds}


def _marks(kind: str, shown: Shown) -> dict[str, Any] | None:
    if kind in (HISTOGRAM, CUMULATIVE):
        return _spread_overlay(kind, shown)
    return overlay_of(f"{kind} {shown.looked.largest}", cloud_of(kind, shown.analysis, shown.looked), shown)


def overlay_of(name: str, cloud: Cloud, shown: Shown) -> dict[str, Any] | None:
    """What is chosen, and the structure that is looked at among it."""
    rows, current = shown.selection.rows, shown.selection.current
    chosen = shown.looked.values.latest(f"overlay {name}", rows, lambda: points_overlay(cloud, rows))
    if chosen is None or current is None:
        return chosen
    return chosen | ring_overlay(cloud, current)


def cloud_of(kind: str, analysis: Analysis, looked: Looked) -> Cloud:
    """The points of a chart, made once for the values."""
    values = looked.values
    name = f"{kind} {looked.largest}" if kind in (ATOMS, MAP, UNCERTAINTY) else kind
    return values.derived(name, lambda: _cloud(kind, analysis, values, looked.of_structures))


def _cloud(kind: str, analysis: Analysis, values: Values, of_structures: NDArray[np.float64]) -> Cloud:
    if kind in (ATOMS, MAP, UNCERTAINTY):
        rows = np.flatnonzero(np.isfinite(of_structures)).astype(np.int32)
        own = of_structures[rows]
        atoms = np.full(len(rows), -1, dtype=np.int32)
        if kind == MAP:
            place = analysis.structures.map[rows]
            return Cloud(place[:, 0], place[:, 1], rows, atoms, own, coloured_by_error=True)
        counts = analysis.structures.n_atoms[rows].astype(float)
        if kind == UNCERTAINTY:
            sigma = analysis.structures.uncertainty[rows] / (counts if values.view.per_atom else 1.0)
            return Cloud(sigma * values.view.unit.factor, own, rows, atoms, own, log_x=True, log_y=True)
        return Cloud(counts, own, rows, atoms, own, log_x=_wide(counts), log_y=True)
    x, y, log = values.reference, values.error, False
    if kind == PARITY:
        y = values.prediction
    elif kind == SIZE:
        x, y, log = np.abs(x - _middle(analysis, values)), values.size, True
    return Cloud(x, y, values.structure, values.atom, values.size, log_x=log, log_y=log)


def _middle(analysis: Analysis, values: Values) -> float:
    """What sizes are counted from: of an energy the mean of the training set, or of all; of vectors nothing."""
    if values.of_atoms or not len(values) or analysis.labels[values.view.label].shape != (1,):
        return 0.0
    learnt = (analysis.structures.split == "training")[values.structure]
    return float(values.reference[learnt].mean() if learnt.any() else values.reference.mean())


def _wide(counts: NDArray[np.float64]) -> bool:
    return len(counts) > 0 and counts.max() > 20 * max(1.0, counts.min())


def _points(kind: str, cloud: Cloud, shown: Shown, height: int) -> Chart:
    looked, unit = shown.looked, plain_text(shown.looked.unit)
    value = f" {unit}" if unit else ""
    vectors = "length of the " if looked.view.by_vector else ""
    common: dict[str, Any] = {"names": shown.names, "height": height}
    if kind == PARITY:
        errors = errors_of(looked.values)
        ghost = None
        if shown.ghost is not None:
            other = shown.ghost
            ghost = other.derived(
                "parity ghost",
                lambda: Cloud(other.reference, other.prediction, other.structure, other.atom, other.size),
            )
        return points_figure(
            cloud,
            x_title=looked.with_unit("Reference"),
            y_title=looked.with_unit("Prediction"),
            title=looked.title + (" (lengths)" if looked.view.by_vector else ""),
            line="diagonal",
            ghost=ghost,
            notes=_notes(errors, looked.unit),
            hover=f"<br>reference %{{x:.6~g}}<br>predicted %{{y:.6~g}}{value}",
            **common,
        )
    if kind == RESIDUALS:
        return points_figure(
            cloud,
            x_title=looked.with_unit("Reference"),
            y_title=looked.with_unit("Length of the error" if vectors else "Prediction − reference"),
            title="Residuals",
            line="zero",
            hover=f"<br>reference %{{x:.6~g}}<br>error %{{y:.4~g}}{value}",
            **common,
        )
    if kind == SIZE:
        what = "distance from the mean" if _middle(shown.analysis, looked.values) else "size of the reference"
        return points_figure(
            cloud,
            x_title=looked.with_unit(what.capitalize()),
            y_title=looked.with_unit("Absolute error"),
            title=f"Error against the {what}",
            hover=f"<br>{what} %{{x:.4~g}}<br>error %{{y:.4~g}}{value}",
            **common,
        )
    if kind == ATOMS:
        return points_figure(
            cloud,
            x_title="Atoms",
            y_title=looked.with_unit(looked.measure.capitalize()),
            title="Error against structure size",
            hover=f"<br>%{{x}} atoms<br>{looked.measure} %{{y:.4~g}}{value}",
            **common,
        )
    if kind == UNCERTAINTY:
        return points_figure(
            cloud,
            x_title=looked.with_unit("Predicted standard deviation"),
            y_title=looked.with_unit("Absolute error"),
            title="Error against predicted uncertainty",
            line="diagonal",
            hover=f"<br>predicted %{{x:.3~g}}<br>error %{{y:.3~g}}{value}",
            **common,
        )
    return points_figure(
        cloud,
        x_title="Similar structures lie near each other",
        y_title="",
        title="Map of structures",
        hover=f"<br>{looked.measure} %{{marker.color:.4~g}}{value}",
        colour_title=looked.with_unit(looked.measure.capitalize()),
        **common,
    )


def _spread(kind: str, shown: Shown, height: int) -> Chart:
    values, ghost = shown.looked.values, shown.ghost
    if kind == HISTOGRAM:
        other = None if ghost is None else ghost.error
        return error_histogram_figure(values.error, shown.looked.unit, "Errors", other, height)
    other = None if ghost is None else ghost.size
    return cumulative_figure(values.size, shown.looked.unit, "Share of small errors", other, height)


def _spread_overlay(kind: str, shown: Shown) -> dict[str, Any] | None:
    values, rows = shown.looked.values, shown.selection.rows
    if not len(rows):
        return None
    return values.latest(f"overlay {kind}", rows, partial(_chosen_spread, kind, values, rows))


def _chosen_spread(kind: str, values: Values, rows: NDArray[np.int64]) -> dict[str, Any] | None:
    chosen = values.of(rows)
    if kind == HISTOGRAM:
        return histogram_overlay(values.error, values.error[chosen])
    return cumulative_overlay(values.size[chosen])


def _notes(errors: Errors | None, unit: str) -> list[str]:
    if errors is None:
        return []
    suffix = f" {plain_text(unit)}" if unit else ""
    lines = [
        f"<b>{word}</b> {charts.three_digits(value)}{suffix}"
        for word, value in (("RMSE", errors.rmse), ("MAE", errors.mae), ("Largest", errors.max))
    ]
    return [*lines, f"<b>R²</b> {charts.r_squared(errors.r2)}"] if errors.r2 is not None else lines


def _cloud_pointed(cloud: Cloud, shown: Shown, pointed: Pointed) -> None:
    selection, errors = shown.selection, shown.looked.of_structures
    if pointed.region is not None:
        inside = pointed.region.inside(cloud.x, cloud.y, cloud.log_x, cloud.log_y)
        selection.choose(cloud.structure[inside], errors, pointed.how)
        return
    found = _point(pointed.points, len(errors))
    if found is None:
        selection.clear()
    else:
        selection.look_at(found[0], errors, pointed.how, found[1] if found[1] >= 0 else None)


def _point(points: Sequence[Any], structures: int) -> tuple[int, int] | None:
    """Structure and atom of a clicked point, if that is one."""
    if not points or not isinstance(points[0], list) or len(points[0]) < 2:
        return None
    row, atom = points[0][:2]
    whole = all(isinstance(number, int) for number in (row, atom))
    return (row, atom) if whole and 0 <= row < structures else None


def _range_pointed(kind: str, shown: Shown, pointed: Pointed) -> None:
    """A stretch of errors, or a bar of the histogram."""
    values = shown.looked.values
    axis = values.error if kind == HISTOGRAM else values.size
    ends: tuple[float, ...] = ()
    if pointed.region is not None:
        ends = pointed.region.x
    elif pointed.points and isinstance(pointed.points[0], list) and len(pointed.points[0]) == 2:
        ends = tuple(end for end in pointed.points[0] if isinstance(end, int | float))
    if len(ends) < 2:
        shown.selection.clear()
        return
    inside = (axis >= min(ends)) & (axis <= max(ends))
    shown.selection.choose(values.structure[inside], shown.looked.of_structures, pointed.how)


def chart_choice(kinds: Sequence[str]) -> list[str]:
    """Which charts a person wants to see, in the order of ``kinds``."""
    chosen = st.pills(
        "Charts",
        list(kinds),
        selection_mode="multi",
        default=[kind for kind in DEFAULT if kind in kinds],
        key=f"analysis-charts-{len(kinds)}",
    )
    return [kind for kind in kinds if kind in (chosen or [])]
