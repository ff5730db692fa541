"""What the next export shall do: heads, structures to compare on as well, precision."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from mace_app.jobs import DatasetFolder, FoundationExport, FoundationFolder, JobsError, Workspace
from mace_app.jobs.data_roots import readable_file
from mace_app.jobs.foundation_folder import Precision
from mace_app.jobs.names import safe_file_name
from mace_app.ui.foundation_add import start
from mace_app.ui.foundation_live import ACTIVE
from mace_app.ui.server.upload_store import discard, open_upload
from mace_app.ui.state import failure
from mace_app.ui.text import code, count

NONE, DATASET, UPLOAD, PATH = "None", "A dataset", "A file", "A path"
PRECISIONS: dict[str, Precision | None] = {"As in the file": None, "64 bit": "float64", "32 bit": "float32"}


def export_form(
    space: Workspace,
    folder: FoundationFolder,
    facts: Mapping[str, Any],
    exports: Sequence[FoundationExport],
    key: str,
) -> None:
    """With a single head everything is exported already, and this is for doing it again, differently; of several
    heads it says which ones."""
    several = len(facts["heads"]) > 1
    if several and not exports:
        st.subheader("Choose the heads to export", anchor=False)
        heads = _heads(facts, key)
        with st.expander("Your own structures, precision", icon=":material/tune:", key=f"{key}:more"):
            structures, precision, ready = _how(space, folder, key)
        _button(space, folder, heads, facts, structures, precision, ready, key)
    else:
        what = "Export other heads, compare on your own structures" if several else "Compare on your own structures"
        with st.expander(f"{what}, or change the precision", icon=":material/tune:", key=f"{key}:again-form"):
            heads = _heads(facts, key) if several else []
            structures, precision, ready = _how(space, folder, key)
            _button(space, folder, heads, facts, structures, precision, ready, key)


def _heads(facts: Mapping[str, Any], key: str) -> list[str]:
    """Those that were chosen; nothing stands for all of them."""
    return st.multiselect(
        "Heads",
        facts["heads"],
        key=f"{key}:heads",
        placeholder=f"All {len(facts['heads'])} heads",
        help="Each head is a level of theory that the model was trained on. Each becomes a file of its own.",
    )


def _how(space: Workspace, folder: FoundationFolder, key: str) -> tuple[Path | None, Precision | None, bool]:
    """Structures to compare on besides, precision, and whether the choice is complete."""
    structures, ready = _structures(space, folder, key)
    chosen = st.segmented_control(
        "Precision of the exported file",
        list(PRECISIONS),
        default="As in the file",
        required=True,
        key=f"{key}:precision",
        help="32 bit is faster on GPUs; 64 bit is what relaxations and vibrations are better done with.",
    )
    return structures, PRECISIONS[chosen or "As in the file"], ready


def _button(
    space: Workspace,
    folder: FoundationFolder,
    heads: Sequence[str],
    facts: Mapping[str, Any],
    structures: Path | None,
    precision: Precision | None,
    ready: bool,
    key: str,
) -> None:
    several = len(facts["heads"]) > 1
    label = "Export" if not several else f"Export {count(len(heads), 'head')}" if heads else "Export all heads"
    active = folder.state() in ACTIVE
    if not st.button(label, key=f"{key}:export", type="primary", icon=":material/bolt:", disabled=active or not ready):
        return
    try:
        folder.request_export(heads=heads or facts["heads"], structures=structures, precision=precision)
        start(space, folder)
    except (JobsError, OSError) as error:
        failure("The export was not started", error)
        return
    st.rerun()


def _structures(space: Workspace, folder: FoundationFolder, key: str) -> tuple[Path | None, bool]:
    """The file to compare on besides what is made of the model's elements, and whether the choice is complete."""
    way = st.segmented_control(
        "Compare on my structures too",
        [NONE, DATASET, UPLOAD, PATH],
        default=NONE,
        required=True,
        key=f"{key}:structures",
        help="Up to eight, evenly chosen, join those that are made of the model's own elements. Labels are not needed.",
    )
    if way == DATASET:
        return _dataset(space, key)
    if way == UPLOAD:
        return _upload(folder, key)
    if way == PATH:
        return _path(space, key)
    return None, True


def _dataset(space: Workspace, key: str) -> tuple[Path | None, bool]:
    known: dict[str, DatasetFolder] = {dataset.id: dataset for dataset in space.datasets()}
    if not known:
        st.caption("There is no dataset in the workspace yet; name a file instead.")
        return None, False
    chosen = st.selectbox("Dataset", list(known), format_func=lambda id_: _name(known[id_]), key=f"{key}:dataset")
    try:
        return known[chosen].source_path, True
    except JobsError as error:
        failure("This dataset can't be used", error)
        return None, False


def _name(dataset: DatasetFolder) -> str:
    try:
        return dataset.name
    except JobsError:
        return dataset.id


def _upload(folder: FoundationFolder, key: str) -> tuple[Path | None, bool]:
    round_key, stored_key = f"{key}:upload-round", f"{key}:uploaded"
    upload = st.file_uploader(
        "File with structures", key=f"{key}:upload-{st.session_state.get(round_key, 0)}", help="Anything ASE reads."
    )
    if upload is not None:
        # A new key empties the uploader.
        st.session_state[round_key] = st.session_state.get(round_key, 0) + 1
        st.session_state[stored_key] = _stored(folder, upload)
        st.rerun()
    stored: Path | None = st.session_state.get(stored_key)
    if stored is None or not stored.is_file():
        return None, False
    st.markdown(f"{code(stored.name)} will be compared on.")
    return stored, True


def _stored(folder: FoundationFolder, upload: Any) -> Path | None:
    try:
        with open_upload(upload) as stream:
            path = folder.store(stream, safe_file_name(upload.name, "structures.xyz"), below="structures")
        discard(upload)
        return path
    except (JobsError, OSError) as error:
        failure("The structures could not be stored", error)
        return None


def _path(space: Workspace, key: str) -> tuple[Path | None, bool]:
    text = st.text_input("Path of the structures", key=f"{key}:path", placeholder="/home/me/structures.xyz")
    if not text.strip():
        return None, False
    try:
        return readable_file(text.strip(), space.root), True
    except JobsError as error:
        failure("This path can't be used", error)
        return None, False
