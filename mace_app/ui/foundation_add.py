"""Three ways to a foundation file: dropped, by its path, or a published one. What is added is exported at once."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import streamlit as st

from mace_app.jobs import FoundationFolder, JobsError, Workspace
from mace_app.published import DOWNLOADABLE, Published
from mace_app.ui.server.upload_store import discard, open_upload
from mace_app.ui.state import failure
from mace_app.ui.text import markdown

DROP, PATH, PUBLISHED = "Drop files", "Path on this machine", "Published models"
ASL_ADDRESS = "https://github.com/gabor1/ASL"
_ROUND = "foundation-upload-round"
_REFUSED = "foundation-add-errors"


def add_panel(space: Workspace) -> None:
    """All three ways; whatever is added appears in the list, at work."""
    with st.container(border=True, key="foundation-add"):
        way = st.segmented_control(
            "Where the model is", [DROP, PATH, PUBLISHED], default=DROP, required=True, key="foundation-way"
        )
        if way == DROP:
            _drop(space)
        elif way == PATH:
            _path(space)
        else:
            _published(space)
        for error in st.session_state.pop(_REFUSED, []):
            failure("The model was not added", error)


def _drop(space: Workspace) -> None:
    # A new key empties the uploader.
    key = f"foundation-upload-{st.session_state.get(_ROUND, 0)}"
    uploads = st.file_uploader("Drop MACE files (.model) here, one or several", accept_multiple_files=True, key=key)
    st.caption("A file with one head is exported at once; of several heads you choose. Nothing leaves this machine.")
    if uploads:
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
        _add(space, [lambda u=u: _taken(space, u) for u in uploads])  # type: ignore[misc]


def _taken(space: Workspace, upload: Any) -> FoundationFolder:
    with open_upload(upload) as stream:
        folder = space.add_foundation("", stream, original=upload.name)
    discard(upload)
    return folder


def _path(space: Workspace) -> None:
    with st.form("foundation-path-form", border=False):
        path = st.text_input(
            "Path of the file",
            key="foundation-path",
            placeholder="/home/me/mace-mpa-0-medium.model",
            help="The file is read where it is and not copied.",
        )
        if st.form_submit_button("Read and export", key="foundation-path-add") and path.strip():
            _add(space, [lambda: space.add_foundation("", path.strip())])


def _add(space: Workspace, ways: Sequence[Callable[[], FoundationFolder]]) -> None:
    """Add each, start each, and open the first; one that can't be added takes nothing from the others."""
    added: list[FoundationFolder] = []
    refused: list[Exception] = []
    for add in ways:
        try:
            folder = add()
            added.append(folder)
            start(space, folder)
        except (JobsError, OSError) as error:
            refused.append(error)
    st.session_state[_REFUSED] = refused
    if added:
        st.query_params["foundation"] = added[0].id
    st.rerun()


def start(space: Workspace, folder: FoundationFolder) -> None:
    """Put what was requested in the queue and see that somebody works on it."""
    space.start_foundation(folder)
    space.ensure_supervisor()


# Published models


def _published(space: Workspace) -> None:
    """All that mace-torch can download, those with the same elements and licence together."""
    st.caption("Fetched from where MACE's authors keep them, checked, and kept in mace-torch's own cache.")
    present = _present(space)
    models = sorted(DOWNLOADABLE.items(), key=lambda item: (_organic(item[1]), item[1].needs_consent))
    for (organic, restricted), group in groupby(models, key=lambda item: (_organic(item[1]), item[1].needs_consent)):
        members = list(group)
        what = "Organic molecules" if organic else "Materials"
        licence = f"[academic use only (ASL)]({ASL_ADDRESS})" if restricted else "MIT licence"
        st.markdown(f"**{what}** · {markdown(members[0][1].elements)} · {licence}")
        with st.grid("auto", min_column_width=225, gap="small") as grid:
            for key, model in members:
                with grid.cell(), st.container(gap="xsmall"):
                    _published_card(space, key, model, present.get(key))


def _organic(model: Published) -> bool:
    return model.table == "off"


def _present(space: Workspace) -> dict[str, FoundationFolder]:
    """Those of the list that the workspace has already, by key."""
    found = {}
    for folder in space.foundations():
        try:
            key = folder.info().published
        except JobsError:
            continue
        if key is not None:
            found[key] = folder
    return found


def _published_card(space: Workspace, key: str, model: Published, folder: FoundationFolder | None) -> None:
    """A button with the model's title: it downloads, or opens what is there already."""
    if folder is not None:
        if st.button(
            model.title, key=f"foundation-open-{key}", icon=":material/check:", help="Open it", width="stretch"
        ):
            st.query_params["foundation"] = folder.id
            st.rerun()
    elif st.button(
        model.title,
        key=f"foundation-get-{key}",
        icon=":material/download:",
        help="Download it and choose its heads" if model.several_heads else "Download and export it",
        width="stretch",
    ):
        if model.needs_consent:
            _consent(space, key, model)
        else:
            _add(space, [lambda: space.add_published(key)])
    st.caption(markdown(f"{model.theory}; trained on {model.data}"))


@st.dialog("A licence to accept")
def _consent(space: Workspace, key: str, model: Published) -> None:
    st.markdown(
        f"**{markdown(model.title)}** is under the [Academic Software License]({ASL_ADDRESS}): for academic work, "
        "not for commercial use. What is made of it, such as an export or a fine-tuned model, may be passed on under "
        "the same licence only."
    )
    with st.container(horizontal=True):
        if st.button("Accept and download", type="primary", key="foundation-accept"):
            _add(space, [lambda: space.add_published(key, licence_accepted=True)])
        if st.button("Don't download", key="foundation-decline"):
            st.rerun()
