"""Figures of several runs laid over each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mace_app.jobs.metrics_history import MetricsHistory
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.series import Floats, drawable, smooth, thin
from mace_app.ui.charts.style import (
    PALETTE,
    base_figure,
    colour,
    display_unit,
    empty_figure,
    plain_text,
    smallest,
    title_of,
)

# Of more runs than there are colours, the later ones are told apart by these.
DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Course:
    """One run of a comparison, by the name that tells it from the others."""

    name: str
    history: MetricsHistory


def wall_time(history: MetricsHistory) -> tuple[NDArray[np.int64], Floats]:
    """Epochs, and the minutes of training up to their ends; what happened between a stop and a resume doesn't count."""
    epochs, _ = history.column("epoch")
    timed, seconds = history.column("seconds")
    spent = np.zeros(len(epochs))
    spent[np.searchsorted(epochs, timed)] = np.nan_to_num(seconds)
    return epochs, np.cumsum(spent) / 60


def comparison_figure(
    courses: Sequence[Course], key: str, *, by_time: bool = False, logarithmic: bool = True, smoothing: float = 0.0
) -> Chart:
    """One line a run of ``key``: ``validation/loss`` or ``<split>/<label>/<measure>``."""
    parts = key.split("/")
    split, label, measure = (parts[0], "/".join(parts[1:-1]), parts[-1]) if len(parts) > 2 else (parts[0], "", "")
    columns = [course.history.column(key) for course in courses]
    if not any(len(epochs) for epochs, _ in columns):
        return empty_figure("None of these runs has it")
    units = {course.history.units.get(label, "") for course in courses if len(course.history.column(key)[0])}
    # Numbers in different units can't share an axis; then each is drawn as it is and the axis names both.
    sizes = smallest(*(values for _, values in columns))
    unit = display_unit(next(iter(units)), sizes) if len(units) == 1 else display_unit("", [])
    shown = "Validation" if split == "validation" else "Training"
    title = f"{title_of(label)} {measure.upper()}" if label else f"{shown} loss"
    title += unit.in_brackets() if len(units) == 1 else f" ({' or '.join(sorted(units))})"
    figure = base_figure("Training time (min)" if by_time else "Epoch", title)
    for index, (course, (epochs, column)) in enumerate(zip(courses, columns, strict=True)):
        if not len(epochs):
            continue
        places: NDArray[Any] = epochs
        if by_time:
            known, minutes = wall_time(course.history)
            places = minutes[np.searchsorted(known, epochs)]
        x, y = thin(places, drawable(smooth(column * unit.factor, smoothing), logarithmic))
        where = "%{x:.3~g} min" if by_time else "epoch %{x}"
        figure.add_scatter(
            x=x,
            y=y,
            name=plain_text(course.name),
            mode="lines+markers" if len(x) <= 30 else "lines",
            line={"width": 2, "color": colour(index), "dash": DASHES[index // (len(PALETTE) - 1) % len(DASHES)]},
            marker={"size": 5, "color": colour(index)},
            hovertemplate=f"{where}: %{{y:.4~g}} {plain_text(unit.text)}",
        )
    figure.update_yaxes(type="log" if logarithmic else "linear", nticks=3 if logarithmic else 6, tickformat="~g")
    figure.update_layout(uirevision=f"{key} {by_time} {logarithmic}", showlegend=True)
    return figure
