"""What a person can do with a run: stop, resume, go on for longer, rename, tag, take its settings, archive, delete."""

from functools import partial

import streamlit as st

from mace_app.jobs import ACTIVE_STATES, RESUMABLE_STATES, JobsError, RunFolder, RunInfo, Workspace
from mace_app.options import OptionsError
from mace_app.ui.analysis_start import analyse_run
from mace_app.ui.run_notices import act, note, show_notice
from mace_app.ui.run_queue import waiting_jobs, waiting_menu
from mace_app.ui.state import failure, page
from mace_app.ui.text import code, markdown, sentence_markdown
from mace_app.ui.wizard import load_text, session_draft

STOP_NOW, LONGER, WORDS, COMPARE = "Stop at once", "Train longer", "Tags and note", "Compare"
ARCHIVE, BRING_BACK = "Archive", "Bring back from the archive"


def actions(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    """The buttons that fit the run's state, and what the last one led to."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run-actions"):
        if info.state in ACTIVE_STATES:
            _stop_button(space, run, info)
        if info.state == "queued":
            _turn(space, run, info)
        if info.state in RESUMABLE_STATES and st.button(
            "Resume", icon=":material/play_arrow:", type="primary", help="Go on exactly where it ended."
        ):
            act(partial(_resume, space, run), "Queued again.")
        if st.button("Rename", icon=":material/edit:"):
            _rename(space, run, info)
        if st.button("Use its settings", icon=":material/content_copy:", help="Open them on the Train page."):
            _take_settings(space, run, info)
        _more(space, run, info)
        if info.state not in ACTIVE_STATES and st.button("Delete", icon=":material/delete:"):
            confirm_delete(space, run, info.name)
        analyse_run(space, run, info.state in ACTIVE_STATES)
        if run.model_file.exists():
            st.page_link(
                page("models"), label="Open the model", icon=":material/deployed_code:", query_params={"run": run.id}
            )
    show_notice()


def suggested(space: Workspace, run: RunFolder) -> None:
    """What may help a run that failed, as one click; nothing where nothing is suggested."""
    try:
        suggestion = space.suggestion_for(run.id)
    except JobsError:
        return  # the record is damaged, which is said above
    if suggestion is not None and st.button(
        f"{sentence_markdown(suggestion.text)} and go on",
        icon=":material/auto_fix_high:",
        type="primary",
        key="run-suggestion",
        help="It goes on where it was if its last checkpoint allows that; otherwise a new run is made beside it.",
    ):
        act(partial(_apply, space, run), "Queued with the change.")


def _apply(space: Workspace, run: RunFolder) -> None:
    queued = space.apply_suggestion(run.id)
    space.ensure_supervisor()
    st.query_params["run"] = queued.id


def _stop_button(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    if info.state == "stopping":
        st.button("Stopping …", icon=":material/stop_circle:", disabled=True)
        return
    if info.state == "queued":
        if st.button("Stop", icon=":material/stop_circle:", help="Take it out of the queue."):
            act(partial(space.stop_run, run.id), "Taken out of the queue.")
        return
    words = "Finish the step, save, and export the best weights so far. It can be resumed later."
    if st.button("Stop", icon=":material/stop_circle:", help=words):
        act(
            partial(space.stop_run, run.id, "best"),
            "Stop requested: it finishes the step and keeps the best weights.",
        )


def _turn(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    waiting = waiting_jobs(space)
    for number, job in enumerate(waiting, start=1):
        if job.folder == f"runs/{run.id}":
            waiting_menu(space, run.id, info.name, job, number, len(waiting))


def _more(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    over = info.state not in ACTIVE_STATES
    options = [STOP_NOW] * (info.state in ("running", "stopping")) + [LONGER] * over + [WORDS, COMPARE]
    if info.archived:
        options.append(BRING_BACK)
    elif over:
        options.append(ARCHIVE)
    chosen = st.menu_button("More", options, icon=":material/more_horiz:", key="run-more")
    if chosen == STOP_NOW:
        _confirm_now(space, run, info)
    elif chosen == LONGER:
        _longer(space, run, info)
    elif chosen == WORDS:
        _words(space, run, info)
    elif chosen == COMPARE:
        st.query_params.from_dict({"compare": run.id})
        st.rerun()
    elif chosen == ARCHIVE:
        act(partial(space.archive_run, run.id), f"Archived {info.name}.")
    elif chosen == BRING_BACK:
        act(partial(space.archive_run, run.id, False), f"{info.name} is back in the list.")


def _resume(space: Workspace, run: RunFolder) -> None:
    space.resume_run(run.id)
    space.ensure_supervisor()


@st.dialog("Stop at once?")
def _confirm_now(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    st.markdown(
        f"**{markdown(info.name)}** ends within seconds, without an export. It can be resumed from its last checkpoint."
    )
    with st.container(horizontal=True):
        if st.button("Stop at once", type="primary", icon=":material/stop_circle:", key="stop-now"):
            act(partial(space.stop_run, run.id, "now"), "Asked to end at once.")
        if st.button("Let it go on"):
            st.rerun()


@st.dialog("Train longer")
def _longer(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    try:
        asked = run.options().architecture.training.num_epochs
    except (JobsError, OptionsError) as error:
        failure("The options can't be read", error)
        return
    done = run.last_epoch()
    st.markdown(
        f"**{markdown(info.name)}** has done {'no epoch' if done is None else f'{done} epochs'} of {asked}. "
        "A schedule that depends on the length of the training follows the new one from here on."
    )
    with st.form("train-longer", border=False):
        total = st.number_input("Epochs in all", min_value=(done or 0) + 1, value=max(asked, done or 0) * 2, step=10)
        if not st.form_submit_button("Go on", type="primary", icon=":material/play_arrow:"):
            return
    try:
        space.resume_run(run.id, num_epochs=int(total))
        space.ensure_supervisor()
    except (JobsError, OptionsError) as error:
        failure("It can't go on", error)
        return
    note(f"Queued again, for {int(total)} epochs in all.")
    st.rerun()


@st.dialog("Tags and note")
def _words(space: Workspace, run: RunFolder, info: RunInfo) -> None:
    with st.form("run-words", border=False):
        tags = st.multiselect(
            "Tags",
            list(info.tags),
            default=list(info.tags),
            accept_new_options=True,
            placeholder="Write one and press Enter",
        )
        text = st.text_area("Note", value=info.note, height=160)
        if not st.form_submit_button("Save", type="primary"):
            return
    try:
        space.tag_run(run.id, tags)
        space.note_run(run.id, text)
    except JobsError as error:
        failure("Not saved", error)
        return
    note("Saved.")
    st.rerun()


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
            act(lambda: space.rename_run(run.id, name), "Renamed.")


@st.dialog("Delete the run?")
def confirm_delete(space: Workspace, run: RunFolder, name: str) -> None:
    """Ask once, then delete the folder, or move it out of the app, and go back to the list."""
    words = st.container()
    keep = st.toggle("Keep its files")
    words.markdown(
        f"**{markdown(name)}** leaves the app. Its folder goes to {code(space.root / 'removed')}, and can be imported "
        "again from there."
        if keep
        else f"**{markdown(name)}** goes away for good: its log, checkpoints, report and exported model. "
        "The data it was trained on stay."
    )
    with st.container(horizontal=True):
        label = "Remove from the app" if keep else "Delete for good"
        if st.button(label, type="primary", icon=":material/delete:", key="delete-run"):
            try:
                kept = space.delete_run(run.id, keep_files=keep)
            except JobsError as error:
                failure("The run was not deleted", error)
                return
            st.session_state.get("run_readers", {}).pop(run.id, None)
            note(f"Deleted {name}." if kept is None else f"Removed {name}; its files are in {kept}.")
            st.query_params.pop("run", None)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()
