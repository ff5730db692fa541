"""The fields of one target: name, source, unit, type, derivatives. For a mapping and for the Train page alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from mace_app.options import OptionField, TargetOptions, option_fields
from mace_app.ui import target_type
from mace_app.ui.draft import Loc
from mace_app.ui.forms import Form, if_shown, show_errors
from mace_app.ui.mapping import (
    DERIVATIVES,
    MASK_ENDINGS,
    SPHERICAL,
    TENSOR,
    UNITS,
    Key,
    Target,
    derivative_key,
    fitted,
    fitting_keys,
    is_energy,
    rename,
    shape_of,
)

NONE, IF_FOUND = "none", "if the data have it"
QUANTITIES = ("", "energy", "dipole", "polarizability", "charge", "spectrum")
FIELDS: Mapping[str, OptionField] = {item.name: item for item in option_fields(TargetOptions)}
_NAME_HELP = (
    "**What the model will call it.**\n\nStandard names are `energy`, `charge` and a few more, or `energy/pbe` for a "
    "variant; your own begin with `mtt::`, for example `mtt::dipole`."
)
_MASK_HELP = (
    "**An entry of the file that is true or 1 where a value counts.**\n\nIt goes with the losses whose names begin "
    "with `masked`. Values that are NaN need no mask."
)
Rename = Callable[[str, str], None]


@dataclass(frozen=True)
class TargetFields:
    """Target ``number`` of the data set at ``dataset`` in the form's draft.

    ``keys`` are the entries of the file, empty where it was not inspected. ``renamed(old, new)`` is called after a name
    was changed; ``open_choice`` offers to leave forces and stress to the data.
    """

    form: Form
    dataset: Loc
    number: int
    keys: Mapping[str, Key]
    renamed: Rename | None = None
    open_choice: bool = False

    # Everything is looked up by number at the time of need: a callback may come after the name has changed.

    @property
    def name(self) -> str:
        return self.form.names(self.targets_loc)[self.number]

    @property
    def targets_loc(self) -> Loc:
        return (*self.dataset, "targets")

    @property
    def loc(self) -> Loc:
        return (*self.targets_loc, self.name)

    @property
    def target(self) -> Target:
        value = self.form.draft.get(self.loc)
        return dict(value) if isinstance(value, Mapping) else {}

    @property
    def key(self) -> Key | None:
        return self.keys.get(str(self.target.get("key") or self.name))

    def draw(self) -> None:
        """All fields, with errors at each and what concerns the whole target below."""
        form = self.form
        brief, unmarked, form.brief, form.unmarked = form.brief, form.unmarked, True, True
        drawn = ["name", "key", "unit"]
        with st.grid(4, min_column_width=190, gap="small") as grid:
            for draw in (self._name, self._key, self._unit):
                with grid.cell():
                    draw()
            if is_energy(self.name, self.target):
                for part in DERIVATIVES:
                    if self.open_choice or fitting_keys(self.keys, part) or self.target.get(part):
                        with grid.cell():
                            self._derivative(part)
                        drawn.append(part)
            else:
                with grid.cell():
                    target_type.shape(self)
                if shape_of(self.target) == TENSOR:
                    with grid.cell():
                        target_type.symmetry(self)
                if self.target.get("sample_kind") != "atom":
                    with grid.cell():
                        form.field(FIELDS["aggregate"], (*self.loc, "aggregate"))
                    drawn.append("aggregate")
                with grid.cell():
                    form.field(FIELDS["num_subtargets"], (*self.loc, "num_subtargets"))
                drawn += ["type", "num_subtargets"]
        if not is_energy(self.name, self.target):
            if shape_of(self.target) == SPHERICAL:
                target_type.irreps(self)
            show_errors(form.messages((*self.loc, "type")))
        self._more(drawn)
        form.brief, form.unmarked = brief, unmarked
        places = [(*self.loc, part) for part in drawn]
        show_errors(form.messages_besides(self.loc, places))

    def _more(self, drawn: list[str]) -> None:
        rest = ["quantity", "description", "sample_kind"]
        wrong = any(self.form.messages((*self.loc, part)) for part in rest)
        more = st.expander("More", key=self.form.key(self.loc, "more"), expanded=wrong)
        with more, st.grid(3, min_column_width=190, gap="small") as grid:
            with grid.cell():
                self._choice("quantity", QUANTITIES, "none in particular")
            with grid.cell():
                self.form.field(FIELDS["description"], (*self.loc, "description"))
            with grid.cell():
                self.form.field(FIELDS["sample_kind"], (*self.loc, "sample_kind"))
            if self.open_choice:
                for label, words in self._masked():
                    with grid.cell():
                        self._mask(label, words)
        drawn += rest

    def _name(self) -> None:
        form = self.form
        widget, refused = form.key(self.loc, "name"), form.key(self.loc, "name-refused")
        if widget not in st.session_state:
            st.session_state[widget] = self.name
            st.session_state.pop(refused, None)

        def changed() -> None:
            new, old = str(st.session_state[widget]).strip(), self.name
            others = [name for name in form.names(self.targets_loc) if name != old]
            st.session_state.pop(refused, None)
            if not new:
                st.session_state[refused] = "A target needs a name; write for example `mtt::dipole`."
            elif new in others:
                st.session_state[refused] = f"Another target is named `{new}`; choose another name."
            elif new != old:
                form.draft.set(self.targets_loc, rename(form.draft.get(self.targets_loc), old, new))
                if self.renamed is not None:
                    self.renamed(old, new)
                form.draft.save()

        st.text_input("Name", key=widget, help=_NAME_HELP, on_change=if_shown(widget, changed))
        if refused in st.session_state:
            show_errors([st.session_state[refused]])

    def _key(self) -> None:
        item = FIELDS["key"]
        names = fitting_keys(self.keys, "energy" if is_energy(self.name, self.target) else "other")

        def store(chosen: str) -> None:
            target = {**self.target, "key": chosen}
            self.replace(fitted(self.name, target, self.keys.get(chosen)))

        self._select(item, "key", "Key", names, str(self.target.get("key") or self.name), store)

    def _unit(self) -> None:
        self._choice("unit", ("", *UNITS), "not given")

    def _choice(self, name: str, values: Sequence[str], empty: str) -> None:
        """A text with values to choose from; others can be typed."""
        item, loc, form = FIELDS[name], (*self.loc, name), self.form
        current = str(form.draft.get(loc) or "")
        bound = form.bound(item, loc, current, lambda text: (text or "").strip())
        st.selectbox(
            item.title,
            list(dict.fromkeys([*values, current])),
            accept_new_options=True,
            format_func=lambda text: text or empty,
            **bound,
        )
        show_errors(form.messages(loc))

    def _derivative(self, part: str) -> None:
        value = self.target.get(part)
        open_ = [IF_FOUND] if part != "virial" and (self.open_choice or (value is None and part in self.target)) else []
        chosen = derivative_key(part, value)
        missing = part not in self.target or value is None
        current = chosen or (IF_FOUND if missing and open_ else NONE)

        def store(choice: str) -> None:
            target = {name: entry for name, entry in self.target.items() if name != part}
            if choice not in (NONE, IF_FOUND):
                target[part] = {"key": choice}
            elif choice == NONE:
                target[part] = False
            self.replace(target, (part,))

        self._select(
            FIELDS[part], part, FIELDS[part].title, [NONE, *open_, *fitting_keys(self.keys, part)], current, store
        )

    def _select(
        self, item: OptionField, name: str, label: str, names: Sequence[str], current: str, store: Callable[[str], None]
    ) -> None:
        loc, form = (*self.loc, name), self.form
        widget = form.key(loc)
        if widget not in st.session_state:
            st.session_state[widget] = current

        def changed() -> None:
            # Without a value where the step was left before the change arrived.
            chosen = str(st.session_state.get(widget) or "").strip()
            if chosen:
                store(chosen)

        st.selectbox(
            label,
            list(dict.fromkeys([*names, st.session_state[widget] or current])),
            key=widget,
            help=form.help(item),
            accept_new_options=not self.keys,
            on_change=if_shown(widget, changed),
        )
        show_errors(form.messages(loc))

    def _masked(self) -> list[tuple[str, str]]:
        if not is_energy(self.name, self.target):
            return [("", "Mask")]
        there = [part for part in ("forces", "stress") if self.target.get(part) is not False]
        return [("", "Mask"), *((f".{part}", f"Mask of the {part}") for part in there)]

    def _mask(self, ending: str, words: str) -> None:
        form = self.form
        name = self.name + MASK_ENDINGS[ending]
        loc = (*self.dataset, "extra_data", name)
        value = form.draft.get(loc)
        given = value.get("key") if isinstance(value, Mapping) else value
        widget = form.key((*self.loc, "mask" + ending))
        if widget not in st.session_state:
            st.session_state[widget] = str(given or "")

        def changed() -> None:
            extra = dict(form.draft.get((*self.dataset, "extra_data")) or {})
            mask = self.name + MASK_ENDINGS[ending]
            extra.pop(mask, None)
            if text := str(st.session_state[widget]).strip():
                extra[mask] = {"key": text}
            if extra:
                form.draft.set((*self.dataset, "extra_data"), extra)
            else:
                form.draft.unset((*self.dataset, "extra_data"))
            form.draft.save()

        st.text_input(
            f"{words} (key in the file)",
            key=widget,
            placeholder="none",
            help=_MASK_HELP,
            on_change=if_shown(widget, changed),
        )
        show_errors(form.messages(loc))

    def replace(self, target: Target, keep: Sequence[str] = ("key",)) -> None:
        """Store another definition, and let all widgets but those of ``keep`` show it."""
        form, loc = self.form, self.loc
        stay = {form.key((*loc, name)) for name in keep} | {form.key(loc, "name"), form.key(loc, "name-refused")}
        for key in [key for key in st.session_state if str(key).startswith(form.key(loc) + "-")]:
            if key not in stay:
                del st.session_state[key]
        form.draft.set(loc, target)
        form.draft.save()


def in_words(name: str, target: Mapping[str, Any]) -> str:
    """What a target is, in a few words."""
    return target_type.words(name, target)
