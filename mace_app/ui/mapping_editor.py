"""The editor in which a person says which key of a file means what, and confirms it."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from mace_app.jobs import DatasetFolder, JobsError
from mace_app.options import Problem
from mace_app.options.datasets import LENGTH_UNITS
from mace_app.ui.draft import Draft, Loc
from mace_app.ui.forms import Form, forget_widgets, show_errors
from mace_app.ui.mapping import Key, decided, mapping_problems, new_target, unused
from mace_app.ui.state import failure, page
from mace_app.ui.target_fields import TargetFields, in_words
from mace_app.ui.text import code, count, markdown

LIKELY_LENGTH_UNIT = "angstrom"
MOST_OFFERED = 40
DATASET: Loc = ("training_set", "0")
TARGETS: Loc = (*DATASET, "targets")


def mapping_editor(folder: DatasetFolder, keys: Mapping[str, Key], suggestion: Mapping[str, Any]) -> None:
    """A card for each target, prefilled from the stored mapping or else the suggestion; nothing counts before the
    button. ``suggestion`` holds targets in the grammar of the options."""
    stored = folder.mapping()
    prefix = f"mapping-{folder.id}-"
    draft = _draft(prefix, stored, suggestion)
    targets: dict[str, Any] = draft.get(TARGETS)
    now = {"length_unit": st.session_state[f"{prefix}unit"], "targets": decided(targets)}
    confirmed = stored == now
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header("What the keys mean", anchor=False, width="content")
        if confirmed:
            st.badge("confirmed", color="green", icon=":material/check:")
        elif stored is None and targets:
            st.badge(
                "suggestion", color="orange", help="Guessed from names and shapes. Nothing is used before you confirm."
            )
        elif stored is not None:
            st.badge("changed", color="orange", help="The earlier mapping counts until you confirm.")
    problems = mapping_problems(targets, keys)
    placed = [Problem((*TARGETS, *problem.loc), problem.message) for problem in problems if problem.loc]
    form = Form(draft=draft, problems=placed, prefix=prefix)
    for number, name in enumerate(list(targets)):
        _card(form, number, name, keys)
    if not keys:
        st.caption("The file holds no labels that could be learnt.")
    _offers(form, targets, keys, suggestion)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Unit of length",
            [unit for unit in LENGTH_UNITS if unit],
            key=f"{prefix}unit-widget",
            index=[unit for unit in LENGTH_UNITS if unit].index(st.session_state[f"{prefix}unit"]),
            help="Of positions and cells. Extended XYZ files are in ångström nearly always.",
            width=200,
            on_change=_set_unit,
            args=(prefix,),
        )
    show_errors(problem.message for problem in problems if not problem.loc)
    refused = any(str(key).startswith(prefix) and str(key).endswith("name-refused") for key in st.session_state)
    _confirm(folder, now, bool(problems) or refused, confirmed, prefix)


def _draft(prefix: str, stored: Mapping[str, Any] | None, suggestion: Mapping[str, Any]) -> Draft:
    """The mapping of this session as a data set that is on no disk."""
    if f"{prefix}draft" not in st.session_state:
        start = stored["targets"] if stored is not None else suggestion
        st.session_state[f"{prefix}draft"] = Draft(None, {"training_set": [{"targets": decided(start)}]})
        st.session_state[f"{prefix}unit"] = (stored or {}).get("length_unit") or LIKELY_LENGTH_UNIT
    draft: Draft = st.session_state[f"{prefix}draft"]
    return draft


def _card(form: Form, number: int, name: str, keys: Mapping[str, Key]) -> None:
    fields = TargetFields(form, DATASET, number, keys)
    with st.container(border=True, key=f"{form.prefix}card-{number}"):
        fields.draw()
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(in_words(name, fields.target))
            st.space("stretch")
            st.button(
                "Remove",
                key=f"{form.prefix}remove-{number}",
                help=f"Don't use {code(name)}",
                icon=":material/close:",
                type="tertiary",
                on_click=_remove,
                args=(form, name),
            )


def _offers(form: Form, targets: Mapping[str, Any], keys: Mapping[str, Key], suggestion: Mapping[str, Any]) -> None:
    """Entries that no target uses yet, one button each; their units are left to the person."""
    free = unused(targets, keys)
    if free:
        st.caption(
            f"{count(len(free), 'further entry', 'further entries')} of the file can become a target. The unit is "
            "yours to say."
        )
    with st.container(horizontal=True, gap="small", key=f"{form.prefix}offers"):
        for key in free[:MOST_OFFERED]:
            st.button(
                markdown(key.name),
                key=f"{form.prefix}offer-{key.name}",
                icon=":material/add:",
                help=_layout(key),
                on_click=_add,
                args=(form, keys, key.name),
            )
        if keys and not free:
            st.button(
                "Add a target",
                key=f"{form.prefix}add",
                icon=":material/add:",
                on_click=_add,
                args=(form, keys, None),
            )
        if len(free) > 1:
            st.button(
                "Add all",
                key=f"{form.prefix}add-all",
                icon=":material/playlist_add:",
                type="tertiary",
                on_click=_add_all,
                args=(form, keys, [key.name for key in free]),
            )
        if suggestion and targets != decided(suggestion):
            st.button(
                "Back to the suggestion",
                key=f"{form.prefix}reset",
                icon=":material/undo:",
                type="tertiary",
                on_click=_replace,
                args=(form, decided(suggestion)),
            )


def _layout(key: Key) -> str:
    """What an entry would become, as a tooltip."""
    kind = {1: "A number", 3: "A vector", 9: "A tensor 3×3"}.get(key.width, f"{key.width} numbers")
    odd = key.width in (5, 7, 9, 11)
    spherical = f" Spherical components with λ = {(key.width - 1) // 2} can be chosen instead." if odd else ""
    return f"{kind} for each {'atom' if key.per_atom else 'structure'}.{spherical}"


def _confirm(folder: DatasetFolder, now: dict[str, Any], wrong: bool, confirmed: bool, prefix: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Confirm this mapping",
            key=f"{prefix}confirm",
            type="primary",
            icon=":material/check:",
            disabled=wrong or confirmed,
        ):
            try:
                folder.write_mapping(now)
            except (JobsError, OSError) as error:
                failure("The mapping was not stored", error)
            else:
                st.rerun()
        if confirmed:
            st.page_link(
                page("train"),
                label="Train with these data",
                icon=":material/arrow_forward:",
                query_params={"dataset": folder.id},
            )


def _set_unit(prefix: str) -> None:
    st.session_state[f"{prefix}unit"] = st.session_state[f"{prefix}unit-widget"]


def _replace(form: Form, targets: Mapping[str, Any]) -> None:
    """New targets, and widgets that show them."""
    forget_widgets(f"{form.prefix}training_set")
    form.draft.set(TARGETS, dict(targets))


def _add(form: Form, keys: Mapping[str, Key], chosen: str | None) -> None:
    targets = dict(form.draft.get(TARGETS))
    name, target = new_target(targets, keys, chosen)
    _replace(form, {**targets, name: target})


def _add_all(form: Form, keys: Mapping[str, Key], chosen: list[str]) -> None:
    for name in chosen:
        _add(form, keys, name)


def _remove(form: Form, name: str) -> None:
    _replace(form, {other: target for other, target in form.draft.get(TARGETS).items() if other != name})
