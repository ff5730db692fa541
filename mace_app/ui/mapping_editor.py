"""The editor in which a person says which key of a file means what, and confirms it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from mace_app.jobs import DatasetFolder, JobsError
from mace_app.options import Problem
from mace_app.options.datasets import LENGTH_UNITS
from mace_app.ui.forms import show_errors
from mace_app.ui.mapping import (
    UNITS,
    VALUES,
    VECTOR,
    Key,
    Row,
    fitting_keys,
    mapping_problems,
    new_row,
    rows_of,
    targets_of,
)
from mace_app.ui.state import failure, page
from mace_app.ui.text import code

NONE = "none"
LIKELY_LENGTH_UNIT = "angstrom"
_HELP = {
    "name": "What the model will call it. Standard names are `energy` and `charge`, or `energy/pbe` for a variant; "
    "your own begin with `mtt::`.",
    "key": "The entry of the file that holds the values.",
    "unit": "Nothing is converted; the unit is written into the model and shown beside every error.",
    "forces": "Forces are −dE/dx of this energy, in its unit per unit of length.",
    "stress": "ASE's sign: positive under tension. In the unit of the energy per volume.",
    "virial": "The virial instead of the stress: −volume × stress, in the unit of the energy.",
    "shape": "A vector turns with the structure, and the model keeps that exactly; separate values don't turn.",
}


def mapping_editor(folder: DatasetFolder, keys: Mapping[str, Key], suggestion: Mapping[str, Any]) -> None:
    """Rows of targets, prefilled from the stored mapping or else the suggestion; nothing counts before the button.

    ``suggestion`` holds targets in the grammar of the options.
    """
    stored = folder.mapping()
    prefix = f"mapping-{folder.id}-"
    if f"{prefix}rows" not in st.session_state:
        start = stored["targets"] if stored is not None else suggestion
        st.session_state[f"{prefix}rows"] = rows_of(start)
        st.session_state[f"{prefix}unit"] = (stored or {}).get("length_unit") or LIKELY_LENGTH_UNIT
    rows: list[Row] = st.session_state[f"{prefix}rows"]
    now = {"length_unit": st.session_state[f"{prefix}unit"], "targets": targets_of(rows, keys)}
    confirmed = stored == now
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("What the keys mean", anchor=False, width="content")
        if confirmed:
            st.badge("confirmed", color="green", icon=":material/check:")
        elif stored is None and rows:
            st.badge(
                "suggestion", color="orange", help="Guessed from names and shapes. Nothing is used before you confirm."
            )
        elif stored is not None:
            st.badge("changed", color="orange", help="The earlier mapping counts until you confirm.")
    problems = mapping_problems(rows, keys)
    for number, row in enumerate(rows):
        _row(prefix, number, row, keys, [problem for problem in problems if problem.loc[:1] == (str(number),)])
    if not keys:
        st.caption("The file holds no labels that could be learnt.")
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
        st.button(
            "Add a target",
            key=f"{prefix}add",
            icon=":material/add:",
            on_click=_add,
            args=(prefix, keys),
            disabled=not keys,
        )
        if suggestion and rows != rows_of(suggestion):
            st.button(
                "Back to the suggestion",
                key=f"{prefix}reset",
                icon=":material/undo:",
                type="tertiary",
                on_click=_replace,
                args=(prefix, rows_of(suggestion)),
            )
    show_errors(problem.message for problem in problems if not problem.loc)
    _confirm(folder, now, problems, confirmed, prefix)


def _confirm(folder: DatasetFolder, now: dict[str, Any], problems: list[Problem], confirmed: bool, prefix: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Confirm this mapping",
            key=f"{prefix}confirm",
            type="primary",
            icon=":material/check:",
            disabled=bool(problems) or confirmed,
        ):
            try:
                folder.write_mapping(now)
            except (JobsError, OSError) as error:
                failure("The mapping was not stored", error)
            else:
                st.rerun()
        if confirmed:
            st.page_link(page("train"), label="Train with these data", icon=":material/arrow_forward:")


def _row(prefix: str, number: int, row: Row, keys: Mapping[str, Key], problems: list[Problem]) -> None:
    with st.container(border=True, key=f"{prefix}row-{number}"):
        with st.grid(4, min_column_width=165, gap="small") as grid:
            with grid.cell():
                _text(prefix, number, row, "name", "Target")
            with grid.cell():
                _key(prefix, number, row, "key", "Key", fitting_keys(keys, "energy" if row.energy else "other"), False)
            with grid.cell():
                _unit(prefix, number, row)
            if row.energy:
                for part in ("forces", "stress", "virial"):
                    options = fitting_keys(keys, part)
                    if options or getattr(row, part):
                        with grid.cell():
                            _key(prefix, number, row, part, part.capitalize(), options, True)
            elif row.key in keys and keys[row.key].width == 3:
                with grid.cell():
                    _shape(prefix, number, row)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(_kind(row, keys.get(row.key)))
            st.space("stretch")
            st.button(
                "Remove",
                key=f"{prefix}remove-{number}",
                help=f"Don't use {code(row.name)}",
                icon=":material/close:",
                type="tertiary",
                on_click=_remove,
                args=(prefix, number),
            )
        show_errors(problem.message for problem in problems)


def _kind(row: Row, key: Key | None) -> str:
    if key is None:
        return ""
    place = "for each atom" if key.per_atom else "for each structure"
    if row.energy:
        return f"An energy {place}; its forces and stress are its derivatives."
    if key.width == 3 and row.shape == VECTOR:
        return f"A vector {place}."
    return f"{'One value' if key.width == 1 else f'{key.width} values'} {place}."


def _bind(prefix: str, number: int, row: Row, field: str, shown: Any) -> dict[str, Any]:
    key = f"{prefix}{number}-{field}"
    if key not in st.session_state:
        st.session_state[key] = shown

    def store() -> None:
        value = st.session_state[key]
        rows: list[Row] = st.session_state[f"{prefix}rows"]
        if isinstance(value, str):
            value = value.strip()
        values: dict[str, Any] = {field: None if value == NONE else value or ""}
        rows[number] = replace(rows[number], **values)
        if field == "name":
            named_energy = value.split("/")[0] == "energy"
            rows[number] = replace(rows[number], energy=named_energy or rows[number].energy)

    return {"key": key, "on_change": store, "help": _HELP[field]}


def _text(prefix: str, number: int, row: Row, field: str, label: str) -> None:
    st.text_input(label, **_bind(prefix, number, row, field, getattr(row, field)))


def _key(prefix: str, number: int, row: Row, field: str, label: str, options: list[str], optional: bool) -> None:
    current = getattr(row, field) or NONE
    names = list(dict.fromkeys([*([NONE] if optional else []), *options, current]))
    st.selectbox(label, names, **_bind(prefix, number, row, field, current))


def _unit(prefix: str, number: int, row: Row) -> None:
    names = list(dict.fromkeys(["", *UNITS, row.unit]))
    st.selectbox(
        "Unit",
        names,
        accept_new_options=True,
        format_func=lambda unit: unit or "not given",
        **_bind(prefix, number, row, "unit", row.unit),
    )


def _shape(prefix: str, number: int, row: Row) -> None:
    st.segmented_control(
        "Three values are", [VECTOR, VALUES], required=True, **_bind(prefix, number, row, "shape", row.shape)
    )


def _set_unit(prefix: str) -> None:
    st.session_state[f"{prefix}unit"] = st.session_state[f"{prefix}unit-widget"]


def _replace(prefix: str, rows: list[Row]) -> None:
    """New rows, and widgets that show them."""
    kept = (f"{prefix}rows", f"{prefix}unit")
    for key in [key for key in st.session_state if str(key).startswith(prefix) and key not in kept]:
        del st.session_state[key]
    st.session_state[f"{prefix}rows"] = rows


def _add(prefix: str, keys: Mapping[str, Key]) -> None:
    rows: list[Row] = st.session_state[f"{prefix}rows"]
    _replace(prefix, [*rows, new_row(rows, keys)])


def _remove(prefix: str, number: int) -> None:
    rows: list[Row] = st.session_state[f"{prefix}rows"]
    _replace(prefix, [row for place, row in enumerate(rows) if place != number])
