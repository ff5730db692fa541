"""The moving part of a card: state, progress, what can be done, and what went wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from mace_app.jobs import FoundationFolder, FoundationProgress, JobsError, Workspace
from mace_app.published import MIT
from mace_app.ui.foundation_add import ASL_ADDRESS, start
from mace_app.ui.state import failure, page
from mace_app.ui.text import code, count, markdown, sentence_html
from mace_app.ui.times import duration, file_size

RUNNING_SECONDS, WAITING_SECONDS = 1.0, 2.0
ACTIVE = ("queued", "running")
PHASES = {
    "waiting": "Waiting",
    "downloading": "Downloading",
    "reading": "Reading the file",
    "rebuilding": "Rebuilding the original MACE",
    "building": "Building the metatomic model",
    "saving": "Saving",
    "comparing": "Comparing with the original MACE",
    "done": "Done",
}


@dataclass(frozen=True)
class Status:
    """What a card was drawn from: when it differs, the page is drawn anew. ``error`` is None or a sentence."""

    state: str
    facts: Mapping[str, Any] | None
    exports: tuple[tuple[str, bool], ...]
    error: str | None = None

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


def status_of(folder: FoundationFolder) -> Status:
    """Damaged folders have the state ``damaged`` and a sentence."""
    try:
        facts = folder.facts()
        exports = tuple((export.head, export.path is not None) for export in folder.exports())
        state = folder.state()
        return Status(state, facts, exports, folder.error() if state == "failed" else None)
    except JobsError as error:
        return Status("damaged", None, (), str(error))


def badge_of(status: Status) -> tuple[str, str]:
    """State in words, and its colour."""
    if status.state == "queued":
        return "waiting", "gray"
    if status.state == "running":
        return "at work", "blue"
    if any(not there for _, there in status.exports):
        return "disagrees", "red"
    if status.state in ("failed", "damaged"):
        return status.state, "red"
    if status.state == "cancelled":
        return "cancelled", "orange"
    if status.exports:
        return "exported", "green"
    return ("choose heads", "orange") if status.facts is not None else ("not read yet", "gray")


def card_head(space: Workspace, folder: FoundationFolder, opened: bool, key: str) -> Mapping[str, Any] | None:
    """Draw the head, again and again while a job waits or runs. Returns the facts, if the file has been read."""
    status = status_of(folder)
    every = {"queued": WAITING_SECONDS, "running": RUNNING_SECONDS}.get(status.state)
    st.fragment(_head, run_every=every)(space, folder, status, opened, key)
    return status.facts


def _head(space: Workspace, folder: FoundationFolder, drawn: Status, opened: bool, key: str) -> None:
    status = status_of(folder)
    if status != drawn:
        st.rerun(scope="app")
    words, colour = badge_of(status)
    name = name_of(folder, status.facts)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(words, color=colour)  # type: ignore[arg-type]
        if opened:
            st.header(markdown(name), anchor=False, width="content")
        # A link to the page one is on already would leave the address as it was.
        elif st.button(markdown(name), key=f"{key}:open", type="tertiary", help="Open"):
            st.query_params["foundation"] = folder.id
            st.rerun(scope="app")
        licence_badge(folder, status.facts)
        if status.facts is not None and not opened:
            st.caption(_summary(status), width="content")
        st.space("stretch")
        if opened and status.facts is not None:
            st.page_link(
                page("train"),
                label="Fine-tune this",
                icon=":material/model_training:",
                query_params={"foundation": folder.id},
                help="Begin a training from this model, or put new heads on top of it.",
            )
        _buttons(space, folder, status, name, key)
    if status.state == "running":
        _progress(folder, several=len((status.facts or {}).get("heads", ())) > 1)
    if status.error is not None:
        st.html(f'<p class="field-error" role="alert">{sentence_html(status.error)}</p>')
    error = st.session_state.pop(f"{key}:error", None)
    if error is not None:
        failure("That did not work", error)


def name_of(folder: FoundationFolder, facts: Mapping[str, Any] | None) -> str:
    """The title of a published file, otherwise the name a person gave."""
    try:
        return str((facts or {}).get("title") or folder.name)
    except JobsError:
        return folder.id


def licence_badge(folder: FoundationFolder, facts: Mapping[str, Any] | None) -> None:
    """As far as the file's name tells it."""
    try:
        published = folder.published
    except JobsError:
        published = None
    licence = (facts or {}).get("licence") or (published.licence if published else None)
    if licence == MIT:
        st.badge("MIT licence", color="gray", icon=":material/license:")
    elif licence:
        st.markdown(
            f":orange-badge[:material/license: [academic use only (ASL)]({ASL_ADDRESS})]",
            width="content",
            help=markdown(licence),
        )
    elif facts is not None:
        st.badge(
            "licence not known",
            color="gray",
            icon=":material/license:",
            help="The name of the file is not one of the published ones. Ask whoever gave it to you.",
        )


