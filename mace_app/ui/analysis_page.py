"""The analysis page: predictions beside labels, and every view linked by one choice of structures."""

from functools import partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from mace_app.analysis import AnalysisError
from mace_app.analysis.findings import Finding, findings
from mace_app.jobs import ACTIVE_STATES, RunFolder, Workspace
from mace_app.ui import charts
from mace_app.ui.analysis_charts import MAIN_HEIGHT, Shown, available, chart_choice, draw, marks_of
from mace_app.ui.analysis_compare import Other, comparison, ghost_choice, ghost_values
from mace_app.ui.analysis_controls import Looked, explained, look_controls
from mace_app.ui.analysis_files import downloads, pictures
from mace_app.ui.analysis_source import Opened, Stored, newest, open_stored, stored_analyses
from mace_app.ui.analysis_start import remove, start_panel, unfinished
from mace_app.ui.analysis_state import Selection, selection_of
from mace_app.ui.analysis_structure import structure_panel
from mace_app.ui.analysis_tables import groups_table, structures_table
from mace_app.ui.analysis_values import Errors, errors_of
from mace_app.ui.live_plotly import live_marks
from mace_app.ui.run_reader import signature
from mace_app.ui.state import failure
from mace_app.ui.text import markdown, sentence_markdown

MOST_FINDINGS = 6
LOOK_SECONDS = 2.0
HELP = {
    "mae": "Mean absolute error.",
    "rmse": "Root of the mean squared error.",
    "max": "The largest absolute error.",
    "r2": "1 − squared errors over squared deviations of the reference from its mean; 1 is perfect.",
}


def analysis_page(space: Workspace) -> None:
    """The analysis that the address names, or the newest."""
    st.title("Analysis", anchor=False)
    awaited = st.query_params.get("analysis") in unfinished(space)
    found, problems = stored_analyses(space)
    live = newest(space, st.query_params.get("analysis"))
    if live is not None:
        found = [live, *found]
    for problem in problems:
        st.warning(sentence_markdown(problem), icon=":material/warning:")
    if awaited:
        st.caption("Errors and structures appear here as soon as it is done.")
        return
    if not found:
        start_panel(space, first=True)
        return
    with st.grid(2, min_column_width=340, gap="small", key="analysis-which") as grid:
        with grid.cell():
            stored = _choose(found)
        try:
            opened = open_stored(stored)
        except AnalysisError as error:
            failure("This analysis can't be shown", error)
            if stored.run is None:
                st.button("Remove it", icon=":material/delete:", on_click=partial(_remove, space, stored.id))
            start_panel(space, first=False)
            return
        with grid.cell():
            ghost = ghost_choice(found, opened)
    start_panel(space, first=False)
    if not opened.analysis.labels or not len(opened.analysis):
        st.info("This analysis holds no labels to compare with.", icon=":material/info:")
        return
    if stored.run is not None and stored.run.info().state in ACTIVE_STATES:
        st.fragment(_watch, run_every=LOOK_SECONDS)(stored.run, signature(stored.run.parity_file))
    st.fragment(_body)(space, opened, ghost)


def _remove(space: Workspace, identifier: str) -> None:
    remove(space, identifier)
    for name in ("analysis-id", "analysis-named"):
        st.session_state.pop(name, None)
    st.query_params.pop("analysis", None)
    st.session_state["analysis-removed"] = True


def _watch(run: RunFolder, drawn: object) -> None:
    """Draw the page anew when the run that trains has newer predictions."""
    if signature(run.parity_file) != drawn:
        st.rerun(scope="app")
    st.caption(":material/sync: The newest validation of a run at work; it follows the training.")


def _choose(found: list[Stored]) -> Stored:
    """By the address, which follows what is chosen; an unknown one is said."""
    by_id = {stored.id: stored for stored in found}
    named = st.query_params.get("analysis")
    if named is not None and named not in by_id:
        st.warning(
            f"There is no analysis {markdown(named)}. It may have been deleted; another one is shown.",
            icon=":material/warning:",
        )
    if named in by_id and st.session_state.get("analysis-named") != named:
        st.session_state["analysis-id"] = named
    chosen = st.selectbox(
        "Analysis", list(by_id), format_func=lambda identifier: by_id[identifier].title, key="analysis-id"
    )
    if chosen != named:
        st.query_params["analysis"] = chosen
    st.session_state["analysis-named"] = chosen
    return by_id[chosen]


