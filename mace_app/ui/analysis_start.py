"""How an analysis comes about."""

import streamlit as st

from mace_app.jobs import Workspace


def start_panel(space: Workspace, first: bool) -> None:
    """What to do for one; open as long as there is none."""
    if not first:
        return
    st.markdown(
        "An analysis sets the predictions of a model beside the labels of data: how large the errors are, of which "
        "elements and groups, and which structures are the worst, in 3D with both forces.  \n"
        "There is none yet. It is made from a run with a trained model."
    )


def unfinished(space: Workspace) -> set[str]:
    """Show the analyses that are not done; the names of those that wait or are at work."""
    return set()
