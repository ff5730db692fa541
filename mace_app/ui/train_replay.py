"""A block of the Model step: old data trained beside the new, so that fine-tuning does not forget."""

import streamlit as st

from mace_app.jobs import Workspace
from mace_app.ui import loss_editor, replay
from mace_app.ui.draft import TRAINING
from mace_app.ui.draft_data import sources
from mace_app.ui.editors import AS_THE_MAIN
from mace_app.ui.forms import Form, forget_widgets, show_errors
from mace_app.ui.starting_files import StartingFile
from mace_app.ui.starting_point import FREEZE, MORE_HEADS
from mace_app.ui.state import page
from mace_app.ui.text import code, markdown

_DATA, _HEAD = "train-replay-data", "train-replay-head"


def replay_block(form: Form, space: Workspace, file: StartingFile) -> None:
    """Choose old data, or see which ones are replayed and remove them."""
    with st.container(border=True, gap="small", key="train-replay"):
        st.markdown(
            "**Train old data beside the new**",
            help="Also called replay. A part of the data that the foundation model learnt from, or data of the same "
            "level of theory, is trained with readouts of its own over the same features. So what the model knew is "
            "not forgotten while it learns from your data.",
        )
        if replay.replayed(form.draft) is None:
            _choose(form, space, file)
        else:
            _chosen(form, space)
        show_errors(form.messages((*MORE_HEADS, replay.TARGET)))


def _choose(form: Form, space: Workspace, file: StartingFile) -> None:
    if form.draft.get(FREEZE) == "backbone":
        st.caption("With a frozen backbone nothing is forgotten, so there is nothing to replay.")
        return
    ready, _ = sources(space, form.draft)
    offered = {source.label: source for source in replay.candidates(form.draft, ready)}
    if not offered:
        st.caption("Add a dataset of old structures and confirm its energy; then it can be chosen here.")
        st.page_link(page("datasets"), label="Add a dataset", icon=":material/add:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.selectbox(
            "Old data",
            list(offered),
            index=None,
            key=_DATA,
            placeholder="Choose a dataset",
            help="A dataset of this workspace with an energy, at the level of theory of the foundation model.",
            width=300,
        )
        if len(file.heads) > 1:
            st.selectbox(
                "Their energy starts from",
                [AS_THE_MAIN, *file.heads],
                key=_HEAD,
                help="The head of the file that was trained on data such as these.",
                width=240,
            )
        chosen = offered.get(str(st.session_state.get(_DATA)))

        def add() -> None:
            head = st.session_state.get(_HEAD, AS_THE_MAIN)
            assert chosen is not None
            replay.add(form.draft, chosen, ready, None if head == AS_THE_MAIN else head)
            form.draft.save()
            forget_widgets()

        st.button(
            "Train them too",
            key="train-replay-add",
            icon=":material/add:",
            disabled=chosen is None or not form.targets,
            on_click=add,
        )
    if not form.targets:
        st.caption("Choose your new data first, on the step of the data.")


def _chosen(form: Form, space: Workspace) -> None:
    ready, _ = sources(space, form.draft)
    path = replay.replayed(form.draft)
    label = next((source.label for source in ready if source.path == path), str(path))
    head = form.draft.get((*MORE_HEADS, replay.TARGET))
    starts = f"head {code(head)}" if head else "the head of the main energy"
    st.markdown(
        f"**{markdown(label)}** is trained beside your data as {code(replay.TARGET)}, from {starts} of the file on. "
        "The model keeps both energies, and both are exported."
    )
    weights = ", ".join(
        f"{code(name)} {form.draft.get((*TRAINING, 'loss', name, 'weight'), 1):g}"
        for name in form.targets
        if form.targets[name].is_energy
    )
    by_label = isinstance(form.draft.get((*TRAINING, "loss")), dict)
    st.caption(
        (f"Weights in the loss: {weights}. " if by_label else "Both energies count alike in the loss. ")
        + f"On the step of the targets, **{loss_editor.EACH}** gives each its own weight."
    )

    def remove() -> None:
        replay.remove(form.draft, ready)
        form.draft.save()
        forget_widgets()

    st.button("Remove the old data", key="train-replay-remove", icon=":material/close:", on_click=remove)
