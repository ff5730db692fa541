"""How the errors of an analysis are spread: histogram, cumulative curve, bars of groups; curves of one structure."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mace_app.ui.charts.analysis_points import _title
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.style import NEUTRAL, PALETTE, TRAINING, VALIDATION, base_figure, empty_figure, plain_text

MOST_BINS, FEWEST_BINS = 80, 12
MOST_STEPS = 400
NO_LABELS = "There are no labels to compare with here"
Floats = NDArray[np.float64]


def error_histogram_figure(
    error: Floats, unit: str, title: str, chosen: Floats | None = None, ghost: Floats | None = None, height: int = 340
) -> Chart:
    """Counts on a logarithmic axis, so that a single far value is seen beside a million; ``chosen`` are the errors of
    the chosen structures. ``customdata`` is [from, to] of the bar."""
    if not len(error):
        return empty_figure(NO_LABELS, height)
    figure = base_figure(f"Error{_in(unit)}", "Values", height)
    low, high = float(error.min()), float(error.max())
    bins = int(np.clip(2 * np.sqrt(len(error)), FEWEST_BINS, MOST_BINS))
    edges = np.linspace(low, high, bins + 1) if high > low else np.array([low - 0.5, low + 0.5])
    middle, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    several = chosen is not None and len(chosen) > 0
    for values, colour, opacity, name in (
        (error, VALIDATION, 0.4 if several else 0.9, "all"),
        (chosen if several else None, TRAINING, 0.9, "chosen"),
    ):
        if values is None:
            continue
        counts = np.histogram(values, edges)[0]
        figure.add_bar(
            x=middle, y=counts, width=width, customdata=np.stack([edges[:-1], edges[1:]], axis=1), name=name,
            marker={"color": colour, "opacity": opacity, "line": {"width": 0}},
            hovertemplate=f"%{{customdata[0]:.4~g}} to %{{customdata[1]:.4~g}}: %{{y}} ({name})<extra></extra>",
        )  # fmt: skip
    if ghost is not None and len(ghost):
        counts = np.histogram(ghost, edges)[0]
        figure.add_scatter(
            x=np.repeat(edges, 2)[1:-1], y=np.repeat(np.where(counts > 0, counts, 0.5), 2), mode="lines",
            hoverinfo="skip", line={"width": 1.5, "color": PALETTE[2]}, name="the other model",
        )  # fmt: skip
    highest = max(float(np.histogram(error, edges)[0].max()), 2.0)
    figure.update_layout(
        showlegend=ghost is not None or several, barmode="overlay", bargap=0, margin={"t": 64}, dragmode="select",
        title=_title(title), uirevision=f"histogram {title} {unit}",
    )  # fmt: skip
    figure.update_xaxes(tickformat="~g")
    # From half a value up, so that a single one has a height.
    figure.update_yaxes(type="log", range=[np.log10(0.5), np.log10(highest * 1.6)], dtick=1, tickformat="~s")
    return figure


def cumulative_figure(
    size: Floats, unit: str, title: str, chosen: Floats | None = None, ghost: Floats | None = None, height: int = 340
) -> Chart:
    """The share of values whose absolute error is at most x."""
    if not len(size):
        return empty_figure(NO_LABELS, height)
    figure = base_figure(f"Absolute error{_in(unit)}", "Values with at most this error (%)", height)
    curves: list[tuple[Floats | None, str, str, str]] = [
        (size, "all", VALIDATION, "solid"),
        (chosen, "chosen", TRAINING, "solid"),
        (ghost, "the other model", PALETTE[2], "dash"),
    ]
    count = 0
    for values, name, colour, dash in curves:
        if values is None or not len(values):
            continue
        count += 1
        share = _shares(len(values))
        figure.add_scatter(
            x=np.quantile(values, share), y=100 * share, mode="lines", name=name,
            line={"width": 2, "color": colour, "dash": dash},
            hovertemplate=f"%{{y:.4~g}} % ({name}) below %{{x:.3~g}} {plain_text(unit)}<extra></extra>",
        )  # fmt: skip
    positive = size[size > 0]
    figure.update_layout(
        showlegend=count > 1, margin={"t": 64}, dragmode="select", title=_title(title),
        uirevision=f"cumulative {title} {unit}",
    )  # fmt: skip
    if len(positive):
        low, high = np.quantile(positive, 0.001), positive.max()
        figure.update_xaxes(type="log", tickformat="~g", nticks=5, range=[np.log10(low), np.log10(high * 1.1)])
    figure.update_yaxes(range=[0, 101])
    return figure


def group_bars_figure(rows: Sequence[tuple[str, float, float]], unit: str, title: str) -> Chart:
    """MAE and RMSE of each group (name, MAE, RMSE), the first on top."""
    if not rows:
        return empty_figure(NO_LABELS)
    shown = list(rows)[::-1]
    figure = base_figure(f"Error{_in(unit)}", "", max(220, 96 + 40 * len(shown)))
    names = [plain_text(name) for name, _, _ in shown]
    for place, (word, colour) in enumerate((("RMSE", NEUTRAL), ("MAE", VALIDATION))):
        figure.add_bar(
            y=names, x=[row[2 - place] for row in shown], orientation="h", name=word, marker={"color": colour},
            hovertemplate=f"%{{y}}: {word} %{{x:.3~g}} {plain_text(unit)}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        barmode="group", bargap=0.3, title=_title(title), margin={"t": 64}, legend={"traceorder": "reversed"},
    )  # fmt: skip
    figure.update_xaxes(tickformat="~g")
    figure.update_yaxes(type="category", ticksuffix=" ")
    return figure


def curves_figure(curves: Mapping[str, Floats], y_title: str, title: str, height: int = 340) -> Chart:
    """Values of a target of many against their number, from 1: "Reference", "Prediction" and others by name."""
    if not any(np.isfinite(values).any() for values in curves.values()):
        return empty_figure(NO_LABELS, height)
    figure = base_figure("Value", y_title, height)
    colours = {"Reference": TRAINING, "Prediction": VALIDATION}
    for name, values in curves.items():
        figure.add_scatter(
            x=np.arange(1, len(values) + 1), y=[float(v) if np.isfinite(v) else None for v in values], mode="lines",
            name=plain_text(name), line={"width": 2, "color": colours.get(name, PALETTE[2])},
            hovertemplate="value %{x}: %{y:.5~g}",
        )  # fmt: skip
    figure.update_layout(title=_title(title), margin={"t": 64})
    return figure


def _shares(count: int) -> Floats:
    """Evenly over the bulk, closer and closer at the end: the far values are what is looked for."""
    tail = 1 - np.geomspace(0.05, min(0.05, 1 / count), 80)
    return np.unique(np.concatenate([np.linspace(0, 0.95, min(MOST_STEPS, count + 1)), tail, [1.0]]))


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""
