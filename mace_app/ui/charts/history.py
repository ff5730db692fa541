"""Figures of how a training went, from the records of ``metrics.jsonl``."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mace_app.jobs.metrics_history import MetricsHistory
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.series import Floats, drawable, smooth, thin
from mace_app.ui.charts.style import (
    NEUTRAL,
    PALETTE,
    TRAINING,
    VALIDATION,
    DisplayUnit,
    base_figure,
    colour,
    display_unit,
    empty_figure,
    plain_text,
    smallest,
    title_of,
)

NOTHING_YET = "Appears with the first epoch"


@dataclass(frozen=True)
class HistoryView:
    """How a person wants to look at it. ``smoothing`` from 0 to just below 1."""

    logarithmic: bool = True
    smoothing: float = 0.0
    measure: str = "mae"


def best_epoch(history: MetricsHistory) -> int | None:
    """The newest epoch marked best; the untrained epoch 0 is never it."""
    epochs, marked = history.column("best")
    found = epochs[(marked == 1) & (epochs > 0)]
    return int(found[-1]) if len(found) else None


def stage_two_epoch(history: MetricsHistory) -> int | None:
    """The first recorded epoch of stage two."""
    epochs, stages = history.column("stage")
    found = epochs[stages == 2]
    return int(found[0]) if len(found) else None


def headline(history: MetricsHistory, label: str) -> tuple[str, str] | None:
    """Which error stands for the label: (split, measure), MAE on the validation set where there is one."""
    choices = [(split, measure) for split in ("validation", "train") for measure in ("mae", "rmse")]
    return next((choice for choice in choices if len(history.column("/".join((choice[0], label, choice[1])))[0])), None)


def measures(history: MetricsHistory) -> list[str]:
    """Which of ``mae`` and ``rmse`` were written."""
    keys = {key.rpartition("/")[2] for key in history.keys if key.count("/") > 1}
    return [measure for measure in ("mae", "rmse") if measure in keys]


def loss_figure(history: MetricsHistory, view: HistoryView) -> Chart:
    """Training and validation loss against epochs; lines are cut where stage two changes what the loss means."""
    figure = _training_and_validation(history, view, "loss", "Loss", DisplayUnit("", 1.0))
    cut = stage_two_epoch(history)
    if cut is None:
        return figure
    for trace in figure.traces:
        place = bisect_left(trace["x"], cut)
        if 0 < place < len(trace["x"]) and trace["mode"] != "markers":
            trace["x"] = [*trace["x"][:place], cut - 0.5, *trace["x"][place:]]
            trace["y"] = [*trace["y"][:place], None, *trace["y"][place:]]
    return figure


def error_figure(history: MetricsHistory, label: str, view: HistoryView) -> Chart:
    """Error of one label in its unit, electronvolts as meV where the errors are small."""
    name = f"{label}/{view.measure}"
    unit = error_unit(history, label, view.measure)
    return _training_and_validation(history, view, name, f"{title_of(label)} {view.measure.upper()}", unit)


def error_unit(history: MetricsHistory, label: str, measure: str = "mae") -> DisplayUnit:
    """The unit that suits the smallest error so far, of either split."""
    values = [history.column(f"{split}/{label}/{measure}")[1] for split in ("train", "validation")]
    return display_unit(history.units.get(label, ""), smallest(*values))


def learning_rate_figure(history: MetricsHistory) -> Chart:
    return _single(history, "learning_rate", "Learning rate", PALETTE[2], logarithmic=True)


def gradient_norm_figure(history: MetricsHistory) -> Chart:
    """Length of the gradient before clipping, mean over the epoch."""
    return _single(history, "gradient_norm", "Gradient norm", PALETTE[3], logarithmic=True)


def throughput_figure(history: MetricsHistory) -> Chart:
    return _single(history, "structures_per_second", "Structures per second", PALETTE[6])


def seconds_figure(history: MetricsHistory) -> Chart:
    return _single(history, "seconds", "Seconds per epoch", PALETTE[4])


def loss_share_figure(history: MetricsHistory) -> Chart:
    """What part of the training loss each label makes up, in per cent, stacked."""
    labels = [label for label in history.labels if len(history.column(f"loss_share/{label}")[0])]
    if not labels:
        return empty_figure(NOTHING_YET, 240)
    figure = base_figure("Epoch", "Share of the loss (%)", 300 if len(labels) > 3 else 240)
    for index, label in enumerate(labels):
        epochs, shares = history.column(f"loss_share/{label}")
        x, y = thin(epochs, 100 * shares)
        figure.add_scatter(
            x=x,
            y=y,
            name=plain_text(title_of(label)),
            stackgroup="share",
            mode="lines",
            line={"width": 1, "color": colour(index)},
            hovertemplate="epoch %{x}: %{y:.1f} %",
        )
    figure.update_yaxes(range=[0, 100])
    _whole_epochs(figure, history)
    _mark_stage_two(figure, history)
    return figure


def _training_and_validation(
    history: MetricsHistory, view: HistoryView, name: str, title: str, unit: DisplayUnit
) -> Chart:
    splits = (("train", "Training", TRAINING), ("validation", "Validation", VALIDATION))
    columns = {split: history.column(f"{split}/{name}") for split, _, _ in splits}
    if not any(len(epochs) for epochs, _ in columns.values()):
        return empty_figure(NOTHING_YET)
    figure = base_figure("Epoch", title + unit.in_brackets())
    for split, shown, line_colour in splits:
        epochs, values = columns[split]
        scaled = values * unit.factor
        if not len(scaled):
            continue
        if view.smoothing > 0:
            _add_line(figure, epochs, scaled, f"{shown}, as measured", line_colour, view.logarithmic, pale=True)
        _add_line(figure, epochs, smooth(scaled, view.smoothing), shown, line_colour, view.logarithmic, unit=unit)
    _mark_best(figure, history, f"validation/{name}", unit)
    _mark_stage_two(figure, history)
    figure.update_yaxes(type="log" if view.logarithmic else "linear", nticks=_ticks(view.logarithmic), tickformat="~g")
    _whole_epochs(figure, history)
    # A zoom is in the axis' units; it can't outlive a change of them.
    figure.update_layout(uirevision=f"{name} {unit.text} {view.logarithmic}")
    return figure


def _add_line(
    figure: Chart,
    epochs: NDArray[np.int64],
    values: Floats,
    name: str,
    line_colour: str,
    logarithmic: bool,
    unit: DisplayUnit | None = None,
    pale: bool = False,
) -> None:
    x, y = thin(epochs, drawable(values, logarithmic))
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers" if len(x) <= 30 else "lines",
        line={"width": 1 if pale else 2, "color": line_colour},
        marker={"size": 5, "color": line_colour},
        opacity=0.35 if pale else 1.0,
        showlegend=not pale,
        hoverinfo="skip" if pale else None,
        hovertemplate=None if pale else f"epoch %{{x}}: %{{y:.4~g}} {plain_text(unit.text) if unit else ''}",
    )


def _whole_epochs(figure: Chart, history: MetricsHistory) -> None:
    """Of a few epochs each has its tick; more are left to plotly, which then has no room for fractions."""
    if history.last_epoch is not None and history.last_epoch <= 8:
        figure.update_xaxes(dtick=1)


def _mark_best(figure: Chart, history: MetricsHistory, key: str, unit: DisplayUnit) -> None:
    epoch = best_epoch(history)
    if epoch is None:
        return
    value = history.value(key, epoch)
    figure.add_vline(epoch, line={"width": 1, "dash": "dot", "color": NEUTRAL})
    if value is not None and value > 0:
        figure.add_scatter(
            x=[epoch],
            y=[value * unit.factor],
            name=f"Best: epoch {epoch}",
            mode="markers",
            marker={"symbol": "star", "size": 12, "color": PALETTE[2]},
            hovertemplate="best epoch %{x}: %{y:.4~g}" + (f" {plain_text(unit.text)}" if unit.text else ""),
        )


def _mark_stage_two(figure: Chart, history: MetricsHistory) -> None:
    """A line before its first epoch: the loss means something else from there."""
    epoch = stage_two_epoch(history)
    if epoch is None:
        return
    line = {"width": 1, "dash": "dash", "color": PALETTE[3]}
    figure.add_vline(epoch - 0.5, line, "stage two", font={"color": PALETTE[3]})


def _single(history: MetricsHistory, key: str, title: str, line_colour: str, logarithmic: bool = False) -> Chart:
    epochs, values = history.column(key)
    if len(epochs) and epochs[0] == 0:  # the untrained model: it took no steps
        epochs, values = epochs[1:], values[1:]
    if not len(epochs):
        return empty_figure(NOTHING_YET, 240)
    figure = base_figure("Epoch", title, 240)
    _whole_epochs(figure, history)
    _add_line(figure, epochs, values, title, line_colour, logarithmic)
    _mark_stage_two(figure, history)
    figure.update_layout(showlegend=False, margin={"t": 30})
    figure.update_yaxes(
        type="log" if logarithmic else "linear", nticks=_ticks(logarithmic), tickformat="~g", rangemode="tozero"
    )
    return figure


def _ticks(logarithmic: bool) -> int:
    """What makes plotly label 1, 2, 5 on a logarithmic axis of one or two decades, not every digit."""
    return 3 if logarithmic else 6
