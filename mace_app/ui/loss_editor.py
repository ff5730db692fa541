"""The loss: one of the presets of the field, one type for everything, or a row for every label."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from mace_app.options import LossPart, OptionField, TargetInfo, option_fields
from mace_app.options.loss_terms import preset_terms
from mace_app.ui import conversions
from mace_app.ui.draft import Loc
from mace_app.ui.forms import Form, if_shown, show_errors
from mace_app.ui.text import code

AS_BEFORE, BALANCED, WEIGHTED, UNIVERSAL = "As before", "Balanced (mse)", "MACE weighted", "MACE universal"
SAME, EACH = "One type for all", "Each label"
PRESETS: Mapping[str, Any] = {AS_BEFORE: None, BALANCED: "mse", WEIGHTED: "weighted", UNIVERSAL: "universal"}
_WORDS = {
    AS_BEFORE: "Stage two goes on with the same loss.",
    BALANCED: "Mean squares of normalised values, all with weight 1: energies, forces and stress count about alike.",
    WEIGHTED: "MACE's usual start: mean squares with weights 1 for the energy per atom, 100 for forces, 1 for stress.",
    UNIVERSAL: "MACE's loss for broad data sets: huber with delta 0.01 in eV and Å, gentler where forces are large, "
    "with weights 1, 100 and 1.",
    SAME: "Every term is of this type and has weight 1.",
    EACH: "Type and weight for every label. A weight of 0 leaves a label out of training; its error is still reported.",
}
_PART: Mapping[str, OptionField] = {item.name: item for item in option_fields(LossPart)}
ROW = (1.6, 1, 1, 1.1)
_HUBER = ("huber", "masked_huber")


def loss(form: Form, item: OptionField, loc: Loc) -> None:
    """The editor of the whole loss."""
    choice(form, item, loc)
    if mode(form, item, loc) == EACH:
        if not form.targets:
            st.caption("Choose data and targets first; then every label has a row here.")
        for target in form.targets.values():
            rows_of_target(form, loc, target)


def mode(form: Form, item: OptionField, loc: Loc) -> str:
    """The chosen way, as it stands in the widget, or else in the draft."""
    current = form.draft.get(loc, item.default)
    if isinstance(current, dict):
        standing = EACH
    else:
        standing = next((words for words, value in PRESETS.items() if value == current), SAME)
    return str(st.session_state.get(form.key(loc, "mode"), standing))


def choice(form: Form, item: OptionField, loc: Loc) -> None:
    """The preset, the one type, or that each label has its own."""
    key = form.key(loc, "mode")
    now = mode(form, item, loc)
    if key not in st.session_state:
        st.session_state[key] = now

    def switch() -> None:
        _switch(form, item, loc, st.session_state[key])

    ways = [*([AS_BEFORE] if item.optional else []), BALANCED, WEIGHTED, UNIVERSAL, SAME, EACH]
    st.segmented_control(
        form.label(item, loc),
        ways,
        key=key,
        required=True,
        wrap=True,
        help=form.help(item),
        on_change=if_shown(key, switch),
    )
    st.caption(_WORDS[now])
    if now == SAME:
        types = [choice.label for choice in conversions.choices_of(_PART["type"])]
        type_key = form.key(loc, "type")
        current = form.draft.get(loc, item.default)
        if type_key not in st.session_state:
            st.session_state[type_key] = current if current in types else types[0]
        st.selectbox(
            "Type of every term",
            types,
            key=type_key,
            help=_PART["type"].explanation,
            width=260,
            on_change=if_shown(type_key, lambda: form.store(item, loc, st.session_state[type_key])),
        )


def _switch(form: Form, item: OptionField, loc: Loc, chosen: str) -> None:
    before = form.draft.get(loc, item.default)
    form.draft.unset(loc)
    if chosen in PRESETS:
        form.store(item, loc, PRESETS[chosen])
    elif chosen == SAME:
        form.store(item, loc, before if isinstance(before, str) and before not in PRESETS.values() else "mse")
    elif isinstance(before, str):
        form.draft.set(loc, {})
        _write_out(form, loc, before)
        if not form.draft.get(loc) and not item.optional:
            form.draft.unset(loc)
    elif item.optional:
        form.draft.set(loc, {})
    for key in [key for key in st.session_state if str(key).startswith(form.key(loc) + "-")]:
        if key != form.key(loc, "mode"):
            del st.session_state[key]
    form.draft.save()


def _write_out(form: Form, loc: Loc, before: str) -> None:
    """Rows that say what one word said: where a person starts to change single numbers."""
    labels = {name: target.resolve(has_forces=True, has_stress=True) for name, target in form.targets.items()}
    terms = preset_terms(before, labels) if before in (PRESETS[WEIGHTED], PRESETS[UNIVERSAL]) else {}
    for target in form.targets.values():
        for label, part in _parts(form, loc, target):
            kind, weight = (terms[label].type, terms[label].weight) if label in terms else (before, 1.0)
            kind = kind.removeprefix("conditional_")
            if kind != "mse":
                form.draft.set((*part, "type"), kind)
            if weight != 1.0:
                form.draft.set((*part, "weight"), weight)


def _parts(form: Form, loc: Loc, target: TargetInfo) -> list[tuple[str, Loc]]:
    """(label, place) of every term a target has; data given as virials may use that name."""
    strain = "virial" if form.draft.has((*loc, target.name, "virial")) else "stress"
    places = {"": (), ".forces": ("forces",), ".stress": (strain,)}
    return [
        (label, (*loc, target.name, *places[label.removeprefix(target.name)])) for label in target.possible_labels()
    ]


def rows_of_target(form: Form, loc: Loc, target: TargetInfo) -> None:
    """A row for each label of a target."""
    parts = _parts(form, loc, target)
    for label, part in parts:
        _row(form, label, part)
    whole = (*loc, target.name)
    if any(len(place) > len(loc) and place[: len(whole)] == whole for place, _ in form.placed_messages(whole)):
        places = [(*part, name) for _, part in parts for name in _PART]
        show_errors(form.messages_besides(whole, places))


def _row(form: Form, label: str, loc: Loc) -> None:
    names = ["type", "weight"]
    if form.draft.get((*loc, "type"), "mse") in _HUBER or form.draft.has((*loc, "delta")):
        names.append("delta")
    if form.advanced or form.draft.has((*loc, "reduction")):
        names.append("reduction")
    brief, form.brief = form.brief, True
    # At the bottom, because long names of labels take two lines.
    for place, name in zip(st.columns(ROW, gap="small", vertical_alignment="bottom"), names, strict=False):
        with place:
            item = replace(_PART[name], title=f"Loss of {code(label)}") if name == "type" else _PART[name]
            form.field(item, (*loc, name))
    form.brief = brief
