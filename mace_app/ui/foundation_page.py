"""The Foundation models page: files added, each a card with its state; the one that the address names is open."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from mace_app.jobs import FoundationFolder, JobsError, Workspace
from mace_app.ui.foundation_add import add_panel
from mace_app.ui.foundation_export import export_form
from mace_app.ui.foundation_facts import facts_details, facts_grid
from mace_app.ui.foundation_live import card_head, revive
from mace_app.ui.foundation_results import download_links, results
from mace_app.ui.state import failure
from mace_app.ui.text import code, markdown
from mace_app.ui.times import clock

PER_PAGE = 20
# Streamlit's sign of a script at work would flicker with every look at the files.
_STYLE = """<style>
[data-testid="stStatusWidget"] { display: none; }
.st-key-foundation-add [data-testid="stFileUploaderDropzone"] { border-style: dashed; align-items: center; }
.st-key-foundation-first [data-testid="stFileUploaderDropzone"] { min-height: 7rem; }
.st-key-foundation-list [data-testid="stTable"] td * { white-space: nowrap; }
.st-key-foundation-list [data-testid="stBaseButton-tertiary"] { font-weight: 550; }
</style>"""


def foundation_page(space: Workspace) -> None:
    """Ways in, then every file, newest first."""
    st.html(_STYLE)
    st.title("Foundation models", anchor=False)
    folders = newest_first(space.foundations())
    st.markdown(
        "A published MACE file in, a metatomic file for ASE, LAMMPS and i-PI out, without any settings. The file is "
        "read as data, nothing in it is executed, and the result is yours once its energies, forces and stress agree "
        "with the original MACE."
    )
    with st.container(key="foundation-more" if folders else "foundation-first"):
        add_panel(space)
    opened = _opened(folders)
    revive(space, folders)
    shown = int(st.session_state.get("foundation-shown", PER_PAGE))
    if opened is not None and opened not in folders[:shown]:
        shown = len(folders)
    with st.container(key="foundation-list"):
        for folder in folders[:shown]:
            _card(space, folder, folder is opened)
    if len(folders) > shown and st.button(f"Show more ({len(folders) - shown})", icon=":material/expand_more:"):
        st.session_state["foundation-shown"] = shown + PER_PAGE
        st.rerun()


def newest_first(folders: list[FoundationFolder]) -> list[FoundationFolder]:
    """Damaged ones last, so that they can be seen and deleted."""

    def added(folder: FoundationFolder) -> str:
        try:
            return folder.info().added
        except JobsError:
            return ""

    return sorted(folders, key=added, reverse=True)


def _opened(folders: list[FoundationFolder]) -> FoundationFolder | None:
    """The one in the address, otherwise the newest; a link to one that is gone says so."""
    wanted = st.query_params.get("foundation")
    if wanted is not None:
        found = next((folder for folder in folders if folder.id == wanted), None)
        if found is not None:
            return found
        st.warning(f"There is no foundation model {code(wanted)}. It may have been removed.")
    return folders[0] if folders else None


def _card(space: Workspace, folder: FoundationFolder, opened: bool) -> None:
    key = f"foundation:{folder.id}"  # a colon is in no name of ours, so that no two keys are the same
    with st.container(border=True, key=key):
        facts = card_head(space, folder, opened, key)
        if facts is None:
            return
        try:
            if opened:
                _inside(space, folder, facts, key)
            else:
                download_links(folder, facts, folder.exports(), key)
        except JobsError as error:
            failure("This model can't be shown", error)


def _inside(space: Workspace, folder: FoundationFolder, facts: Mapping[str, Any], key: str) -> None:
    exports = folder.exports()
    if exports:
        results(folder, facts, exports, key)
    export_form(space, folder, facts, exports, key)
    st.subheader("What is in the file", anchor=False)
    facts_grid(facts)
    facts_details(facts, key)
    info = folder.info()
    where = "downloaded" if info.published else "uploaded" if info.uploaded else f"read from {code(info.path)}"
    reference = f" Please cite {markdown(facts['reference'])}." if facts.get("reference") else ""
    st.caption(f"{code(info.original)}, {where}, added {clock(info.added)}.{reference}")
