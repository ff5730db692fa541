"""Acting on runs: do it, say in the next drawing of the page what it led to."""

from collections.abc import Callable

import streamlit as st

from mace_app.jobs import JobsError
from mace_app.options import OptionsError
from mace_app.ui.text import markdown, sentence_markdown

_NOTICE = "run_notice"


def act(action: Callable[[], object], notice: str) -> None:
    """Act, remember what to say about it, and draw the page anew."""
    try:
        action()
        note(notice)
    except (JobsError, OptionsError) as error:
        st.session_state[_NOTICE] = ("error", str(error))
    st.rerun()


def note(text: str) -> None:
    """Say this once, on the page that is drawn next."""
    st.session_state[_NOTICE] = ("success", text)


def show_notice() -> None:
    """What the last action led to, once."""
    kind, text = st.session_state.pop(_NOTICE, (None, ""))
    if kind == "error":
        st.error(sentence_markdown(text), icon=":material/error:")
    elif kind == "success":
        st.toast(markdown(text), icon=":material/check:")
