"""Choosing a dataset, its state, and what can be done with it as a whole."""

import streamlit as st

from mace_app.jobs import DatasetFolder, JobsError, Workspace
from mace_app.ui.dataset_add import inspect
from mace_app.ui.state import failure
from mace_app.ui.text import code, markdown

POLL_SECONDS = 1.0
STATES = {
    "none": ("not inspected", "gray"),
    "queued": ("waiting", "gray"),
    "running": ("inspecting", "blue"),
    "done": ("inspected", "green"),
    "failed": ("unreadable", "red"),
    "cancelled": ("inspection cancelled", "orange"),
}


def choose(folders: list[DatasetFolder]) -> DatasetFolder:
    """The dataset in the address, or the first; changing it changes the address."""
    names = {folder.id: _name(folder) for folder in folders}
    wanted = st.query_params.get("dataset", "")
    current = wanted if wanted in names else folders[0].id
    if st.session_state.get("datasets-chosen") != current:
        st.session_state["datasets-chosen"] = current

    def chosen() -> None:
        st.query_params["dataset"] = st.session_state["datasets-chosen"]

    identifier = st.selectbox(
        "Dataset", list(names), format_func=lambda key: names[key], key="datasets-chosen", on_change=chosen, width=420
    )
    return next(folder for folder in folders if folder.id == (identifier or current))


def _name(folder: DatasetFolder) -> str:
    try:
        return folder.name
    except JobsError:
        return folder.id


def header(space: Workspace, folder: DatasetFolder) -> None:
    """Name, state, source, and the buttons for inspecting again and deleting."""
    state = folder.inspection_state()
    words, colour = STATES[state]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(words, color=colour)  # type: ignore[arg-type]
        if state == "done":
            mapped = folder.mapping() is not None
            st.badge("mapping confirmed" if mapped else "mapping to confirm", color="green" if mapped else "orange")
        st.space("stretch")
        if state in ("done", "failed", "none", "cancelled") and st.button(
            "Inspect again" if state != "none" else "Inspect", key="datasets-inspect", icon=":material/refresh:"
        ):
            _again(space, folder)
        with st.popover("Delete", icon=":material/delete:", key="datasets-delete"):
            st.markdown(f"Delete **{markdown(_name(folder))}** from the workspace?")
            st.caption("An uploaded file goes with it; a file given by its path stays where it is. Runs stay.")
            st.button(
                "Delete this dataset", key="datasets-delete-now", type="primary", on_click=_delete, args=(space, folder)
            )
    error = st.session_state.pop("datasets-action-error", None)
    if error is not None:
        failure("That did not work", error)
    try:
        info = folder.info()
        st.caption(
            f"{code(info.original)}, "
            + ("uploaded" if info.uploaded else f"read from {code(info.path)}")
            + f", added {info.added.replace('T', ' ').split('+')[0]} UTC"
        )
    except JobsError as problem:
        failure("This dataset is damaged", problem)


def _again(space: Workspace, folder: DatasetFolder) -> None:
    try:
        inspect(space, folder)
    except JobsError as error:
        st.session_state["datasets-action-error"] = error
    st.rerun()


def _delete(space: Workspace, folder: DatasetFolder) -> None:
    try:
        space.delete_dataset(folder.id)
    except JobsError as error:
        st.session_state["datasets-action-error"] = error
        return
    st.query_params.pop("dataset", None)
    st.session_state.pop("datasets-chosen", None)
    st.toast("Dataset deleted", icon=":material/delete:")


@st.fragment(run_every=POLL_SECONDS)
def watch_inspection(space: Workspace, folder: DatasetFolder) -> None:
    """Progress of the job that reads the file; the page runs anew when it has ended."""
    state = folder.inspection_state()
    if state not in ("queued", "running"):
        st.rerun(scope="app")
    fraction, message = folder.inspection_progress()
    st.progress(min(max(fraction, 0.0), 1.0), text=markdown(message or "Waiting"))
    st.button(
        "Cancel", key="datasets-cancel", icon=":material/close:", on_click=space.cancel_inspection, args=(folder,)
    )
