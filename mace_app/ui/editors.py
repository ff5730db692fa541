"""Editors of options that no plain widget fits: the loss of each label, energies of single atoms, targets by name."""

from collections.abc import Iterable
from typing import Any

import streamlit as st

from mace_app.options import LossPart, OptionField, TargetInfo, option_fields
from mace_app.ui import conversions
from mace_app.ui.draft import Loc
from mace_app.ui.elements import symbol
from mace_app.ui.forms import Editor, Form, widget_key
from mace_app.ui.text import code, markdown

SAME, EACH = "same for all", "each label"
AUTOMATIC, ONE_NUMBER, PER_ELEMENT = "automatic", "one number", "per element"


def loss(form: Form, item: OptionField, loc: Loc) -> None:
    """One type for everything, or type and weight for every label."""
    mode_key = widget_key(loc, "mode")
    current = form.draft.get(loc, item.default)
    if mode_key not in st.session_state:
        st.session_state[mode_key] = EACH if isinstance(current, dict) else SAME

    def switch() -> None:
        _switch_loss(form, loc, st.session_state[mode_key])

    st.segmented_control(
        form.label(item, loc), [SAME, EACH], key=mode_key, required=True, help=form.help(item), on_change=switch
    )
    if st.session_state[mode_key] == SAME:
        kind = next(entry for entry in option_fields(LossPart) if entry.name == "type")
        types = [choice.label for choice in conversions.choices_of(kind)]
        key = widget_key(loc, "type")
        if key not in st.session_state:
            st.session_state[key] = current if current in types else item.default
        st.segmented_control(
            "Type of every term",
            types,
            key=key,
            required=True,
            help=kind.explanation,
            on_change=lambda: form.store(item, loc, st.session_state[key]),
        )
        return
    if not form.targets:
        st.caption("Choose data and targets first; then every label has a row here.")
    for target in form.targets.values():
        for name, part in _loss_parts(form, loc, target):
            _loss_row(form, name, part)


def _loss_parts(form: Form, loc: Loc, target: TargetInfo) -> list[tuple[str, Loc]]:
    """(label, place) of every term a target has; data given as virials may use that name."""
    strain = "virial" if form.draft.has((*loc, target.name, "virial")) else "stress"
    places = {"": (), ".forces": ("forces",), ".stress": (strain,)}
    return [
        (label, (*loc, target.name, *places[label.removeprefix(target.name)])) for label in target.possible_labels()
    ]


def _loss_row(form: Form, label: str, loc: Loc) -> None:
    fields = {item.name: item for item in option_fields(LossPart)}
    names = ["type", "weight"]
    if form.draft.get((*loc, "type"), "mse") == "huber" or form.draft.has((*loc, "delta")):
        names.append("delta")
    if form.advanced or form.draft.has((*loc, "reduction")):
        names.append("reduction")
    st.markdown(f"**{code(label)}**")
    form.brief = True
    for place, name in zip(st.columns([1.5, 1, 1, 1.1], gap="small"), names, strict=False):
        with place:
            form.field(fields[name], (*loc, name))
    form.brief = False


def _switch_loss(form: Form, loc: Loc, mode: str) -> None:
    current = form.draft.get(loc, "mse")
    form.draft.unset(loc)
    if mode == EACH and isinstance(current, str) and current != "mse":
        for target in form.targets.values():
            for _, part in _loss_parts(form, loc, target):
                form.draft.set((*part, "type"), current)
    for key in [key for key in st.session_state if str(key).startswith(widget_key(loc) + "-")]:
        if key != widget_key(loc, "mode"):
            del st.session_state[key]
    form.draft.save()


def baseline(form: Form, item: OptionField, loc: Loc) -> None:
    """For every scalar target: fitted, one number for all elements, or a table with gaps that are fitted."""
    st.markdown(f"**{form.label(item, loc)}**", help=form.help(item))
    scalars = [target.name for target in form.targets.values() if target.kind == "scalar"]
    names = list(dict.fromkeys([*scalars, *_keys(form.draft.get(loc))]))
    if not names:
        st.caption("Choose data and targets first.")
    for name in names:
        place = (*loc, name)
        current = form.draft.get(place)
        mode_key = widget_key(place, "mode")
        if mode_key not in st.session_state:
            st.session_state[mode_key] = (
                PER_ELEMENT if isinstance(current, dict) else AUTOMATIC if current is None else ONE_NUMBER
            )
        st.segmented_control(
            f"Baseline of {code(name)}",
            [AUTOMATIC, PER_ELEMENT, ONE_NUMBER],
            key=mode_key,
            required=True,
            on_change=_clear_baseline,
            args=(form, place),
        )
        if st.session_state[mode_key] == ONE_NUMBER:
            _plain_number(form, place, f"Baseline of every atom for {code(name)}{_unit(form, name)}")
        elif st.session_state[mode_key] == PER_ELEMENT:
            _element_table(form, place, _unit(form, name))


