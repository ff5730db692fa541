"""The moving part of a run's page: progress, figures, charts. Timers run only while the run is under way."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import streamlit as st

from mace_app.jobs import ACTIVE_STATES, JobsError, ParityLabel, Progress, RunFolder, RunInfo
from mace_app.jobs.metrics_history import MetricsHistory
from mace_app.options import OptionsError, TargetInfo
from mace_app.ui import charts
from mace_app.ui.live_plotly import live_plotly
from mace_app.ui.run_reader import (
    PHASES,
    RunReader,
    elapsed,
    epochs_text,
    left,
    progress_of,
    reader_of,
    signature,
)
from mace_app.ui.state import failure
from mace_app.ui.text import markdown

STATUS_SECONDS = 1.0
CHART_SECONDS = 2.0
SPARKLINE_POINTS = 60
CHOICE_HEIGHT = 38


def live_status(run: RunFolder, info: RunInfo) -> None:
    """Progress and cards; when the run changes its state, the whole page is drawn anew."""
    every = STATUS_SECONDS if info.state in ACTIVE_STATES else None
    st.fragment(_status, run_every=every)(run, info.state)


def live_charts(run: RunFolder, info: RunInfo) -> None:
    """Losses, errors, parity, speed."""
    active = info.state in ACTIVE_STATES
    st.fragment(_charts, run_every=CHART_SECONDS if active else None)(run, active)


def _status(run: RunFolder, drawn_state: str) -> None:
    try:
        info = run.info()
    except JobsError as error:
        failure("The run's record can't be read", error)
        return
    if info.state != drawn_state:
        st.rerun(scope="app")
    progress = progress_of(run)
    history = reader_of(run).refresh()
    with st.container():
        if info.state in ("running", "stopping"):
            _progress_bar(info, progress)
    _cards(info, progress, history)


def _progress_bar(info: RunInfo, progress: Progress | None) -> None:
    if progress is None:
        st.progress(0.0, text="Starting the training process …")
        return
    words = ["Stopping" if info.state == "stopping" else PHASES[progress.phase]]
    if progress.message:
        words.append(markdown(progress.message))
    if progress.phase == "training" and progress.step is not None and progress.steps:
        words.append(f"step {progress.step} of {progress.steps}")
    if rest := left(info, progress):
        words.append(f"about {rest} left")
    st.progress(progress.fraction or 0.0, text=" · ".join(words))


def _cards(info: RunInfo, progress: Progress | None, history: MetricsHistory) -> None:
    best = charts.best_epoch(history)
    with st.grid("auto", min_column_width=205, gap="small", key="run-errors") as grid:
        for label in history.labels:
            if chosen := charts.headline(history, label):
                with grid.cell():
                    _error_card(history, label, chosen, best)
    with st.grid("auto", min_column_width=150, gap="small", key="run-facts") as grid:
        for title, value_text, words in _facts(info, progress, history, best):
            with grid.cell():
                st.metric(title, value_text, help=words, border=True)


def _error_card(history: MetricsHistory, label: str, chosen: tuple[str, str], best: int | None) -> None:
    split, measure = chosen
    key = f"{split}/{label}/{measure}"
    unit = charts.error_unit(history, label, measure)
    value = history.value(key, best)
    course = unit.factor * history.column(key)[1]
    course = course[np.isfinite(course)]
    where = "validation" if split == "validation" else "training"
    st.metric(
        markdown(f"{charts.title_of(label)} {measure.upper()}{unit.in_brackets()}"),
        charts.three_digits(None if value is None else value * unit.factor),
        help=f"On the {where} set, best epoch ({best}). The line shows every epoch.",
        chart_data=course[:: max(1, len(course) // SPARKLINE_POINTS)].tolist() if len(course) > 1 else None,
        border=True,
    )


def _facts(
    info: RunInfo, progress: Progress | None, history: MetricsHistory, best: int | None
) -> list[tuple[str, str, str | None]]:
    facts: list[tuple[str, str, str | None]] = []
    if text := epochs_text(progress, history):
        facts.append(("Epoch", text, None))
    if best is not None:
        facts.append(("Best epoch", str(best), "The epoch whose weights are kept and exported."))
    speed = progress.structures_per_second if progress is not None else None
    if speed is None:
        speed = history.value("structures_per_second", history.last_epoch)
    if speed is not None:
        facts.append(("Structures/s", charts.three_digits(speed), None))
    if progress is not None and progress.memory_mb is not None:
        facts.append(("Memory (MB)", f"{progress.memory_mb:,.0f}".replace(",", "\u202f"), None))
    if text := elapsed(info):
        facts.append(("Time", text, "Since the start of the training process."))
    return facts


def _charts(run: RunFolder, active: bool) -> None:
    reader = reader_of(run)
    history = reader.refresh()
    if not history.count:
        if active:
            st.info("Losses, errors and parity appear here with the first epoch.", icon=":material/show_chart:")
        return
    view = _view(charts.measures(history))
    state = (history.offset, view)
    st.header("Learning", anchor=False)
    with st.grid(2, min_column_width=340, gap="medium", key="run-learning") as grid:
        with grid.cell():
            figure = reader.kept("loss", state, partial(charts.loss_figure, history, view))
            live_plotly(figure, "chart-loss", "Training and validation loss")
        for label in history.labels:
            with grid.cell():
                figure = reader.kept(f"error {label}", state, partial(charts.error_figure, history, label, view))
                live_plotly(figure, f"chart-error-{_key(label)}", f"{charts.title_of(label)}: error against epoch")
    _parity(reader)
    st.header("Course of the training", anchor=False)
    small = (
        ("chart-rate", "Learning rate", charts.learning_rate_figure),
        ("chart-shares", "Shares of the loss", charts.loss_share_figure),
        ("chart-gradient", "Gradient norm", charts.gradient_norm_figure),
        ("chart-speed", "Structures per second", charts.throughput_figure),
        ("chart-seconds", "Seconds per epoch", charts.seconds_figure),
    )
    with st.grid(2, min_column_width=340, gap="medium", key="run-speed") as grid:
        for key, label, make in small:
            with grid.cell():
                figure = reader.kept(key, history.offset, partial(make, history))
                live_plotly(figure, key, label)


def _view(measures: list[str]) -> charts.HistoryView:
    words = {"mae": "MAE", "rmse": "RMSE"}
    with st.container(horizontal=True, gap="medium", key="chart-view"):
        axis = st.segmented_control("Axis", ["Logarithmic", "Linear"], default="Logarithmic", required=True)
        measure = measures[0] if measures else "mae"
        if len(measures) > 1:
            chosen = st.segmented_control(
                "Error",
                measures,
                default=measure,
                required=True,
                format_func=words.__getitem__,
                help="Mean absolute error, or root of the mean square.",
            )
            measure = chosen or measure
        smoothing = st.slider(
            "Smoothing", 0.0, 0.95, 0.0, 0.05, width=220, help="Moving average; the pale line is what was measured."
        )
    return charts.HistoryView(axis != "Linear", smoothing, measure)


def _parity(reader: RunReader) -> None:
    try:
        parity = reader.parity()
    except JobsError as error:
        failure("The newest predictions can't be read", error)
        return
    if parity is None or not parity.labels:
        return
    st.header("Predictions on the validation set", anchor=False)
    st.caption(f"After epoch {parity.epoch}. Every point is one value; the dashed line is perfect agreement.")
    targets = reader.kept("targets", signature(reader.run.options_file), partial(_targets, reader.run))
    with st.grid(2, min_column_width=340, gap="medium", key="run-parity") as grid:
        for label, data in parity.labels.items():
            with grid.cell():
                _parity_panel(reader, label, data, targets)
            if charts.is_spectrum(data) and _scalar(targets, label):
                with grid.cell():
                    _spectrum_panel(reader, label, data)


def _parity_panel(reader: RunReader, label: str, data: ParityLabel, targets: Mapping[str, TargetInfo]) -> None:
    """One label; what has several components lets a person choose among them."""
    choices = {part.title: part for part in charts.components(label, data.reference.shape[1:], targets)}
    title, chosen = charts.title_of(label), charts.ALL
    if len(choices) > 1:
        chosen = st.selectbox(
            f"Shown of {markdown(title)}",
            list(choices),
            key=f"part-{_key(label)}",
            help="All values together, or one component; the errors in the corner are those of what is shown.",
            format_func=lambda part: f"{title}: {'all values' if part == charts.ALL else part}",
            label_visibility="collapsed",
            width=260,
        )
    else:
        st.space(CHOICE_HEIGHT)  # so that charts in a row begin at one height
    part = choices.get(chosen) or choices[charts.ALL]
    numbers = reader.kept("numbers", signature(reader.run.path / "splits.json"), partial(_numbers, reader.run))
    unit = reader.history.units.get(label, "")
    named = part.title if len(choices) > 1 and part.title != charts.ALL else ""
    figure = reader.kept(
        f"parity {label}",
        (signature(reader.run.parity_file), unit, part.title),
        lambda: charts.parity_figure(label, part.of(data), unit, numbers, part=named),
    )
    live_plotly(figure, f"parity-{_key(label)}", f"{title}: prediction against reference")


def _spectrum_panel(reader: RunReader, label: str, data: ParityLabel) -> None:
    """One structure of a target of many values, as curves."""
    numbers = reader.kept("numbers", signature(reader.run.path / "splits.json"), partial(_numbers, reader.run))
    row = charts.typical_row(data)
    place = None if row is None else int(data.structure[row])
    number = place if place is None or place >= len(numbers) else numbers[place]
    unit = reader.history.units.get(label, "")
    figure = reader.kept(
        f"spectrum {label}",
        (signature(reader.run.parity_file), unit),
        partial(charts.spectrum_figure, label, data, unit, number),
    )
    st.space(CHOICE_HEIGHT)
    live_plotly(figure, f"spectrum-{_key(label)}", f"{charts.title_of(label)}: curves of one structure")


def _scalar(targets: Mapping[str, TargetInfo], label: str) -> bool:
    return label in targets and targets[label].kind == "scalar"


def _targets(run: RunFolder) -> Mapping[str, TargetInfo]:
    """What the run's options say of its targets; empty if they can't be read."""
    try:
        return run.options().targets()
    except (JobsError, OptionsError):
        return {}


def _numbers(run: RunFolder) -> list[int]:
    """The validation structures' numbers in their data set; empty where that is not written down."""
    try:
        return list((run.splits() or {}).get("validation", []))
    except JobsError:
        return []


def _key(label: str) -> str:
    """A label as part of an element's key, which becomes a CSS class."""
    return "".join(character if character.isalnum() else "-" for character in label)
