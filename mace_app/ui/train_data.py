"""The first step of the Train page: which data."""

from typing import Any

import streamlit as st

from mace_app.jobs import Workspace
from mace_app.options import OptionField, RunOptions, option_fields
from mace_app.ui import conversions, replay
from mace_app.ui.draft_data import Source, align_other_sets, entries, read_from, sources
from mace_app.ui.forms import PREFIX, Form, if_shown, show_errors, widget_key
from mace_app.ui.state import page
from mace_app.ui.target_names import forget_target
from mace_app.ui.text import code, markdown

FRACTION, OTHER, INDICES = "share of the training data", "other data", "listed structures"


def data_step(form: Form, workspace: Workspace) -> None:
    """Training, validation and test sets."""
    ready, waiting = sources(workspace, form.draft)
    if waiting:
        names = ", ".join(markdown(name) for name in waiting)
        st.info(f"Without a confirmed mapping, and so not offered here: {names}.", icon=":material/conversion_path:")
        st.page_link(page("datasets"), label="Confirm mappings on the Datasets page", icon=":material/arrow_forward:")
    if not ready:
        if not waiting:
            st.info("There are no data in this workspace yet.", icon=":material/database:")
            st.page_link(page("datasets"), label="Add a dataset", icon=":material/add:")
        return
    with st.container(border=True):
        _training(form, ready)
    with st.container(border=True):
        _other_set(form, ready, "validation_set", "Validation", 0.1)
    with st.container(border=True):
        _other_set(form, ready, "test_set", "Test", 0.0)


def _label_of(ready: list[Source], entry: Any) -> str | None:
    return next((source.label for source in ready if source.path == read_from(entry)), None)


def _choose(form: Form, ready: list[Source], key: str, title: str, help_text: str) -> None:
    """A multiselect of data sets, kept as entries under ``key``; an entry that is there already stays as it is."""
    before = entries(form.draft, key)
    chosen = [label for entry in before if (label := _label_of(ready, entry)) is not None]
    widget = f"{PREFIX}{key}-data"
    if widget not in st.session_state:
        st.session_state[widget] = chosen

    def store() -> None:
        kept = {_label_of(ready, entry): entry for entry in entries(form.draft, key)}
        by_label = {source.label: source.entry for source in ready}
        labels = st.session_state[widget]
        if labels:
            form.draft.set((key,), [kept.get(label, by_label[label]) for label in labels])
        else:
            form.draft.unset((key,))
        if replay.replayed(form.draft) is None:
            forget_target(form.draft, replay.TARGET)
        align_other_sets(form.draft, ready)
        form.draft.save()

    st.multiselect(
        title,
        [source.label for source in ready],
        key=widget,
        help=help_text,
        on_change=if_shown(widget, store),
        placeholder="Choose",
        select_all=False,
    )


def _training(form: Form, ready: list[Source]) -> None:
    st.header("Training", anchor=False)
    _choose(form, ready, "training_set", "Data to learn from", "Several sets are used together, as one.")
    if form.draft.has(("training_set",)):
        show_errors(text for text in form.messages(("training_set",)) if not _of_targets(form, text))


def _of_targets(form: Form, text: str) -> bool:
    return any(problem.message == text and "targets" in problem.loc for problem in form.problems)


def _other_set(form: Form, ready: list[Source], key: str, title: str, default: float) -> None:
    field = next(item for item in option_fields(RunOptions) if item.name == key)
    st.header(title, anchor=False, help=form.help(field))
    st.caption(field.help)
    current = form.draft.get((key,), default)
    listed = isinstance(current, dict) and "indices" in current
    mode_key = widget_key((key,), "mode")
    if mode_key not in st.session_state:
        st.session_state[mode_key] = INDICES if listed else OTHER if entries(form.draft, key) else FRACTION
    modes = [FRACTION, OTHER, *([INDICES] if listed or st.session_state[mode_key] == INDICES else [])]

    def switch() -> None:
        form.draft.unset((key,))
        form.draft.save()
        for stale in (f"{PREFIX}{key}-data", widget_key((key,), "fraction")):
            st.session_state.pop(stale, None)

    st.segmented_control(
        f"{title}: where from",
        modes,
        key=mode_key,
        required=True,
        on_change=switch,
        label_visibility="collapsed",
        help=field.explanation,
    )
    if st.session_state[mode_key] == OTHER:
        _choose(form, ready, key, f"{title} data", "These structures are never learnt from.")
        if not entries(form.draft, key):
            st.caption(f"Nothing chosen yet; until then a share of {default:g} of the training data is used.")
    elif st.session_state[mode_key] == INDICES:
        st.caption(
            f"Structures {code(current.get('indices') if isinstance(current, dict) else '')} of the training data."
        )
    else:
        _fraction(form, field, key, title, default)
    show_errors(text for text in form.messages((key,)) if not _of_targets(form, text))


def _fraction(form: Form, field: OptionField, key: str, title: str, default: float) -> None:
    widget = widget_key((key,), "fraction")
    if widget not in st.session_state:
        st.session_state[widget] = conversions.number_text(form.draft.get((key,), default))

    def store() -> None:
        value = conversions.read_number(st.session_state[widget])
        if value is None or value == default:
            form.draft.unset((key,))
            st.session_state.pop(widget, None)
        else:
            form.draft.set((key,), value)
        form.draft.save()

    st.text_input(
        f"{title}: share of the training data (0 to 1)",
        key=widget,
        on_change=if_shown(widget, store),
        validate=conversions.NUMBER_PATTERN,
        placeholder=f"{default:g}",
        help=form.help(field),
        width=320,
    )
