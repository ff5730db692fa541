"""What a person does with structures that stand out: a new run without them, a new data set of them."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from mace_app.analysis import Analysis
from mace_app.analysis.exports import extxyz
from mace_app.jobs import JobsError, Workspace
from mace_app.options import OptionsError, parse_yaml
from mace_app.options.yaml_files import as_yaml
from mace_app.ui.analysis_source import Opened
from mace_app.ui.analysis_state import Rows, Selection
from mace_app.ui.state import failure, page
from mace_app.ui.text import count
from mace_app.ui.wizard import load_text, session_draft


class CanNotLeaveOut(Exception):
    """Why a run can't be repeated without some structures, as a sentence."""


def go_on_with(space: Workspace, opened: Opened, selection: Selection) -> None:
    """Two buttons; nothing where nothing is chosen."""
    rows = np.sort(selection.rows)
    if not len(rows):
        return
    model = opened.analysis.info.model
    with st.popover("Go on", icon=":material/arrow_forward:", help="What to do with the chosen structures."):
        st.caption(f"{count(len(rows), 'structure')} chosen.")
        of_a_run = model.get("kind") == "run" and (opened.analysis.structures.split != "").any()
        if of_a_run and st.button(
            "New run without these",
            icon=":material/filter_list_off:",
            key="analysis-without",
            help="Opens the options of this run on the Train page, with these frames left out of its data.",
        ):
            _try("The options can't be used", partial(_without, space, opened.analysis, rows))
        if st.button(
            "New data set of these",
            icon=":material/database:",
            key="analysis-dataset",
            help="Adds them to the workspace, with reference, prediction and error of every label as keys.",
        ):
            _try("The data set was not added", partial(_dataset, space, opened, rows))


def _try(title: str, what: Callable[[], None]) -> None:
    try:
        what()
    except (JobsError, OptionsError, CanNotLeaveOut, OSError) as error:
        failure(title, error)


def _without(space: Workspace, analysis: Analysis, rows: Rows) -> None:
    run = space.run(str(analysis.info.model["id"]))
    tree = without(parse_yaml(run.options_text()), analysis, rows)
    draft = session_draft(space)
    problems = load_text(draft, as_yaml(tree))
    if problems:
        raise OptionsError(problems)
    draft.name = f"{run.info().name} without {len(rows)}"
    draft.save()
    st.switch_page(page("train"), query_params={"step": "review"})


def without(tree: Mapping[str, Any], analysis: Analysis, rows: Rows) -> dict[str, Any]:
    """The options of a run with the frames of these structures left out of every set they are in.

    CanNotLeaveOut where the options pick their structures in a way that can't say it.
    """
    table = analysis.structures
    frames: dict[str, set[int]] = {}
    for row in rows:
        frames.setdefault(str(table.dataset[row]), set()).add(int(table.frame[row]))
    known = {str(entry.get("path")): int(entry.get("structures") or 0) for entry in analysis.info.data}
    found, left = dict(tree), set(frames)
    for name in ("training_set", "validation_set", "test_set"):
        value = found.get(name)
        if isinstance(value, Mapping) and set(value) == {"indices"}:
            raise CanNotLeaveOut(
                f"`{name}` of this run picks structures by their places in the training data, which would move. Make a "
                "data set without these structures instead."
            )
        entries = [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, Mapping)]
        if not entries:
            continue
        changed = [_entry(dict(entry), frames, known, left) for entry in entries]
        found[name] = changed if isinstance(value, list) else changed[0]
    if left:
        raise CanNotLeaveOut(f"The file {sorted(left)[0]} is not among the data of the run; nothing can be left out.")
    return found


def _entry(
    entry: dict[str, Any], frames: Mapping[str, set[int]], known: Mapping[str, int], left: set[str]
) -> dict[str, Any]:
    systems = entry.get("systems")
    path = str(systems.get("read_from")) if isinstance(systems, Mapping) else str(systems)
    if path not in frames:
        return entry
    picked = entry.get("indices")
    if isinstance(picked, str) or (picked is None and not known.get(path)):
        raise CanNotLeaveOut(f"Which frames of {path} the run used can't be told here; edit its options instead.")
    all_of_them = range(known[path]) if picked is None else picked
    entry["indices"] = [frame for frame in all_of_them if frame not in frames[path]]
    left.discard(path)
    return entry


def _dataset(space: Workspace, opened: Opened, rows: Rows) -> None:
    text = "".join(extxyz(opened.analysis, rows.tolist()))
    name = f"{len(rows)} of {opened.analysis.info.model.get('name') or opened.stored.id}"
    folder = space.add_dataset(name, io.BytesIO(text.encode()), original="chosen.extxyz")
    space.start_inspection(folder)
    space.ensure_supervisor()
    st.switch_page(page("datasets"), query_params={"dataset": folder.id})
