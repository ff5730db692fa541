"""Adding data: an upload, written to disk, or a path on this machine."""

from typing import BinaryIO

import streamlit as st

from mace_app.jobs import DatasetFolder, JobsError, Workspace
from mace_app.ui.server.upload_store import discard, open_upload
from mace_app.ui.state import failure

UPLOAD, PATH = "Upload a file", "Path on this machine"
_ROUND = "datasets-upload-round"
_REFUSED = "datasets-add-error"


def add_panel(space: Workspace, open_: bool) -> None:
    """A frame with both ways; an added dataset is inspected and opened at once."""
    error = st.session_state.pop(_REFUSED, None)
    with st.expander("Add data", icon=":material/add:", expanded=open_ or error is not None):
        way = st.segmented_control(
            "Where the data are", [UPLOAD, PATH], default=UPLOAD, required=True, key="datasets-way"
        )
        if way == UPLOAD:
            _upload(space)
        else:
            _path(space)
        st.caption(
            "Extended XYZ and everything else that ASE reads. Energies, forces and other labels may stand under any "
            "name: you say on this page what each one means."
        )
        if error is not None:
            failure("The data were not added", error)


def _upload(space: Workspace) -> None:
    # A new key empties the uploader.
    key = f"datasets-upload-{st.session_state.get(_ROUND, 0)}"
    upload = st.file_uploader("File with structures", key=key)
    if upload is not None:
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
        try:
            with open_upload(upload) as stream:
                _add(space, upload.name.rsplit(".", 1)[0], stream, upload.name)
            discard(upload)
        except JobsError as error:
            st.session_state[_REFUSED] = error
        st.rerun()


def _path(space: Workspace) -> None:
    with st.form("datasets-path-form", border=False):
        path = st.text_input(
            "Path of the file",
            key="datasets-path",
            placeholder="/home/me/structures.xyz",
            help="The file is read where it is and not copied. Good for large data.",
        )
        if st.form_submit_button("Add", key="datasets-path-add") and path.strip():
            _add(space, "", path.strip())
            st.rerun()


def _add(space: Workspace, name: str, source: str | BinaryIO, original: str | None = None) -> None:
    try:
        folder = space.add_dataset(name, source, original=original)
        inspect(space, folder)
    except (JobsError, OSError) as error:
        st.session_state[_REFUSED] = error
        return
    st.query_params["dataset"] = folder.id


def inspect(space: Workspace, folder: DatasetFolder) -> None:
    """Put an inspection in the queue and see that somebody works on it."""
    space.start_inspection(folder)
    space.ensure_supervisor()
