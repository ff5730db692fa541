"""The list of runs: filters, the queue, import, the way to a comparison."""

import streamlit as st

from mace_app.jobs import ACTIVE_STATES, JobsError, Workspace
from mace_app.ui.run_notices import note, show_notice
from mace_app.ui.run_queue import is_paused, places, queue_panel, waiting_jobs
from mace_app.ui.run_reader import RunGlance, run_glances
from mace_app.ui.run_table import run_table
from mace_app.ui.state import failure, page
from mace_app.ui.text import count, sentence_markdown

LIST_SECONDS = 2.0
FILTER_FROM = 8
PAGE_ROWS = 50
ARCHIVED = "Archived"
GROUPS = {
    "All": None,
    "Under way": ACTIVE_STATES,
    "Finished": {"finished", "stopped"},
    "Failed": {"failed", "interrupted", "damaged"},
}


def list_page(space: Workspace) -> None:
    """All runs that are not archived, newest first."""
    st.title("Runs", anchor=False)
    show_notice()
    glances = run_glances().all(space.runs())
    if not glances:
        st.markdown(
            "Nothing has been trained here yet. A run appears the moment it is started, and can be watched live."
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(page("train"), label="Train a model", icon=":material/model_training:")
            st.page_link(page("datasets"), label="Add data first", icon=":material/database:")
            _import_button(space)
        return
    group, words = _filters(space, glances)
    active = any(glance.state in ACTIVE_STATES for glance in glances)
    revive(space, any(glance.state in ("running", "stopping") for glance in glances))
    st.fragment(_list, run_every=LIST_SECONDS if active else None)(space, group, words)


def _filters(space: Workspace, glances: list[RunGlance]) -> tuple[str, str]:
    group, words = "All", ""
    groups = [*GROUPS, *([ARCHIVED] if any(glance.archived for glance in glances) else [])]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(glances) >= FILTER_FROM or ARCHIVED in groups:
            chosen = st.segmented_control("Show", groups, default="All", required=True, wrap=True, key="runs-group")
            group = chosen or "All"
            words = st.text_input("Name or tag contains", key="runs-words", width=220)
        if len(glances) > 1 and st.button("Compare", icon=":material/compare:", key="runs-compare"):
            st.query_params["compare"] = ""
            st.rerun()
        _import_button(space)
    return group, words.strip()


def _list(space: Workspace, group: str, words: str) -> None:
    waiting, paused = waiting_jobs(space), is_paused(space)
    queue_panel(space, waiting, paused)
    glances = run_glances().all(space.runs())
    shown = [glance for glance in glances if _belongs(glance, group) and glance.fits(words)]
    if not shown:
        st.caption("No run fits this choice.")
        return
    first = 0
    if len(shown) > PAGE_ROWS:
        pages = -(-len(shown) // PAGE_ROWS)
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(f"{count(len(shown), 'run')}, newest first")
            # The number of pages is in the key: a page that is no more can't be asked for.
            first = PAGE_ROWS * (st.pagination(pages, key=f"runs-page-{pages}-{group}-{words}") - 1)
    standing = places(waiting, paused)
    rows = [run_glances().row(glance, standing.get(glance.run.id, "")) for glance in shown[first : first + PAGE_ROWS]]
    opened = run_table(rows, "run-table")
    if opened is not None:
        st.query_params["run"] = opened
        st.rerun(scope="app")


def _belongs(glance: RunGlance, group: str) -> bool:
    if group == ARCHIVED or glance.archived:
        return glance.archived and group == ARCHIVED
    states = GROUPS[group]
    return states is None or glance.state in states


def revive(space: Workspace, at_work: bool) -> None:
    """Without a supervisor a waiting run would wait, and one whose process died would seem to go on, for ever.

    ``at_work``: whether a run says that it is; one that was begun on a command line has no job in the queue.
    """
    try:
        if at_work:
            space.ensure_supervisor()
        else:
            space.look_after_jobs()
    except (JobsError, OSError) as error:
        failure("The supervisor can't be started", error)


def _import_button(space: Workspace) -> None:
    if st.button("Import", icon=":material/folder_open:", key="runs-import", help="A run folder from elsewhere."):
        _import(space)


@st.dialog("Import a run")
def _import(space: Workspace) -> None:
    st.markdown(
        "The folder of a run on the machine that the app runs on, the one that holds `run.json`. It is copied as data: "
        "exported models, which are programs, stay behind and can be exported again."
    )
    with st.form("import-run", border=False):
        folder = st.text_input("Folder", placeholder="/home/me/runs/20250131-120000-ethanol")
        name = st.text_input("Name", placeholder="as in the folder", max_chars=100)
        if not st.form_submit_button("Import", type="primary"):
            return
    if not folder.strip():
        st.error("Name the folder of the run.")
        return
    try:
        imported = space.import_run(folder.strip(), name.strip() or None)
    except JobsError as error:
        failure("Nothing was imported", error)
        return
    st.session_state["run_left_out"] = {imported.run.id: imported.left_out}
    note("Imported.")
    st.query_params["run"] = imported.run.id
    st.rerun()


def show_left_out(identifier: str) -> None:
    """What an import left behind, until another run is imported or the session ends."""
    left_out = st.session_state.get("run_left_out", {}).get(identifier)
    if left_out:
        st.info("  \n".join(sentence_markdown(line) for line in left_out), icon=":material/info:")
