"""Editors of options that no plain widget fits: energies of single atoms, scales, groups, targets and heads by name."""

from collections.abc import Iterable
from typing import Any

import streamlit as st

from mace_app.options import OptionField
from mace_app.ui import conversions, loss_editor, wandb_editor
from mace_app.ui.charts.style import readable
from mace_app.ui.device_choice import device_names, device_title
from mace_app.ui.draft import Loc
from mace_app.ui.elements import symbol
from mace_app.ui.forms import Editor, Form, if_shown
from mace_app.ui.text import code, markdown

AUTOMATIC, FIT, ISOLATED = "automatic", "fit", "isolated atoms"
OF_FILE, ESTIMATED = "of the file", "estimated from my data"
ONE_NUMBER, PER_ELEMENT, MEASURED = "one number", "per element", "measured"
WORDS = {FIT: "fit", ISOLATED: "isolated_atoms"}
# What a foundation file's energy may begin with, and when that is right.
OF_A_FILE: dict[str, Any] = {
    OF_FILE: None,
    ESTIMATED: "estimated",
    "isolated atoms in my data": "isolated_atoms",
    PER_ELEMENT: dict,
    ONE_NUMBER: float,
}
OF_A_FILE_WORDS = {
    OF_FILE: "As the file has them: right for data of the same level of theory.",
    ESTIMATED: "Those of the file, shifted by what its predictions leave over on your data: right for another level of "
    "theory.",
    "isolated atoms in my data": "Those of frames with one atom in your data, which must hold every element: right "
    "where you have computed them at your level of theory.",
    PER_ELEMENT: "Numbers of your own; elements left empty keep that of the file.",
    ONE_NUMBER: "The same number for every element, for labels from which single atoms were subtracted.",
}


BY_TARGET, FROM_MODEL = "for each target", "from a trained model"


def _from_model(form: Form, item: OptionField, loc: Loc, words: str) -> bool:
    """Whether the values come from a checkpoint or a run; draws the choice and, if so, the path."""
    mode_key, path_key = form.key(loc, "mode"), form.key(loc, "path")
    current = form.draft.get(loc)
    if mode_key not in st.session_state:
        st.session_state[mode_key] = FROM_MODEL if isinstance(current, str) else BY_TARGET

    def switch() -> None:
        form.draft.unset(loc)
        st.session_state.pop(path_key, None)
        form.draft.save()

    st.segmented_control(
        form.label(item, loc), [BY_TARGET, FROM_MODEL], key=mode_key, required=True, help=form.help(item),
        on_change=if_shown(mode_key, switch),
    )  # fmt: skip
    if st.session_state[mode_key] == BY_TARGET:
        return False
    if path_key not in st.session_state:
        st.session_state[path_key] = current if isinstance(current, str) else ""
    st.text_input(
        f"Checkpoint or run folder to take {words} from",
        key=path_key,
        placeholder="path/to/best.safetensors",
        help=f"A checkpoint of this program (`.safetensors`), or the folder of a run. Its {words} are used unchanged.",
        on_change=if_shown(path_key, lambda: form.store(item, loc, st.session_state[path_key].strip() or None)),
    )
    return True


def baseline(form: Form, item: OptionField, loc: Loc) -> None:
    """For every scalar target: where E0s come from, one number for all elements, or a table with gaps to be fitted."""
    if isinstance(form.draft.get(loc), str) or not form.own_energies:
        if _from_model(form, item, loc, "energies of single atoms"):
            return
    else:  # those of another run would not fit the readouts of the file
        st.markdown(f"**{form.label(item, loc)}**", help=form.help(item))
    scalars = [target.name for target in form.targets.values() if target.kind == "scalar"]
    names = list(dict.fromkeys([*scalars, *_keys(form.draft.get(loc))]))
    if not names:
        st.caption("Choose data and targets first.")
    with st.grid(2, min_column_width=260, gap="small") as grid:
        for name in names:
            with grid.cell():
                _baseline_of(form, item, (*loc, name), name)


def _baseline_of(form: Form, item: OptionField, place: Loc, name: str) -> None:
    if name in form.own_energies:
        words = "\n\n".join(f"**{mode.capitalize()}**: {text}" for mode, text in OF_A_FILE_WORDS.items())
        chosen = _mode(form, place, f"Baseline of {code(name)}", OF_A_FILE, words)
        st.caption(OF_A_FILE_WORDS[chosen])
        _numbers(form, item, place, name, chosen, "of the file")
        return
    chosen = _mode(
        form,
        place,
        f"Baseline of {code(name)}",
        {AUTOMATIC: None, **WORDS, PER_ELEMENT: dict, ONE_NUMBER: float},
        "**Automatic** takes isolated atoms found in the data, otherwise a least-squares fit. **Fit** and "
        "**isolated atoms** insist on one of them. **Per element** gives numbers for some or all elements; the "
        "others are fitted.",
    )
    _numbers(form, item, place, name, chosen, "fitted")


