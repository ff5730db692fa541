"""What the inspection found, drawn."""

import streamlit as st

from mace_app.jobs import DatasetFolder, JobsError, Workspace
from mace_app.ui.state import failure
from mace_app.ui.text import sentence_markdown


def dataset_view(space: Workspace, folder: DatasetFolder) -> None:
    """Everything about one dataset below its header."""
    state = folder.inspection_state()
    if state == "failed":
        st.error(
            sentence_markdown(folder.inspection_error() or "The inspection failed."),
            title="The file can't be used as it is",
            icon=":material/error:",
        )
        return
    if state != "done":
        st.info("Inspect the data to see what they hold.", icon=":material/search:")
        return
    try:
        inspection = folder.inspection()
    except JobsError as error:
        failure("The result of the inspection can't be read", error)
        return
    if inspection is None:
        return