def _clear_baseline(form: Form, place: Loc) -> None:
    form.draft.unset(place)
    form.draft.save()


def _element_table(form: Form, place: Loc, unit: str) -> None:
    table = form.draft.get(place)
    given: dict[Any, Any] = dict(table) if isinstance(table, dict) else {}
    elements = sorted({*form.elements, *(int(z) for z in given if str(z).isdigit())})
    if not elements:
        st.caption("The elements show here once the data are chosen.")
    with st.grid(6, min_column_width=120, gap="small") as grid:
        for z in elements:
            key = widget_key(place, str(z))
            if key not in st.session_state:
                st.session_state[key] = conversions.number_text(given.get(z, given.get(str(z))))
            grid.text_input(
                f"{symbol(z)}{unit}",
                key=key,
                placeholder="fitted",
                validate=conversions.OPTIONAL_NUMBER_PATTERN,
                on_change=_store_element,
                args=(form, place, z, key),
            )


def _store_element(form: Form, place: Loc, z: int, key: str) -> None:
    table = form.draft.get(place)
    given: dict[Any, Any] = {k: v for k, v in table.items() if str(k) != str(z)} if isinstance(table, dict) else {}
    value = conversions.read_number(st.session_state[key])
    if value is not None:
        given[z] = value
    if given:
        form.draft.set(place, dict(sorted(given.items(), key=lambda entry: int(entry[0]))))
    else:
        form.draft.unset(place)
    form.draft.save()


def scales(form: Form, item: OptionField, loc: Loc) -> None:
    """A number for every target, empty where it is measured."""
    st.markdown(f"**{form.label(item, loc)}**", help=form.help(item))
    names = list(dict.fromkeys([*form.targets, *_keys(form.draft.get(loc))]))
    if not names:
        st.caption("Choose data and targets first.")
    with st.grid(3, min_column_width=240, gap="small") as grid:
        for name in names:
            with grid.cell():
                _plain_number(form, (*loc, name), f"Scale of {code(name)}{_unit(form, name)}", "measured")


def _plain_number(form: Form, place: Loc, label: str, placeholder: str = "Enter a number") -> None:
    key = widget_key(place, "number")
    if key not in st.session_state:
        st.session_state[key] = conversions.number_text(form.draft.get(place))

    def store() -> None:
        value = conversions.read_number(st.session_state[key])
        if value is None:
            form.draft.unset(place)
        else:
            form.draft.set(place, value)
        form.draft.save()

    st.text_input(
        label, key=key, placeholder=placeholder, validate=conversions.OPTIONAL_NUMBER_PATTERN, on_change=store
    )


def _unit(form: Form, name: str) -> str:
    target = form.targets.get(name)
    return f" ({markdown(target.unit)})" if target is not None and target.unit else ""


def _keys(value: Any) -> Iterable[str]:
    return [str(key) for key in value] if isinstance(value, dict) else []


def target_names(form: Form, item: OptionField, loc: Loc) -> None:
    """Several targets, chosen from those that are trained."""
    current = [str(name) for name in form.value(item, loc) or []]
    names = [name for name, target in form.targets.items() if target.sample_kind == "system"]
    bound = form.bound(item, loc, current, list)
    st.multiselect(
        form.label(item, loc), list(dict.fromkeys([*names, *current])), placeholder="none", select_all=False, **bound
    )


def own_readout(form: Form, item: OptionField, loc: Loc) -> None:
    """One target, chosen from the scalars that are trained."""
    current = str(form.value(item, loc))
    names = [name for name, target in form.targets.items() if target.kind == "scalar" and target.num_subtargets == 1]
    bound = form.bound(item, loc, current, str)
    st.selectbox(form.label(item, loc), list(dict.fromkeys([*names, current])), **bound)


def device(form: Form, item: OptionField, loc: Loc) -> None:
    current = str(form.value(item, loc))
    bound = form.bound(item, loc, current, str)
    names = list(dict.fromkeys(["auto", "cpu", "cuda", current]))
    st.selectbox(form.label(item, loc), names, accept_new_options=True, **bound)


EDITORS: dict[str, Editor] = {
    "per_structure_targets": target_names,
    "mace_head_target": own_readout,
    "device": device,
}
WIDE_EDITORS: dict[str, Editor] = {
    "loss": loss,
    "atomic_baseline": baseline,
    "fixed_scaling_weights": scales,
}
