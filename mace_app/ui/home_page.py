"""The parts of the Home page."""

from collections import Counter

import streamlit as st

from mace_app.jobs import JobsError, RunFolder, RunInfo, Workspace
from mace_app.ui import samples
from mace_app.ui.state import STATE_COLOURS, failure, page
from mace_app.ui.text import code, markdown

RECENT = 5


def overview(space: Workspace) -> None:
    """What the workspace holds, each number a way to its page."""
    states = Counter(info.state for _, info in _infos(space))
    going = states["running"] + states["stopping"] + states["queued"]
    models = sum(run.model_file.exists() for run in space.runs())
    cards = (
        ("Datasets", len(space.datasets()), page("datasets"), "Add or open"),
        ("Runs under way", going, page("runs"), "Watch"),
        ("Runs finished", states["finished"] + states["stopped"], page("runs"), "Compare"),
        ("Models", models, page("models"), "Use"),
        ("Foundation models", len(space.foundations()), page("foundation"), "Export"),
    )
    with st.grid(5, min_column_width=150, gap="small", key="home-overview") as grid:
        for title, amount, where, words in cards:
            with grid.cell(), st.container(border=True, gap="xsmall"):
                st.metric(title, amount)
                st.page_link(where, label=words, icon=":material/arrow_forward:", icon_position="right")
    st.caption(f"Workspace: {code(space.root)}")


def sample_cards(space: Workspace) -> None:
    """One click: the sample lies in the workspace, its inspection runs, and its page is open."""
    present = [sample for sample in samples.SAMPLES if sample.path.is_file()]
    if not present:
        return
    st.header("Try with the sample", anchor=False)
    first = not space.datasets()
    with st.container(key="home-samples"):
        for place, sample in zip(st.columns(len(present), gap="small"), present, strict=True):
            with place, st.container(border=True, height="stretch", gap="small"):
                st.markdown(f"{sample.icon} **{sample.title}**")
                st.markdown(sample.summary)
                st.space("stretch")
                if st.button(
                    "Try with the sample",
                    key=f"home-sample-{sample.path.stem}",
                    help=f"Add “{sample.title}” to the workspace and look at it",
                    type="primary" if first else "secondary",
                ):
                    try:
                        folder = samples.add(space, sample)
                    except (JobsError, OSError) as error:
                        failure("The sample could not be added", error)
                        continue
                    st.switch_page(page("datasets"), query_params={"dataset": folder.id})


def recent_runs(space: Workspace) -> None:
    infos = _infos(space)[:RECENT]
    if not infos:
        return
    st.header("Latest runs", anchor=False)
    for run, info in infos:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(info.state, color=STATE_COLOURS[info.state])  # type: ignore[arg-type]
            st.page_link(page("runs"), label=markdown(info.name), query_params={"run": run.id})
            st.caption(info.created.replace("T", " ").split("+")[0] + " UTC")


def _infos(space: Workspace) -> list[tuple[RunFolder, RunInfo]]:
    """Runs with a readable record, newest first; damaged ones are shown on the Runs page."""
    found = []
    for run in space.runs():
        try:
            found.append((run, run.info()))
        except JobsError:
            continue
    return found
