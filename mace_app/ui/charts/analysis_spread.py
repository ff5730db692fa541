"""How the errors of an analysis are spread: histogram, cumulative curve, bars of groups; curves of one structure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mace_app.ui.charts.analysis_points import _title
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.style import NEUTRAL, PALETTE, TRAINING, VALIDATION, base_figure, empty_figure, plain_text

MOST_BINS, FEWEST_BINS = 80, 12
MOST_STEPS = 200
NO_LABELS = "There are no labels to compare with here"
Floats = NDArray[np.float64]


def error_histogram_figure(
    error: Floats, unit: str, title: str, ghost: Floats | None = None, height: int = 340
) -> Chart:
    """Counts on a logarithmic axis, so that a single far value is seen beside a million. ``customdata`` is [from, to]
    of the bar."""
    if not len(error):
        return empty_figure(NO_LABELS, height)
    figure = base_figure(f"Error{_in(unit)}", "Values", height)
    edges = histogram_edges(error)
    counts = _counts(error, edges)
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2, y=counts, width=np.diff(edges), name="this model",
        customdata=np.stack([edges[:-1], edges[1:]], axis=1), marker={"color": VALIDATION, "line": {"width": 0}},
        hovertemplate="%{customdata[0]:.4~g} to %{customdata[1]:.4~g}: %{y}<extra></extra>",
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
    )  # fmt: skip
    if ghost is not None and len(ghost):
        other = _counts(ghost, edges)
        figure.add_scatter(
            x=np.repeat(edges, 2)[1:-1], y=np.repeat(np.where(other > 0, other, 0.5), 2), mode="lines",
            hoverinfo="skip", line={"width": 2, "color": PALETTE[2]}, name="the other model",
        )  # fmt: skip
    figure.update_layout(
        showlegend=ghost is not None, bargap=0, margin={"t": 64 if ghost is not None else 40}, dragmode="select",
        title=_title(title), uirevision=f"histogram {title} {unit}",
    )  # fmt: skip
    figure.update_xaxes(tickformat="~g")
    # From half a value up, so that a single one has a height.
    figure.update_yaxes(
        type="log", range=[np.log10(0.5), np.log10(max(counts.max(), 2) * 1.6)], dtick=1, tickformat="~s"
    )
    return figure


def histogram_edges(error: Floats) -> Floats:
    """Bars for so many errors."""
    low, high = float(error.min()), float(error.max())
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or size == 0:  # all alike, but for rounding
        half = 0.5 * (size or 1.0)
        return np.array([low - half, high + half])
    return np.linspace(low, high, int(np.clip(2 * np.sqrt(len(error)), FEWEST_BINS, MOST_BINS)) + 1)


def _counts(values: Floats, edges: Floats) -> NDArray[np.int64]:
    """Of equal bars; told as a range they are counted without sorting."""
    return np.histogram(values, len(edges) - 1, (edges[0], edges[-1]))[0]


def histogram_overlay(error: Floats, chosen: Floats) -> dict[str, Any] | None:
    """Bars of the chosen errors within the histogram of all."""
    if not len(chosen):
        return None
    edges = histogram_edges(error)
    return {"bars": {"edges": edges.tolist(), "heights": _counts(chosen, edges).tolist()}}


def cumulative_figure(size: Floats, unit: str, title: str, ghost: Floats | None = None, height: int = 340) -> Chart:
    """The share of values whose absolute error is at most x."""
    if not len(size):
        return empty_figure(NO_LABELS, height)
    figure = base_figure(f"Absolute error{_in(unit)}", "Values with at most this error (%)", height)
    curves = [(size, "this model", VALIDATION, "solid"), (ghost, "the other model", PALETTE[2], "dash")]
    for values, name, colour, dash in curves:
        if values is None or not len(values):
            continue
        x, y = _shares(values)
        figure.add_scatter(
            x=x, y=y, mode="lines", name=name, line={"width": 2, "color": colour, "dash": dash},
            hovertemplate=f"%{{y:.4~g}} % below %{{x:.3~g}} {plain_text(unit)}",
        )  # fmt: skip
    positive = size[size > 0]
    figure.update_layout(
        showlegend=ghost is not None, margin={"t": 64 if ghost is not None else 40}, dragmode="select",
        title=_title(title), uirevision=f"cumulative {title} {unit}",
    )  # fmt: skip
    if len(positive):
        low, high = np.quantile(positive, 0.001), positive.max()
        figure.update_xaxes(type="log", tickformat="~g", nticks=5, range=[np.log10(low), np.log10(high * 1.1)])
    figure.update_yaxes(range=[0, 101])
    return figure


def cumulative_overlay(chosen: Floats) -> dict[str, Any] | None:
    """The curve of the chosen errors."""
    if not len(chosen):
        return None
    x, y = _shares(chosen)
    return {"line": {"x": x.tolist(), "y": y.tolist()}}


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


def _shares(size: Floats) -> tuple[Floats, Floats]:
    """Errors and the per cent of values up to them: evenly over the bulk, closer and closer at the end, where the far
    values are looked for."""
    count = len(size)
    tail = 1 - np.geomspace(0.05, min(0.05, 1 / count), 60)
    share = np.unique(np.concatenate([np.linspace(0, 0.95, min(MOST_STEPS, count + 1)), tail, [1.0]]))
    return np.quantile(size, share), 100 * share


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""
