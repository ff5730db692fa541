"""Several runs beside each other: curves, final errors, and only the options that differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from mace_app.jobs import JobsError, RunFolder, RunInfo, Workspace
from mace_app.options import OptionsError, simple_changes
from mace_app.ui import charts
from mace_app.ui.live_plotly import live_plotly
from mace_app.ui.report_tables import SPLITS, option_name, option_text
from mace_app.ui.run_reader import elapsed, reader_of, run_glances
from mace_app.ui.state import failure
from mace_app.ui.text import digits, markdown, sentence_markdown
from mace_app.ui.times import clock

MOST = 20
MISSING = "–"
LONG_BYTES = 20 << 20


@dataclass(frozen=True)
class Compared:
    """One run of the comparison; ``title`` is its name, with the time of its making where two share a name."""

    run: RunFolder
    info: RunInfo
    title: str


def compare_page(space: Workspace) -> None:
    """The runs that the address names after ``compare=``, separated by commas."""
    if st.button("All runs", icon=":material/arrow_back:", type="tertiary", key="all-runs"):
        st.query_params.clear()
        st.rerun()
    st.title("Compare runs", anchor=False)
    chosen = _choose(space)
    compared, problems = _compared(space, chosen)
    for problem in problems:
        st.warning(sentence_markdown(problem), icon=":material/warning:")
    if len(compared) < 2:
        st.caption("Choose two runs or more; their curves, errors and the options that differ appear here.")
        return
    _curves(compared)
    _errors(compared)
    _options(compared)


def _choose(space: Workspace) -> list[str]:
    known = {glance.run.id: glance for glance in run_glances().all(space.runs()) if glance.info is not None}
    named = [name for name in st.query_params.get("compare", "").split(",") if name in known][:MOST]

    def shown(identifier: str) -> str:
        info = known[identifier].info
        return f"{known[identifier].name} · {clock(info.created if info else None)}"

    chosen = st.multiselect(
        "Runs",
        list(known),
        default=named,
        format_func=shown,
        max_selections=MOST,
        key="compare-runs",
        placeholder="Choose runs",
    )
    if chosen != named:
        st.query_params["compare"] = ",".join(chosen)
    return chosen


def _compared(space: Workspace, chosen: Sequence[str]) -> tuple[list[Compared], list[str]]:
    found: list[tuple[RunFolder, RunInfo]] = []
    problems = []
    for identifier in chosen:
        try:
            run = space.run(identifier)
            found.append((run, run.info()))
        except JobsError as error:
            problems.append(str(error))
    names = [info.name for _, info in found]
    return [
        Compared(run, info, info.name if names.count(info.name) == 1 else f"{info.name}, {clock(info.created)}")
        for run, info in found
    ], problems


def _curves(compared: Sequence[Compared]) -> None:
    courses, problems = [], []
    bar = st.empty()
    for number, entry in enumerate(compared):
        reader = reader_of(entry.run)
        if reader.unread > LONG_BYTES:
            bar.progress(number / len(compared), text=f"Reading the course of {markdown(entry.title)} …")
        try:
            courses.append(charts.Course(entry.title, reader.refresh()))
        except JobsError as error:
            problems.append(error)
    bar.empty()
    for problem in problems:
        failure("The metrics of a run can't be read", problem)
    st.header("Learning", anchor=False)
    if not any(course.history.count for course in courses):
        st.caption("None of these runs has finished an epoch yet.")
        return
    with st.container(horizontal=True, gap="medium", key="compare-view"):
        against = st.segmented_control(
            "Against", ["Epoch", "Time"], default="Epoch", required=True, help="Time is that of the epochs themselves."
        )
        axis = st.segmented_control("Axis", ["Logarithmic", "Linear"], default="Logarithmic", required=True)
        smoothing = st.slider("Smoothing", 0.0, 0.95, 0.0, 0.05, width=220, help="Moving average.")
    labels = list(dict.fromkeys(label for course in courses for label in course.history.labels))
    keys = {"validation/loss": "Validation loss", "train/loss": "Training loss"}
    for label in labels:
        for course in courses:
            if headline := charts.headline(course.history, label):
                keys.setdefault(f"{headline[0]}/{label}/{headline[1]}", charts.title_of(label))
                break
    with st.grid(2, min_column_width=340, gap="medium", key="compare-learning") as grid:
        for key, title in keys.items():
            with grid.cell():
                figure = charts.comparison_figure(
                    courses, key, by_time=against == "Time", logarithmic=axis != "Linear", smoothing=smoothing
                )
                name = "".join(character if character.isalnum() else "-" for character in key)
                live_plotly(figure, f"compare-{name}", f"{title} of the chosen runs")


def _errors(compared: Sequence[Compared]) -> None:
    st.header("Final errors", anchor=False)
    reports: list[Mapping[str, Any]] = []
    for entry in compared:
        try:
            reports.append(entry.run.report() or {})
        except JobsError as error:
            failure("A report can't be read", error)
            reports.append({})
    rows = error_comparison([entry.title for entry in compared], reports)
    facts = {
        "State": [str(entry.info.state) for entry in compared],
        "Best epoch": [MISSING if e.info.best_epoch is None else str(e.info.best_epoch) for e in compared],
        "Time": [elapsed(entry.info) or MISSING for entry in compared],
        "Weights": [MISSING if e.info.parameters is None else digits(e.info.parameters) for e in compared],
    }
    for name, values in facts.items():
        rows.append({"": name, **_by_title([entry.title for entry in compared], values)})
    st.table(rows, border="horizontal", hide_index=True, alt="Final errors of the chosen runs")
    if not any(report.get("splits") for report in reports):
        st.caption("None of these runs has been evaluated; that happens at the end of a training.")


def error_comparison(titles: Sequence[str], reports: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One row a split and label, one column a run; the smallest MAE of a row is bold, where they differ."""
    places = dict.fromkeys(
        (split, label)
        for split in SPLITS
        for report in reports
        for label in (report.get("splits") or {}).get(split) or {}
    )
    rows = []
    for split, label in places:
        errors = [((report.get("splits") or {}).get(split) or {}).get(label) or {} for report in reports]
        units = {str(error.get("unit") or "") for error in errors if error}
        values = [error.get("mae") for error in errors]
        unit = charts.display_unit(units.pop(), values) if len(units) == 1 else charts.DisplayUnit("", 1.0)
        known = [value for value in values if value is not None]
        shown = []
        for value, error in zip(values, errors, strict=True):
            text = MISSING if value is None else charts.three_digits(value * unit.factor)
            if value is not None and not unit.text and error.get("unit"):
                text += f" {markdown(error['unit'])}"
            shown.append(f"**{text}**" if len(set(known)) > 1 and value == min(known) else text)
        name = f"{SPLITS[split]}: {markdown(charts.title_of(label))} MAE {markdown(unit.in_brackets())}".strip()
        rows.append({"": name, **_by_title(titles, shown)})
    return rows


