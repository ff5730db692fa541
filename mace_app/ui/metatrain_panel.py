"""The options as a file for metatrain, with what that file can't carry."""

import textwrap

import streamlit as st

from mace_app.options import OptionsError, RunOptions
from mace_app.options.metatrain import to_metatrain
from mace_app.ui.state import failure
from mace_app.ui.text import count, sentence_markdown


def metatrain_panel(options: RunOptions, name: str, key: str) -> None:
    """A closed panel with sentences and a download; nothing is computed before it is opened."""
    panel = st.expander("Options for `mtt train`", icon=":material/swap_horiz:", key=key, on_change="rerun")
    if not panel.open:
        return
    with panel:
        try:
            text, sentences = to_metatrain(options)
        except OptionsError as error:
            failure("These options can't be written for metatrain", error)
            return
        if sentences:
            things = count(len(sentences), "thing is", "things are")
            st.markdown(f"metatrain reads this file as it is. {things} different there:")
            st.markdown("\n".join(f"- {sentence_markdown(sentence)}" for sentence in sentences))
        else:
            st.markdown("metatrain reads this file as it is, and it says all that is set here.")
        st.download_button(
            "Download options for mtt train",
            data=commented(text, sentences),
            file_name=f"{name}-metatrain.yaml",
            mime="application/yaml",
            icon=":material/download:",
            key=f"{key}-download",
            on_click="ignore",
        )


def commented(text: str, sentences: list[str]) -> str:
    """The YAML with the sentences as comments above it, so that they go where the file goes."""
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 100)]
    return "".join(f"# {line}\n" for line in lines) + text