def _numbers(form: Form, item: OptionField, place: Loc, name: str, chosen: str, otherwise: str) -> None:
    if chosen == ONE_NUMBER:
        _plain_number(form, place, f"Baseline of every atom for {code(name)}{_unit(form, name)}", item)
    elif chosen == PER_ELEMENT:
        _element_table(form, place, _unit(form, name), otherwise)


def _mode(form: Form, place: Loc, label: str, modes: dict[str, Any], help_text: str) -> str:
    """A choice whose entries stand for a word, for nothing (None), or for values entered below it (a type)."""
    key = form.key(place, "mode")
    current = form.draft.get(place)
    if key not in st.session_state:
        fits = [
            words for words, value in modes.items()
            if (isinstance(value, type) and isinstance(current, dict if value is dict else int | float | str))
            or (not isinstance(value, type) and value == current)
        ]  # fmt: skip
        st.session_state[key] = fits[0] if fits else next(iter(modes))

    def switch() -> None:
        value = modes[st.session_state[key]]
        form.draft.unset(place)
        if isinstance(value, str):
            form.draft.set(place, value)
        form.draft.save()

    st.selectbox(label, list(modes), key=key, help=help_text, on_change=if_shown(key, switch))
    return str(st.session_state[key])


def _element_table(form: Form, place: Loc, unit: str, placeholder: str) -> None:
    table = form.draft.get(place)
    given: dict[Any, Any] = dict(table) if isinstance(table, dict) else {}
    elements = sorted({*form.elements, *(int(z) for z in given if str(z).isdigit())})
    if not elements:
        st.caption("The elements show here once the data are chosen.")
    with st.grid(4, min_column_width=80, gap="small") as grid:
        for z in elements:
            key = form.key(place, str(z))
            if key not in st.session_state:
                st.session_state[key] = conversions.number_text(given.get(z, given.get(str(z))))
            grid.text_input(
                f"{symbol(z)}{unit}",
                key=key,
                placeholder=placeholder,
                help=f"For {symbol(z)}; empty where it shall be {placeholder}.",
                validate=conversions.OPTIONAL_NUMBER_PATTERN,
                on_change=if_shown(key, _store_element),
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
    """A number for every target, empty where it is measured; for values per atom also one for each element."""
    if _from_model(form, item, loc, "scales"):
        return
    own = [name for name in form.own_energies if name in form.targets]
    free = [name for name in form.targets if name not in own]
    names = list(dict.fromkeys([*free, *_keys(form.draft.get(loc))]))
    if own:
        st.caption(f"{', '.join(map(code, own))}: the scale is that of the foundation file.")
    elif not names:
        st.caption("Choose data and targets first.")
    with st.grid(2, min_column_width=260, gap="small") as grid:
        for name in names:
            with grid.cell():
                _scale_of(form, item, (*loc, name), name)


def _scale_of(form: Form, item: OptionField, place: Loc, name: str) -> None:
    target = form.targets.get(name)
    per_element = (target is not None and target.sample_kind == "atom") or isinstance(form.draft.get(place), dict)
    chosen = _mode(
        form,
        place,
        f"Scale of {code(name)}",
        {MEASURED: None, ONE_NUMBER: float, **({PER_ELEMENT: dict} if per_element else {})},
        "**Measured** on the training set after the baseline is removed, or given by you.",
    )
    if chosen == ONE_NUMBER:
        _plain_number(form, place, f"Scale of {code(name)}{_unit(form, name)}", item)
    elif chosen == PER_ELEMENT:
        _element_table(form, place, _unit(form, name), MEASURED)


def _plain_number(form: Form, place: Loc, label: str, item: OptionField, placeholder: str = "Enter a number") -> None:
    key = form.key(place, "number")
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
        label,
        key=key,
        placeholder=placeholder,
        help=item.help,
        validate=conversions.OPTIONAL_NUMBER_PATTERN,
        on_change=if_shown(key, store),
    )


def group_weights(form: Form, item: OptionField, loc: Loc) -> None:
    """A weight for each group of structures (`config_type`): those of the data, and others by name."""
    st.markdown(f"**{form.label(item, loc)}**", help=form.help(item))
    names = list(dict.fromkeys([*form.groups, *_keys(form.draft.get(loc))]))
    with st.grid(4, min_column_width=170, gap="small") as grid:
        for name in names:
            with grid.cell():
                _plain_number(form, (*loc, name), code(name), item, "1")
        with grid.cell():
            new = form.key(loc, "new")

            def add() -> None:
                name = str(st.session_state[new]).strip()
                st.session_state[new] = ""
                if name and name not in names:
                    form.draft.set((*loc, name), 1.0)
                    form.draft.save()

            st.text_input(
                "Another group",
                key=new,
                placeholder="its config_type",
                help="The `config_type` of structures that the inspected files don't name.",
                on_change=if_shown(new, add),
            )