def _options(compared: Sequence[Compared]) -> None:
    st.header("Options that differ", anchor=False)
    changes: list[dict[str, str]] = []
    defaults: dict[str, str] = {}
    for entry in compared:
        try:
            found = simple_changes(entry.run.options())
        except (JobsError, OptionsError) as error:
            failure("The options of a run can't be read", error)
            return
        changes.append({option_name(change): option_text(change.value) for change in found})
        defaults |= {option_name(change): option_text(change.default) for change in found}
    rows = option_comparison([entry.title for entry in compared], changes, defaults)
    if rows:
        st.table(rows, border="horizontal", hide_index=True, alt="Options that differ among the chosen runs")
    else:
        st.caption("These runs have the same options.")


def option_comparison(
    titles: Sequence[str], changes: Sequence[Mapping[str, str]], defaults: Mapping[str, str]
) -> list[dict[str, str]]:
    """One row an option that is not the same in all runs; ``changes`` are what differs from the ``defaults``."""
    rows = []
    for name in dict.fromkeys(name for found in changes for name in found):
        values = [found.get(name, defaults[name]) for found in changes]
        if len(set(values)) > 1:
            rows.append({"": name, **_by_title(titles, values)})
    return rows


def _by_title(titles: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    """Columns by the runs' names, which need not differ: then they are numbered."""
    return {
        markdown(title) if list(titles).count(title) == 1 else f"{markdown(title)} ({number})": value
        for number, (title, value) in enumerate(zip(titles, values, strict=True), start=1)
    }
