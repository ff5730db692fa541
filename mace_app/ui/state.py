"""What every page needs: the workspace, the way to other pages, and how a failure is shown."""

from pathlib import Path

import streamlit as st

from mace_app.jobs import JobsError, Workspace
from mace_app.ui.text import sentence_markdown

# of a run, as Streamlit names colours
STATE_COLOURS = {
    "queued": "gray",
    "running": "blue",
    "stopping": "orange",
    "finished": "green",
    "stopped": "orange",
    "failed": "red",
    "interrupted": "red",
}

PAGES = Path(__file__).resolve().parents[2] / "pages"


def page(name: str) -> Path:
    """The file of a page, for `st.page_link` and `st.switch_page`; they would look beside the shell otherwise."""
    return PAGES / f"{name}.py"


def failure(title: str, error: Exception) -> None:
    """An error of ours as a sentence."""
    st.error(sentence_markdown(str(error)), title=title, icon=":material/error:")


def workspace() -> Workspace:
    """The workspace of this app. If it can't be used, the page shows why and ends here."""
    try:
        return Workspace()
    except (JobsError, OSError) as error:
        failure("The workspace can't be used", error)
        st.stop()
