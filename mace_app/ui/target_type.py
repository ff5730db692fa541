"""What kind of thing a target is: number, vector, tensor, or a list of irreps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from mace_app.options import option_fields
from mace_app.options.targets import CartesianRank, SphericalIrrep
from mace_app.ui.forms import if_shown
from mace_app.ui.mapping import SHAPES, SPHERICAL, TENSOR, VECTOR, irreps_of, is_energy, shape_of, with_shape
from mace_app.ui.text import code, count, markdown

if TYPE_CHECKING:
    from mace_app.ui.target_fields import TargetFields

SYMMETRY = {"as the data": None, "symmetric": True, "general": False}
SIGMAS = {"proper (σ = 1)": 1, "pseudo (σ = −1)": -1}
_IRREP = {item.name: item for item in option_fields(SphericalIrrep)}
_TYPE_HELP = (
    "**A number, a vector, a 3×3 tensor, or real spherical components.**\n\nA vector or tensor turns with the "
    "structure, and the model keeps that exactly; separate numbers don't turn. The model's features must hold matching "
    "irreps: `1o` for a vector, `0e` and `2e` for a symmetric tensor."
)


def shape(fields: "TargetFields") -> None:
    """The choice of the kind."""
    form, loc = fields.form, (*fields.loc, "type")
    widget = form.key(loc)
    if widget not in st.session_state:
        st.session_state[widget] = shape_of(fields.target)

    def changed() -> None:
        fields.replace(with_shape(fields.name, fields.target, st.session_state[widget], fields.key), ("type",))

    st.selectbox("Type", list(SHAPES), key=widget, help=_TYPE_HELP, on_change=if_shown(widget, changed))


def symmetry(fields: "TargetFields") -> None:
    """Of a tensor: whether it equals its transpose."""
    form = fields.form
    widget = form.key((*fields.loc, "type"), "symmetric")
    item = next(item for item in option_fields(CartesianRank) if item.name == "symmetric")
    cartesian = fields.target["type"]["cartesian"]
    if widget not in st.session_state:
        st.session_state[widget] = next(
            (words for words, value in SYMMETRY.items() if value is cartesian.get("symmetric")), next(iter(SYMMETRY))
        )

    def changed() -> None:
        value = SYMMETRY[st.session_state[widget]]
        rank = {"rank": 2} if value is None else {"rank": 2, "symmetric": value}
        form.draft.set((*fields.loc, "type"), {"cartesian": rank})
        form.draft.save()

    st.selectbox("The tensor is", list(SYMMETRY), key=widget, help=form.help(item), on_change=if_shown(widget, changed))


def irreps(fields: "TargetFields") -> None:
    """The blocks of a spherical target, a row for each."""
    rows = irreps_of(fields.target)
    for number, row in enumerate(rows):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            _whole(fields, number, "o3_lambda", row.get("o3_lambda"), "Angular momentum λ", 0, 11)
            _sigma(fields, number, row.get("o3_sigma"))
            _whole(fields, number, "num", row.get("num", 1), "Copies", 1, 10_000)
            if len(rows) > 1:
                st.button(
                    "Remove block",
                    key=fields.form.key((*fields.loc, "type"), f"remove-{number}"),
                    icon=":material/close:",
                    type="tertiary",
                    help=f"Remove the block with λ = {row.get('o3_lambda')}",
                    on_click=_store_irreps,
                    args=(fields, [entry for place, entry in enumerate(rows) if place != number]),
                )
    taken = {entry.get("o3_lambda") for entry in rows}
    free = next(number for number in range(12) if number not in taken or number == 11)
    st.button(
        "Add a block",
        key=fields.form.key((*fields.loc, "type"), "add"),
        icon=":material/add:",
        help="A further irrep, for example λ = 0 beside λ = 2.",
        on_click=_store_irreps,
        args=(fields, [*rows, {"o3_lambda": free, "o3_sigma": 1}]),
    )


def _store_irreps(fields: "TargetFields", rows: list[dict[str, Any]], redraw: bool = True) -> None:
    target = {**fields.target, "type": {"spherical": {"irreps": rows}}}
    if redraw:
        fields.replace(target, ())
    else:
        fields.form.draft.set(fields.loc, target)
        fields.form.draft.save()


def _change(fields: "TargetFields", number: int, name: str, value: Any) -> None:
    rows = irreps_of(fields.target)
    rows[number][name] = value
    if name == "num" and value == 1:
        del rows[number]["num"]
    _store_irreps(fields, rows, redraw=False)


def _whole(fields: "TargetFields", number: int, name: str, value: Any, label: str, low: int, high: int) -> None:
    widget = fields.form.key((*fields.loc, "type"), f"{number}-{name}")
    if widget not in st.session_state:
        st.session_state[widget] = value if isinstance(value, int) else low

    def changed() -> None:
        _change(fields, number, name, low if st.session_state[widget] is None else int(st.session_state[widget]))

    st.number_input(
        label,
        min_value=low,
        max_value=high,
        step=1,
        key=widget,
        width=150,
        help=fields.form.help(_IRREP[name]),
        on_change=if_shown(widget, changed),
    )


def _sigma(fields: "TargetFields", number: int, value: Any) -> None:
    widget = fields.form.key((*fields.loc, "type"), f"{number}-o3_sigma")
    if widget not in st.session_state:
        st.session_state[widget] = next(
            (words for words, sigma in SIGMAS.items() if sigma == value), next(iter(SIGMAS))
        )

    def changed() -> None:
        _change(fields, number, "o3_sigma", SIGMAS[st.session_state[widget]])

    st.segmented_control(
        "Inversion",
        list(SIGMAS),
        key=widget,
        required=True,
        help=fields.form.help(_IRREP["o3_sigma"]),
        on_change=if_shown(widget, changed),
    )


def words(name: str, target: Mapping[str, Any]) -> str:
    """What a target is, in a few words: key, unit, shape."""
    parts = [f"from {code(target.get('key') or name)}"]
    if target.get("unit"):
        parts.append(f"in {markdown(target['unit'])}")
    per_atom = target.get("sample_kind") == "atom"
    place = "for each atom" if per_atom else "for each structure"
    if is_energy(name, target):
        what = "an energy"
    else:
        what = _several(target)
        if target.get("aggregate") == "mean" and not per_atom:
            place += ", the mean of its atoms"
    return ", ".join([*parts, f"{what} {place}"])


def _several(target: Mapping[str, Any]) -> str:
    copies = target.get("num_subtargets", 1)
    copies = copies if isinstance(copies, int) else 1
    chosen = shape_of(target)
    if chosen == SPHERICAL:
        blocks = " + ".join(f"λ={entry.get('o3_lambda')}" for entry in irreps_of(target))
        return f"spherical components {markdown(blocks)}" + (f", {copies} times" if copies > 1 else "")
    one, many = {VECTOR: ("a vector", "vector"), TENSOR: ("a tensor", "tensor")}.get(chosen, ("a number", "number"))
    return one if copies == 1 else count(copies, many)
