"""The Runs page: one run; list and comparison stand beside it."""

import streamlit as st

from mace_app.jobs import ACTIVE_STATES, JobsError, RunFolder, RunInfo, Workspace
from mace_app.jobs.names import slug
from mace_app.options import OptionsError, simple_changes
from mace_app.ui.download_list import download_list
from mace_app.ui.metatrain_panel import metatrain_panel
from mace_app.ui.origin import origin_words
from mace_app.ui.report_tables import change_rows, check_table, error_table
from mace_app.ui.run_actions import actions, confirm_delete, suggested
from mace_app.ui.run_compare import compare_page
from mace_app.ui.run_list import list_page, revive, show_left_out
from mace_app.ui.run_live import live_charts, live_status
from mace_app.ui.slurm_panel import slurm_panel
from mace_app.ui.state import STATE_COLOURS, failure
from mace_app.ui.text import badge_label, code, count, markdown, sentence_markdown
from mace_app.ui.times import clock, file_size

LOG_LINES = 200


# Streamlit's sign of a script at work would flicker with every look at the files, and its "Stop" stops no training.
# On a narrow window the menu of a waiting run stays beside its name.
_STYLE = """<style>
[data-testid="stStatusWidget"] { display: none; }
[class*="st-key-queue-line-"] { flex-wrap: nowrap; }
[class*="st-key-queue-line-"] > :first-child { min-width: 0; flex-shrink: 1; }
[class*="st-key-queue-line-"] > :last-child { flex-shrink: 0; }
</style>"""


def runs_page(space: Workspace) -> None:
    """The run that the address names, a comparison, or the list."""
    st.html(_STYLE)
    identifier = st.query_params.get("run")
    if identifier is None:
        if "compare" in st.query_params:
            compare_page(space)
        else:
            list_page(space)
        return
    try:
        run = space.run(identifier)
    except JobsError as error:
        st.title("Runs", anchor=False)
        failure("This run can't be shown", error)
        _back()
        return
    _run_page(space, run)


def _run_page(space: Workspace, run: RunFolder) -> None:
    _back()
    try:
        info = run.info()
    except JobsError as error:
        st.title(markdown(run.id), anchor=False)
        failure("This run is damaged", error)
        if st.button("Delete", icon=":material/delete:"):
            confirm_delete(space, run, run.id)
        return
    # Each part has a container of its own, also when it is empty: what comes or goes above must not move the charts to
    # another place in the page, or the browser would make them anew and their zoom would be lost.
    with st.container():
        _header(space, run, info)
    with st.container():
        actions(space, run, info)
        if info.state in ACTIVE_STATES:
            revive(space, info.state != "queued")
    with st.container():
        _reason(info)
        suggested(space, run)
        show_left_out(run.id)
    _log(run)
    with st.container():
        live_status(run, info)
    with st.container():
        _report(run)
    with st.container():
        live_charts(run, info)
    with st.container():
        _settings(run, info)
    _files(run)


def _reason(info: RunInfo) -> None:
    if info.not_responding is not None:
        st.warning(
            f"Nothing of this run has changed since {clock(info.not_responding)}. It may be at long work; if you know "
            "that it hangs, stop it at once and resume it.",
            icon=":material/hourglass_disabled:",
        )
    if not info.reason:
        return
    if info.state in ("failed", "interrupted"):
        st.error(sentence_markdown(info.reason), icon=":material/error:")
    else:
        st.info(sentence_markdown(info.reason), icon=":material/info:")


def _back() -> None:
    if st.button("All runs", icon=":material/arrow_back:", type="tertiary", key="all-runs"):
        st.query_params.pop("run", None)
        st.rerun()


def _header(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    st.title(markdown(info.name), anchor=False)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run-header"):
        st.badge(info.state, color=STATE_COLOURS[info.state])  # type: ignore[arg-type]
        facts = [f"created {clock(info.created)}"]
        if info.device:
            facts.append(f"on {markdown(info.device)}")
        if info.parameters:
            facts.append(count(info.parameters, "parameter"))
        if info.state == "queued":
            place = _place(space, run)
            facts.append(f"number {place} in the queue" if place else "waiting to be started")
        if info.imported is not None:
            facts.append("imported")
        st.caption(" · ".join(facts), width="content")
        if info.archived:
            st.badge("archived", icon=":material/archive:", color="gray")
        for tag in info.tags:
            st.badge(badge_label(tag), color="blue")
    if info.note:
        st.caption("  \n".join(markdown(line) for line in info.note.splitlines()))
    _origin(run)


def _origin(run: RunFolder) -> None:
    """What a fine-tuned run began with."""
    try:
        sentence = origin_words(run)
    except (JobsError, OptionsError) as error:
        failure("What this run started from can't be read", error)
        return
    if sentence:
        with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run-origin"):
            st.badge("fine-tuned", icon=":material/foundation:", color="violet")
            st.caption(sentence)


def _place(space: Workspace, run: RunFolder) -> int | None:
    try:
        return space.queue.place(f"runs/{run.id}")
    except JobsError:
        return None


def _log(run: RunFolder) -> None:
    with st.expander("Log", icon=":material/terminal:", key="run-log", on_change="rerun") as log:
        if not log.open:
            return
        lines = run.log_tail(LOG_LINES)
        st.code("\n".join(lines) or "Nothing has been written yet.", language=None, height=300)
        printed = run.output_tail(LOG_LINES)
        if printed:
            st.caption("What the training process printed besides")
            st.code("\n".join(printed), language=None, height=200)


def _report(run: RunFolder) -> None:
    try:
        report = run.report()
    except JobsError as error:
        failure("The report can't be read", error)
        return
    if report is None:
        return
    st.header("Final errors", anchor=False)
    best = report.get("best_epoch")
    if best is not None:
        st.caption(f"Of the best weights, from epoch {markdown(best)}.")
    error_table(report)
    st.markdown("**The exported file against the trained model**")
    check_table(report)


def _settings(run: RunFolder, info: RunInfo) -> None:
    st.header("Settings", anchor=False)
    try:
        options = run.options()
        changes = change_rows(simple_changes(options))
    except (JobsError, OptionsError) as error:
        failure("The options can't be read", error)
        return
    if changes:
        st.markdown("Options that differ from their defaults:")
        st.table(changes, border="horizontal", hide_index=True, alt="Options that differ from their defaults")
    else:
        st.caption("Every option of model and training has its default.")
    for entry in info.data:
        structures = entry.get("structures")
        size = f", {count(structures, 'structure')}" if isinstance(structures, int) else ""
        st.caption(f"Data: {code(entry.get('path', ''))}{size}")
    with st.expander("All options as YAML", icon=":material/code:"):
        st.code(run.options_text(), language="yaml", height=400)
    metatrain_panel(options, slug(info.name, run.id), "run-metatrain")
    slurm_panel(options, slug(info.name, run.id), "run-slurm")


def _files(run: RunFolder) -> None:
    downloads = run.downloads()
    if downloads:
        st.header("Files", anchor=False)
        st.caption(f"{code(run.path)}, {file_size(sum(item.size for item in downloads))} to download.")
        download_list(run, downloads, "run-files", "Files of this run", primary="model.pt")
