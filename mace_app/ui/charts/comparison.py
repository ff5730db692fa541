"""Figures of several runs laid over each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mace_app.jobs import MetricsHistory
from mace_app.ui.charts.series import Number, drawable, smooth, thin
from mace_app.ui.charts.style import base_figure, colour, display_unit, empty_figure, plain_text, title_of


@dataclass(frozen=True)
class Course:
    """One run of a comparison, by the name that tells it from the others."""

    name: str
    history: MetricsHistory


def wall_time(history: MetricsHistory) -> dict[int, float]:
    """Minutes of training up to the end of each epoch; what happened between a stop and a resume does not count."""
    total, found = 0.0, {}
    for record in history.epochs:
        seconds = record.get("seconds")
        total += seconds if isinstance(seconds, int | float) else 0.0
        found[record["epoch"]] = total / 60
    return found


def comparison_figure(
    courses: Sequence[Course], key: str, *, by_time: bool = False, logarithmic: bool = True, smoothing: float = 0.0
) -> go.Figure:
    """One line a run of ``key``: ``validation/loss`` or ``<split>/<label>/<measure>``."""
    parts = key.split("/")
    split, label, measure = (parts[0], "/".join(parts[1:-1]), parts[-1]) if len(parts) > 2 else (parts[0], "", "")
    columns = [course.history.column(key) for course in courses]
    values = [value for _, column in columns for value in column]
    if not values:
        return empty_figure("None of these runs has it")
    units = {course.history.units.get(label, "") for course in courses if course.history.column(key)[0]}
    # Numbers in different units can't share an axis; then each is drawn as it is and the axis names both.
    unit = display_unit(next(iter(units)), values) if len(units) == 1 else display_unit("", [])
    shown = "Validation" if split == "validation" else "Training"
    title = f"{title_of(label)} {measure.upper()}" if label else f"{shown} loss"
    title += unit.in_brackets() if len(units) == 1 else f" ({' or '.join(sorted(units))})"
    figure = base_figure("Training time (min)" if by_time else "Epoch", title)
    for index, (course, (epochs, column)) in enumerate(zip(courses, columns, strict=True)):
        if not epochs:
            continue
        scaled: list[Number] = [None if value is None else value * unit.factor for value in column]
        times = wall_time(course.history) if by_time else {}
        places: list[float] = [times[epoch] for epoch in epochs] if by_time else list(epochs)
        x, y = thin(places, drawable(smooth(scaled, smoothing), logarithmic))
        where = "%{x:.3~g} min" if by_time else "epoch %{x}"
        figure.add_scatter(
            x=x,
            y=y,
            name=plain_text(course.name),
            mode="lines+markers" if len(x) <= 30 else "lines",
            line={"width": 2, "color": colour(index)},
            marker={"size": 5, "color": colour(index)},
            hovertemplate=f"{where}: %{{y:.4~g}} {plain_text(unit.text)}",
        )
    figure.update_yaxes(type="log" if logarithmic else "linear", nticks=3 if logarithmic else 6, tickformat="~g")
    figure.update_layout(uirevision=f"{key} {by_time} {logarithmic}", showlegend=True)
    return figure
