"""The queue on the Runs page: its pause, and what a person can do with runs that wait."""

from functools import partial

import streamlit as st

from mace_app.jobs import Job, JobsError, RunFolder, Workspace
from mace_app.jobs.queue import Move
from mace_app.options import OptionsError
from mace_app.ui.device_choice import HELP, device_names, device_title
from mace_app.ui.run_notices import act
from mace_app.ui.state import failure
from mace_app.ui.text import badge_label, code, count, markdown

MOST_SHOWN = 10
MOVES: dict[str, Move] = {"Start next": "first", "Move up": "up", "Move down": "down", "Move to the end": "last"}
HOLD, RELEASE, DEVICE = "Hold", "Let it go", "Device …"


def waiting_jobs(space: Workspace) -> list[Job]:
    """The trainings that wait, in order; empty, and said, where the queue can't be read."""
    try:
        return [job for job in space.queue.active() if job.state == "queued" and job.kind == "train"]
    except JobsError as error:
        failure("The queue can't be read", error)
        return []


def places(waiting: list[Job], paused: bool) -> dict[str, str]:
    """What the list says of each waiting run, by the run's id."""
    found = {}
    for number, job in enumerate(waiting, start=1):
        words = "On hold" if job.held else "Queue paused" if paused else "Waiting"
        found[job.folder.rpartition("/")[2]] = f"{words}, number {number}"
    return found


def is_paused(space: Workspace) -> bool:
    try:
        return space.queue.paused
    except JobsError:
        return False  # that it can't be read is said beside the waiting runs


def queue_panel(space: Workspace, waiting: list[Job], paused: bool) -> None:
    """Nothing where nothing waits and nothing is paused."""
    if not waiting and not paused:
        return
    with st.container(border=True, key="run-queue", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**Queue** · {count(len(waiting), 'run')} waiting" + (" · paused" if paused else ""))
            _pause_button(space, paused)
        if paused:
            st.caption("No waiting run starts until the queue goes on. What runs goes on.")
        for number, job in enumerate(waiting[:MOST_SHOWN], start=1):
            _line(space, job, number, len(waiting))
        if len(waiting) > MOST_SHOWN:
            st.caption(f"{len(waiting) - MOST_SHOWN} more wait behind these; each can be moved on its own page.")


def _pause_button(space: Workspace, paused: bool) -> None:
    if paused:
        if st.button("Let the queue go on", icon=":material/play_arrow:", type="primary", key="queue-go-on"):
            act(lambda: _started(space, partial(space.pause_queue, False)), "The queue goes on.")
    elif st.button("Pause", icon=":material/pause:", key="queue-pause", help="Start no more waiting runs."):
        act(space.pause_queue, "The queue is paused; what runs goes on.")


def _line(space: Workspace, job: Job, number: int, of: int) -> None:
    run = RunFolder(space.root / job.folder)
    try:
        name = run.info().name
    except JobsError:
        name = run.id
    with st.container(
        horizontal=True,
        vertical_alignment="center",
        horizontal_alignment="distribute",
        gap="small",
        key=f"queue-line-{run.id}",
    ):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            st.markdown(f"{number}. {markdown(name)}")
            if job.held:
                st.badge("on hold", icon=":material/pause:", color="orange")
            if job.requested_device not in (None, "auto"):
                st.badge(badge_label(job.requested_device), color="gray")
        waiting_menu(space, run.id, name, job, number, of)


def waiting_menu(space: Workspace, identifier: str, name: str, job: Job, number: int, of: int) -> None:
    """What can be done with one that waits; the menu says only what would change something."""
    options = [word for word, where in MOVES.items() if (number > 1 if where in ("first", "up") else number < of)]
    options += [RELEASE if job.held else HOLD, DEVICE]
    chosen = st.menu_button(
        "Queue",
        options,
        icon=":material/low_priority:",
        key=f"queue-{identifier}",
        help=f"Turn and device of {markdown(name)}.",
    )
    if chosen in MOVES:
        act(partial(space.move_run, identifier, MOVES[chosen]), f"Moved {name}.")
    elif chosen == HOLD:
        act(partial(space.hold_run, identifier), f"{name} waits until you let it go.")
    elif chosen == RELEASE:
        act(lambda: _started(space, partial(space.hold_run, identifier, False)), f"{name} starts when its turn comes.")
    elif chosen == DEVICE:
        _choose_device(space, identifier, name, job.requested_device or "auto")


@st.dialog("Where shall it run?")
def _choose_device(space: Workspace, identifier: str, name: str, now: str) -> None:
    st.markdown(f"**{markdown(name)}** waits for {code(now)}.")
    names = device_names(now)
    device = st.selectbox(
        "Device", names, index=names.index(now), format_func=device_title, accept_new_options=True, help=HELP
    )
    if st.button("Change", type="primary") and device is not None:
        try:
            space.set_run_device(identifier, device)
        except (JobsError, OptionsError) as error:
            failure("The device was not changed", error)
            return
        st.rerun()


def _started(space: Workspace, change: partial[None]) -> None:
    change()
    space.ensure_supervisor()
