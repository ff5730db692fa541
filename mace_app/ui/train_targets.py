"""The second step of the Train page: what is to be learnt from the data, and how much each part counts."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from mace_app.jobs import JobsError, Workspace
from mace_app.options import Problem, option_fields
from mace_app.options.training import TrainingHypers
from mace_app.ui import loss_editor, mapping, replay
from mace_app.ui.dataset_view import label_keys
from mace_app.ui.draft import TRAINING, Draft
from mace_app.ui.draft_data import Source, align_other_sets, entries, read_from, sources
from mace_app.ui.forms import PREFIX, Form, forget_widgets, if_shown, show_errors
from mace_app.ui.mapping import DERIVATIVES, Key, derivative_key, new_target
from mace_app.ui.target_fields import TargetFields, in_words
from mace_app.ui.target_names import forget_target, rename_target
from mace_app.ui.text import code, markdown

LOSS = (*TRAINING, "loss")
_LOSS = next(item for item in option_fields(TrainingHypers) if item.name == "loss")


def targets_step(form: Form, workspace: Workspace) -> None:
    """Every target of every training set: on or off, its definition, its terms of the loss; further ones."""
    chosen = entries(form.draft, "training_set")
    if not chosen:
        st.info("Choose training data first.", icon=":material/database:")
        return
    ready, _ = sources(workspace, form.draft)
    by_path = {source.path: source for source in ready}
    _loss_choice(form)
    for number, entry in enumerate(chosen):
        source = by_path.get(read_from(entry))
        _dataset(form, number, entry, source or Source(read_from(entry), entry))
    align_other_sets(form.draft, ready)


def _loss_choice(form: Form) -> None:
    with st.container(border=True, gap="small", key="targets-loss"):
        loss_editor.choice(form, _LOSS, LOSS)
        show_errors(text for place, text in form.placed_messages(LOSS) if len(place) == len(LOSS))


def _dataset(form: Form, number: int, entry: dict[str, Any], source: Source) -> None:
    mapped: dict[str, Any] = source.entry["targets"] if source.folder is not None else {}
    replayed = replay.is_replay(entry)
    if replayed:  # its other labels are of no use here: old ones would be taken for new ones
        mapped = {name: target for name, target in entry["targets"].items() if name == replay.TARGET}
    place = ("training_set", str(number))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(markdown(source.label) + (" :gray-badge[old data]" if replayed else ""), anchor=False)
        if mapped and not replayed and entry.get("targets") != mapped:
            st.button(
                "Back to the mapping of the dataset",
                key=f"{PREFIX}targets-{number}-reset",
                icon=":material/undo:",
                type="tertiary",
                on_click=_reset,
                args=(form.draft, number, mapped),
            )
    present = form.names((*place, "targets"))
    keys = _keys(source)
    for name in dict.fromkeys([*present, *mapped]):
        _card(form, number, name, mapped, keys)
    covered = [(*place, "targets", name) for name in present]
    covered += [(*place, "extra_data", name) for name in form.names((*place, "extra_data"))]
    show_errors(form.messages_besides((*place, "targets"), covered))
    st.button(
        "Add a target",
        key=f"{PREFIX}targets-{number}-add",
        icon=":material/add:",
        help="A further head of the model, with a name, key, unit, type and loss of its own.",
        on_click=_add,
        args=(form, number, keys),
    )


def _keys(source: Source) -> dict[str, Key]:
    """The entries of the file, empty where it was not inspected."""
    try:
        inspection = source.folder.inspection() if source.folder is not None else None
    except JobsError:
        return {}
    return label_keys(inspection) if inspection is not None else {}


def _card(form: Form, number: int, name: str, mapped: Mapping[str, Any], keys: Mapping[str, Key]) -> None:
    place = ("training_set", str(number))
    present = form.names((*place, "targets"))
    on = name in present
    target = form.draft.get((*place, "targets", name), mapped.get(name) or {})
    target = target if isinstance(target, Mapping) else {}
    slot = str(present.index(name)) if on else f"left-out-{name}"
    with st.container(border=True, gap="small", key=f"{PREFIX}card-{number}-{slot}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            # The mapping's targets go by name: switched off and on again, they change their place.
            known = name if name in mapped else slot
            _switch(form, f"{PREFIX}targets-{number}-{known}", code(name), on, number, name, mapped)
            st.caption(in_words(name, target))
            if on:
                for part in DERIVATIVES:
                    source = (mapped.get(name) or {}).get(part) or target.get(part)
                    if source:
                        _part_switch(form, f"{PREFIX}targets-{number}-{known}-{part}", number, name, part, source)
            st.space("stretch")
            if on and name not in mapped:
                st.button(
                    "Remove",
                    key=f"{PREFIX}targets-{number}-{slot}-remove",
                    icon=":material/close:",
                    type="tertiary",
                    help=f"Remove {code(name)}",
                    on_click=_remove,
                    args=(form.draft, number, name),
                )
        if not on:
            return
        fields = TargetFields(
            form,
            place,
            present.index(name),
            keys,
            renamed=lambda old, new: rename_target(form.draft, old, new),
            open_choice=True,
        )
        new = name not in mapped
        wrong = bool(form.messages(fields.loc))
        with st.expander(
            "Definition", icon=":material/edit:", key=f"{fields.form.key(fields.loc)}--edit", expanded=new or wrong
        ):
            fields.draw()
        info = form.targets.get(name)
        if info is not None and loss_editor.mode(form, _LOSS, LOSS) == loss_editor.EACH:
            loss_editor.rows_of_target(form, LOSS, info)


def _switch(form: Form, key: str, label: str, on: bool, number: int, name: str, mapped: Mapping[str, Any]) -> None:
    if key not in st.session_state:
        st.session_state[key] = on
    place = ("training_set", str(number), "targets")

    def flip() -> None:
        targets = dict(form.draft.get(place) or {})
        if st.session_state[key]:
            targets[name] = st.session_state.get(f"{key}-kept") or mapped.get(name) or {}
        else:
            kept = targets.pop(name, None)
            if name in mapped:
                st.session_state[f"{key}-kept"] = kept
        form.draft.set(place, targets)
        forget_widgets(f"{PREFIX}training_set-{number}-targets-")
        if not st.session_state[key]:
            forget_target(form.draft, name)
        form.draft.save()

    st.toggle(label, key=key, help="Train this target", on_change=if_shown(key, flip))


def _part_switch(form: Form, key: str, number: int, name: str, part: str, source: Any) -> None:
    loc = ("training_set", str(number), "targets", name, part)
    widget = form.key(loc)
    # The same choice stands in the definition; either may have been changed.
    st.session_state[key] = derivative_key(part, form.draft.get(loc)) is not None

    def flip() -> None:
        form.draft.set(loc, source if st.session_state[key] else False)
        st.session_state.pop(widget, None)
        form.draft.save()

    st.toggle(part, key=key, help=f"Train the {part} of this energy", on_change=if_shown(key, flip))


def _add(form: Form, number: int, keys: Mapping[str, Key]) -> None:
    place = ("training_set", str(number), "targets")
    targets = dict(form.draft.get(place) or {})
    name, target = new_target(targets, keys)
    form.draft.set(place, {**targets, name: target})
    _redraw(form.draft)


def _remove(draft: Draft, number: int, name: str) -> None:
    place = ("training_set", str(number), "targets")
    draft.set(place, {other: target for other, target in draft.get(place).items() if other != name})
    forget_target(draft, name)
    _redraw(draft)


def _reset(draft: Draft, number: int, mapped: dict[str, Any]) -> None:
    gone = set(draft.get(("training_set", str(number), "targets")) or {}) - set(mapped)
    draft.set(("training_set", str(number), "targets"), dict(mapped))
    for name in gone:
        forget_target(draft, name)
    _redraw(draft)


def _redraw(draft: Draft) -> None:
    """After a change that no widget made: the cards show it; the rest of the form stays as it is."""
    draft.save()
    for part in ("training_set-", "targets-", "card-"):
        forget_widgets(PREFIX + part)


def key_problems(workspace: Workspace, draft: Draft) -> list[Problem]:
    """Where a target can't be read from the keys that its file was found to hold."""
    ready, _ = sources(workspace, draft)
    by_path = {source.path: source for source in ready}
    found = []
    for number, entry in enumerate(entries(draft, "training_set")):
        source, targets = by_path.get(read_from(entry)), entry.get("targets")
        keys = _keys(source) if source is not None else {}
        if keys and isinstance(targets, dict):
            place = ("training_set", str(number), "targets")
            found += [Problem((*place, *p.loc), p.message) for p in mapping.key_problems(targets, keys)]
    return found