def atom_bounds(form: Form, item: OptionField, loc: Loc) -> None:
    """Two whole numbers, each of which may be empty."""
    label = form.label(item, loc)
    with st.container(horizontal=True, gap="small", key=form.key(loc)):
        for place, words in enumerate(("at least", "at most")):
            key = form.key(loc, str(place))
            if key not in st.session_state:
                bounds = form.value(item, loc)
                given = bounds[place] if isinstance(bounds, list) and len(bounds) == 2 else None
                st.session_state[key] = given if isinstance(given, int) else None
            st.number_input(
                f"{label}, {words}",
                min_value=1,
                max_value=conversions.LARGEST_INTEGER,
                step=1,
                key=key,
                placeholder="no bound",
                help=form.help(item),
                on_change=if_shown(key, _store_bound),
                args=(form, item, loc, place, key),
            )


def _store_bound(form: Form, item: OptionField, loc: Loc, place: int, key: str) -> None:
    bounds = form.value(item, loc)
    new = list(bounds) if isinstance(bounds, list) and len(bounds) == 2 else [None, None]
    new[place] = st.session_state[key]
    form.store(item, loc, new)


def _unit(form: Form, name: str) -> str:
    target = form.targets.get(name)
    return f" ({markdown(readable(target.unit))})" if target is not None and target.unit else ""


def _keys(value: Any) -> Iterable[str]:
    return [str(key) for key in value] if isinstance(value, dict) else []


def target_names(form: Form, item: OptionField, loc: Loc) -> None:
    """Several targets, chosen from those that are trained."""
    current = [str(name) for name in form.value(item, loc) or []]
    names = [
        name for name, target in form.targets.items() if target.sample_kind == "system" and target.aggregate == "sum"
    ]
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


AS_THE_MAIN = "as the main energy"


def file_head(form: Form, item: OptionField, loc: Loc) -> None:
    """One head of the foundation file; a text as long as its heads are not known."""
    if not form.heads:
        form.text(item, loc)
        return
    current = form.draft.get(loc)
    known = [str(current)] if current is not None and current not in form.heads else []
    alone = form.heads[0] if len(form.heads) == 1 else None
    shown = current if current is not None else alone
    bound = form.bound(item, loc, shown, lambda head: None if head == alone else head)
    st.selectbox(form.label(item, loc), [*form.heads, *known], placeholder="Choose a head", **bound)


def more_heads(form: Form, item: OptionField, loc: Loc) -> None:
    """For each further energy: whether it has readouts of MACE's own, and from which head of the file they start."""
    st.markdown(f"**{form.label(item, loc)}**", help=form.help(item))
    main = str(form.draft.get((*loc[:-1], "mace_head_target")) or "energy")
    given = form.draft.get(loc)
    scalars = [name for name, target in form.targets.items() if target.kind == "scalar" and target.num_subtargets == 1]
    names = [name for name in dict.fromkeys([*scalars, *_keys(given)]) if name != main]
    if not names:
        st.caption("Choose data with a second energy first, or old data to train beside the new.")
    with st.grid(2, min_column_width=260, gap="small") as grid:
        for name in names:
            with grid.cell():
                _more_head(form, item, (*loc, name), name)


def _more_head(form: Form, item: OptionField, place: Loc, name: str) -> None:
    """The choice of one target: no readouts of MACE's own, those of the main energy, or of a head by name."""
    own_head = "a head of its own"
    key = form.key(place)
    current = form.draft.get(place)
    named = list(dict.fromkeys([*form.heads, *([str(current)] if current else [])]))
    if key not in st.session_state:
        st.session_state[key] = own_head if not form.draft.has(place) else current or AS_THE_MAIN

    def store() -> None:
        chosen = st.session_state.get(key)
        if chosen == own_head:
            form.draft.unset(place)
        elif chosen is not None:
            form.draft.set(place, None if chosen == AS_THE_MAIN else chosen)
        form.draft.save()

    st.selectbox(f"Readouts of {code(name)}", [own_head, AS_THE_MAIN, *named], key=key, help=item.help, on_change=store)


def device(form: Form, item: OptionField, loc: Loc) -> None:
    current = str(form.value(item, loc))
    bound = form.bound(item, loc, current, str)
    st.selectbox(
        form.label(item, loc), device_names(current), format_func=device_title, accept_new_options=True, **bound
    )


EDITORS: dict[str, Editor] = {
    "per_structure_targets": target_names,
    "mace_head_target": own_readout,
    "mace_head_name": file_head,
    "device": device,
    "batch_atom_bounds": atom_bounds,
}
WIDE_EDITORS: dict[str, Editor] = {
    "loss": loss_editor.loss,
    "stage_two_loss": loss_editor.loss,
    "config_weights": group_weights,
    "atomic_baseline": baseline,
    "more_mace_heads": more_heads,
    "fixed_scaling_weights": scales,
    "wandb": wandb_editor.wandb,
}