def _body(space: Workspace, opened: Opened, ghost: tuple[Opened, NDArray[np.int64]] | None) -> None:
    if st.session_state.pop("analysis-removed", False):
        st.rerun(scope="app")
    analysis = opened.analysis
    selection = selection_of(opened.stored.id, len(analysis))
    looked = look_controls(opened)
    selection.rank(looked.of_structures, (looked.view, looked.largest))
    other = None if ghost is None else ghost_values(ghost[0], looked, analysis.labels[looked.view.label])
    _findings(opened, looked, selection)
    with st.container(key="analysis-numbers"):
        _numbers(looked, other.values if other is not None else None)
        st.caption(explained(analysis, looked))
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="analysis-view"):
        kinds = chart_choice(available(analysis, looked))
        picture = pictures(opened, looked)
        downloads(opened, selection)
        if opened.stored.run is None:
            with st.popover("Remove", icon=":material/delete:"):
                st.markdown("The result is deleted. Asked again, the same question is computed anew.")
                st.button(
                    "Remove for good",
                    type="primary",
                    key="analysis-delete",
                    on_click=partial(_remove, space, opened.stored.id),
                )
    shown = Shown(analysis, looked, None if other is None else other.values, selection, picture)
    with st.container(key="analysis-views"):
        st.fragment(_views)(space, opened, ghost, shown, other, kinds)


def _views(
    space: Workspace,
    opened: Opened,
    ghost: tuple[Opened, NDArray[np.int64]] | None,
    shown: Shown,
    other: Other | None,
    kinds: list[str],
) -> None:
    """All that follows the choice of structures, and nothing else: it runs again at each. What a person waits for is
    sent first, wherever it stands: the structure, the list, the marks."""
    with st.grid(2, min_column_width=340, gap="medium", key="analysis-main") as main:
        first = main.cell() if kinds else None
        with main.cell():
            structure_panel(space, opened, shown, ghost)
    more = st.grid(2, min_column_width=340, gap="medium", key="analysis-more") if len(kinds) > 1 else None
    st.header("Structures", anchor=False)
    structures_table(opened.analysis, shown)
    live_marks(marks_of(kinds, shown), shown.selection.changes, "analysis-marks")
    if first is not None:
        with first:
            draw(kinds[0], shown, MAIN_HEIGHT)
            st.caption(
                "Draw around points to choose their structures, or click one; Shift adds, Alt takes away, a double "
                "click chooses none."
            )
    if more is not None:
        for kind in kinds[1:]:
            with more.cell():
                draw(kind, shown)
    st.header("Groups", anchor=False)
    groups_table(opened.analysis, shown)
    if ghost is not None and other is not None:
        comparison(opened, ghost, shown, other)


def _findings(opened: Opened, looked: Looked, selection: Selection) -> None:
    found = _found(opened)
    if not found:
        return
    with st.container(key="analysis-findings", gap="small"):
        st.markdown("**What stands out**")
        for number, finding in enumerate(found[:MOST_FINDINGS]):
            st.button(
                markdown(finding.text),
                icon=":material/lightbulb:",
                type="tertiary",
                key=f"analysis-finding-{number}",
                on_click=partial(_show, finding, looked, selection),
                help="Choose these structures.",
            )


def _numbers(looked: Looked, other: "object") -> None:
    errors = errors_of(looked.values)
    second = errors_of(other) if other is not None else None  # type: ignore[arg-type]
    if errors is None:
        st.info("No structure here has a label for this.", icon=":material/info:")
        return
    with st.grid("auto", min_column_width=165, gap="small", key="analysis-errors") as grid:
        for title, name, unit in (
            ("MAE", "mae", True),
            ("RMSE", "rmse", True),
            ("Largest", "max", True),
            ("R²", "r2", False),
        ):
            with grid.cell():
                _card(title, name, errors, second, looked.unit if unit else "")
        with grid.cell():
            st.metric("Values", f"{errors.count:,}".replace(",", "\u202f"), border=True)


def _card(title: str, name: str, errors: Errors, second: Errors | None, unit: str) -> None:
    write = charts.r_squared if name == "r2" else charts.three_digits
    value = getattr(errors, name)
    delta = None
    if second is not None and getattr(second, name) is not None:
        delta = f"other: {write(getattr(second, name))}"
    st.metric(
        markdown(f"{title} ({unit})" if unit else title),
        write(value),
        delta=delta,
        delta_color="off",
        delta_arrow="off",
        help=HELP[name],
        border=True,
    )


def _show(finding: Finding, looked: Looked, selection: Selection) -> None:
    if finding.label and finding.label != looked.view.label:
        st.session_state["analysis-label"] = finding.label
    selection.choose(finding.structures, looked.of_structures)


def _found(opened: Opened) -> list[Finding]:
    return _findings_of(opened.key, opened)


@st.cache_resource(show_spinner=False, max_entries=16)
def _findings_of(key: object, _opened: Opened) -> list[Finding]:
    return findings(_opened.analysis)