def _summary(status: Status) -> str:
    facts = status.facts or {}
    return " · ".join((count(len(facts["heads"]), "head"), count(len(facts["elements"]), "element")))


def _buttons(space: Workspace, folder: FoundationFolder, status: Status, name: str, key: str) -> None:
    if status.active:
        if folder.cancelled():
            st.button("Cancelling …", key=f"{key}:cancel", icon=":material/close:", disabled=True)
        else:
            _button("Cancel", ":material/close:", f"{key}:cancel", key, name, lambda: space.cancel_foundation(folder))
        return
    if status.state in ("failed", "cancelled", "new") and (status.facts is None or len(status.facts["heads"]) == 1):
        _button("Try again", ":material/refresh:", f"{key}:again", key, name, lambda: start(space, folder))
    with st.popover("Remove", icon=":material/delete:", key=f"{key}:remove"):
        st.markdown(f"Remove **{markdown(name)}** and its exports from the workspace?")
        st.caption("A file given by its path, and one in mace-torch's cache, stay where they are.")
        _button("Remove for good", ":material/delete:", f"{key}:delete", key, name, lambda: _delete(space, folder))


def _button(label: str, icon: str, key: str, card: str, name: str, action: Callable[[], None]) -> None:
    """Act, and draw the whole page anew; an error of ours is shown on the card."""
    if st.button(label, key=key, icon=icon, help=f"{label}: {markdown(name)}"):
        try:
            action()
        except (JobsError, OSError) as error:
            st.session_state[f"{card}:error"] = error
        st.rerun(scope="app")


def _delete(space: Workspace, folder: FoundationFolder) -> None:
    space.delete_foundation(folder.id)
    if st.query_params.get("foundation") == folder.id:
        st.query_params.pop("foundation", None)


def _progress(folder: FoundationFolder, several: bool) -> None:
    try:
        progress = folder.progress()
    except JobsError:
        progress = FoundationProgress()  # it is written anew within a second
    st.progress(min(max(progress.fraction, 0.0), 1.0), text=progress_words(progress, several))


def progress_words(progress: FoundationProgress, several: bool = True) -> str:
    """Phase, head (of ``several``), how much, and what is left: ``Downloading · 12 MB of 40 MB · about 8 s left``."""
    words = [PHASES[progress.phase]]
    if several and progress.head is not None:
        words.append(f"head {code(progress.head)}")
    if progress.total and progress.done is not None:
        if progress.phase == "downloading":
            words.append(f"{file_size(round(progress.done))} of {file_size(round(progress.total))}")
        elif progress.phase == "comparing":
            words.append(f"{round(progress.done)} of {count(round(progress.total), 'structure')}")
    if progress.eta_seconds is not None:
        words.append(f"about {duration(progress.eta_seconds)} left")
    return " · ".join(words)


def revive(space: Workspace, folders: list[FoundationFolder]) -> None:
    """Without a supervisor a waiting job would wait for ever."""
    if any(status_of(folder).active for folder in folders):
        try:
            space.ensure_supervisor()
        except (JobsError, OSError) as error:
            failure("The supervisor can't be started", error)
