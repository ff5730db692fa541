"""What a person can do with a run: stop, resume, rename, take its settings, delete."""

import streamlit as st

from mace_app.jobs import ACTIVE_STATES, RESUMABLE_STATES, JobsError, RunFolder, RunInfo, Workspace
from mace_app.options import OptionsError
from mace_app.ui.state import failure, page
from mace_app.ui.text import markdown, sentence_markdown
from mace_app.ui.wizard import load_text, session_draft

_NOTICE = "run_notice"


def actions(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    """The buttons that fit the run's state, and what the last one led to."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run-actions"):
        if info.state in ACTIVE_STATES:
            _stop_button(space, run, info)
        if info.state in RESUMABLE_STATES and st.button(
            "Resume", icon=":material/play_arrow:", type="primary", help="Go on exactly where it ended."
        ):
            _do(lambda: _resume(space, run), "Queued again.")
        if st.button("Rename", icon=":material/edit:"):
            _rename(space, run, info)
        if st.button("Use its settings", icon=":material/content_copy:", help="Open them on the Train page."):
            _take_settings(space, run, info)
        if info.state not in ACTIVE_STATES and st.button("Delete", icon=":material/delete:"):
            confirm_delete(space, run, info.name)
        if run.model_file.exists():
            st.page_link(
                page("models"), label="Open the model", icon=":material/deployed_code:", query_params={"run": run.id}
            )
    show_notice()


def _stop_button(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    if info.state == "stopping":
        st.button("Stopping …", icon=":material/stop_circle:", disabled=True)
        return
    words = (
        "Take it out of the queue."
        if info.state == "queued"
        else "Finish the step, save, and export the best weights so far. It can be resumed later."
    )
    if st.button("Stop", icon=":material/stop_circle:", help=words):
        _do(lambda: space.stop_run(run.id, "best"), "Stop requested: it finishes the step and keeps the best weights.")


def _resume(space: Workspace, run: RunFolder) -> None:
    space.resume_run(run.id)
    space.ensure_supervisor()


def _take_settings(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    if session_draft(space).values:
        _confirm_settings(space, run, info)
    else:
        _open_settings(space, run, info)


@st.dialog("Replace the settings of the Train page?")
def _confirm_settings(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    st.markdown(f"What is chosen there now gives way to the options of **{markdown(info.name)}**.")
    with st.container(horizontal=True):
        if st.button("Replace", type="primary"):
            _open_settings(space, run, info)
        if st.button("Keep what is there"):
            st.rerun()


def _open_settings(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    draft = session_draft(space)
    try:
        problems = load_text(draft, run.options_text())
    except JobsError as error:
        failure("The options can't be read", error)
        return
    if problems:
        failure("The options can't be used", OptionsError(problems))
        return
    draft.name = info.name
    draft.save()
    st.switch_page(page("train"), query_params={"step": "review"})


@st.dialog("Rename the run")
def _rename(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    with st.form("rename-run", border=False):
        name = st.text_input("Name", value=info.name, max_chars=100)
        if st.form_submit_button("Rename", type="primary"):
            if not name.strip():
                st.error("Give the run a name.")
                return
            _do(lambda: space.rename_run(run.id, name), "Renamed.")


@st.dialog("Delete the run?")
def confirm_delete(space: Workspace, run: RunFolder, name: str) -> None:
    """Ask once, then delete the folder and go back to the list."""
    st.markdown(
        f"**{markdown(name)}** goes away for good: its log, checkpoints, report and exported model. "
        "The data it was trained on stay."
    )
    with st.container(horizontal=True):
        if st.button("Delete for good", type="primary", icon=":material/delete:"):
            try:
                space.delete_run(run.id)
            except JobsError as error:
                failure("The run was not deleted", error)
                return
            st.session_state.get("run_readers", {}).pop(run.id, None)
            st.session_state[_NOTICE] = ("success", f"Deleted {name}.")
            st.query_params.pop("run", None)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()


def _do(action: object, notice: str) -> None:
    """Act, remember what to say about it, and draw the page anew."""
    try:
        action()  # type: ignore[operator]
        st.session_state[_NOTICE] = ("success", notice)
    except (JobsError, OptionsError) as error:
        st.session_state[_NOTICE] = ("error", str(error))
    st.rerun()


def show_notice() -> None:
    """What the last action led to, once."""
    kind, text = st.session_state.pop(_NOTICE, (None, ""))
    if kind == "error":
        st.error(sentence_markdown(text), icon=":material/error:")
    elif kind == "success":
        st.toast(markdown(text), icon=":material/check:")
