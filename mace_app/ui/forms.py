"""A form out of options models: one widget a field, errors beside it, everything it says read from the declaration.

A field's value lives in the draft, at its way through the options; the widget is only its face. So loading a YAML file
or a preset is a change of the draft and ``forget_widgets``.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from pydantic import BaseModel

from mace_app.options import OptionField, Problem, TargetInfo, option_fields
from mace_app.ui import conversions, irreps_builder
from mace_app.ui.conversions import choices_of, kind_of
from mace_app.ui.draft import DATA_KEYS, Draft, Loc
from mace_app.ui.text import markdown, sentence_html, sentence_markdown

PREFIX = "option-"


_EDITED_MARK = (
    'content: "edited"; margin-left: 0.5em; padding: 0 0.4em; border-radius: 0.3em; font-size: 0.85em; '
    "color: light-dark(#2450b8, #9db9ff); background: light-dark(#e6edfb, #22304f);"
)


def _css_class(key: str) -> str:
    """The class Streamlit gives an element with this key, without its prefix."""
    return re.sub(r"[^a-zA-Z0-9_-]", "-", key.strip())


def widget_key(loc: Loc, suffix: str = "", prefix: str = PREFIX) -> str:
    return prefix + "-".join(loc) + (f"--{suffix}" if suffix else "")


def forget_widgets(prefix: str = PREFIX) -> None:
    """Make every widget of the form show the draft again; call before they are drawn or in a callback."""
    for key in [key for key in st.session_state if str(key).startswith(prefix)]:
        del st.session_state[key]


def if_shown(key: str, change: Callable[..., None]) -> Callable[..., None]:
    """``change``, but not for a widget that is gone: what was typed last may arrive after its step was left."""

    def run(*given: Any) -> None:
        if key in st.session_state:
            change(*given)

    return run


@dataclass(frozen=True)
class Part:
    """A model whose fields are drawn. ``always``: further ones for simple mode; ``leave_out``: drawn elsewhere."""

    model: type[BaseModel]
    loc: Loc
    always: Collection[str] = ()
    leave_out: Collection[str] = ()


@dataclass
class Form:
    """What the widgets of one script run share.

    ``elements`` are the atomic numbers of the chosen data. Options whose type no plain widget fits have an editor, by
    name: in the grid of the others, or ``wide``, in a frame of its own. ``brief`` leaves out all text below the widgets
    but errors; ``unmarked`` the marks of edited fields. ``groups`` are the names of groups of structures in the data,
    ``heads`` those of the foundation file, ``own_energies`` the targets that it serves.
    """

    draft: Draft
    problems: Sequence[Problem] = ()
    targets: Mapping[str, TargetInfo] = field(default_factory=dict)
    elements: Sequence[int] = ()
    advanced: bool = False
    brief: bool = False
    unmarked: bool = False
    groups: Sequence[str] = ()
    heads: Sequence[str] = ()
    own_energies: Sequence[str] = ()
    length_unit: str = "Å"
    prefix: str = PREFIX
    editors: Mapping[str, "Editor"] = field(default_factory=dict)
    wide_editors: Mapping[str, "Editor"] = field(default_factory=dict)
    _edited: list[Loc] = field(default_factory=list)
    _messages: dict[Loc, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for problem in self.problems:
            self._messages[problem.loc].append(problem.message)

    def key(self, loc: Loc, suffix: str = "") -> str:
        """The key of a field's widget. A target is known by its number: a new name must not take away the focus."""
        if len(loc) > 3 and loc[2] == "targets" and loc[0] in DATA_KEYS:
            names = self.names(loc[:3])
            if loc[3] in names:
                loc = (*loc[:3], str(names.index(loc[3])), *loc[4:])
        return widget_key(loc, suffix, self.prefix)

    def names(self, loc: Loc) -> list[str]:
        """The keys of a mapping in the draft."""
        value = self.draft.get(loc)
        return [str(name) for name in value] if isinstance(value, dict) else []

    def messages(self, loc: Loc) -> list[str]:
        """Problems at a place and below it."""
        return [text for place, texts in self._messages.items() if place[: len(loc)] == loc for text in texts]

    def placed_messages(self, loc: Loc) -> list[tuple[Loc, str]]:
        """Like ``messages``, each with its place."""
        return [(place, text) for place, texts in self._messages.items() if place[: len(loc)] == loc for text in texts]

    def messages_besides(self, loc: Loc, places: Sequence[Loc]) -> list[str]:
        """Problems at a place and below it that none of ``places``, where they are shown already, covers."""
        return [
            text
            for where, texts in self._messages.items()
            if where[: len(loc)] == loc and not any(where[: len(place)] == place for place in places)
            for text in texts
        ]

    # Sections

    def sections(self, *parts: Part) -> None:
        """The fields of several models: in simple mode those that matter most, and any edited or with an error."""
        placed: list[tuple[OptionField, Loc, Part]] = [
            (item, (*part.loc, item.name), part)
            for part in parts
            for item in option_fields(part.model)
            if item.name not in part.leave_out
        ]
        shown = [
            (item, loc)
            for item, loc, part in placed
            if item.not_built is None and (self.advanced or item.name in part.always or self._matters(item, loc))
        ]
        if self.advanced:
            for title in dict.fromkeys(item.section for item, _ in shown):
                st.header(title, anchor=False)
                self._fields([(item, loc) for item, loc in shown if item.section == title], title)
        else:
            self._fields(shown, parts[0].model.__name__)
        unbuilt = [(item, loc) for item, loc, _ in placed if item.not_built is not None]
        for _, loc in unbuilt:
            self._errors(loc)
        if self.advanced and unbuilt:
            self._not_built([item for item, _ in unbuilt])

    def shows(self, part: Part) -> bool:
        """Whether anything of a part is drawn."""
        return any(
            item.name not in part.leave_out
            and (self.advanced or item.name in part.always or self._matters(item, (*part.loc, item.name)))
            for item in option_fields(part.model)
            if item.not_built is None
        )

    def _matters(self, item: OptionField, loc: Loc) -> bool:
        return item.importance == "simple" or self.draft.has(loc) or bool(self.messages(loc))

    def _fields(self, items: Sequence[tuple[OptionField, Loc]], title: str) -> None:
        small = [(item, loc) for item, loc in items if item.name not in self.wide_editors]
        if small:
            with st.grid(3, min_column_width=240, gap="medium", key=f"{PREFIX}{title}-grid") as grid:
                for item, loc in small:
                    with grid.cell():
                        self.field(item, loc)
        for item, loc in items:
            if item.name in self.wide_editors:
                with st.container(border=True, gap="small", key=self.key(loc, "editor")):
                    self.wide_editors[item.name](self, item, loc)
                    self._errors(loc)

    def _not_built(self, items: list[OptionField]) -> None:
        with st.expander(f"Not built yet ({len(items)})", icon=":material/construction:"):
            st.caption("These options of metatrain exist but can't be changed yet. They stand at their defaults.")
            for item in items:
                st.markdown(f"**{markdown(item.title)}** `{item.name}` — {sentence_markdown(item.not_built or '')}")

    # One field

    def field(self, item: OptionField, loc: Loc) -> None:
        """Label with unit, widget, the sentence that explains it, errors."""
        if item.name in self.editors:
            self.editors[item.name](self, item, loc)
        else:
            self._widget(item, loc)
        if not self.advanced and not self.brief:
            st.caption(sentence_markdown(item.help))
        for value, reason in item.not_built_values.items() if self.advanced and not self.brief else ():
            st.caption(f"Not built yet: {sentence_markdown(f'`{value}`')}, because {sentence_markdown(reason)}")
        self._errors(loc)

    def _widget(self, item: OptionField, loc: Loc) -> None:
        kind = kind_of(item)
        (self.text if kind == "text" else getattr(self, f"_{kind}"))(item, loc)

    def label(self, item: OptionField, loc: Loc) -> str:
        """Title and unit. An edited field is marked by a style rule: a badge in the label would be read out as code."""
        if self.draft.has(loc) and not self.unmarked:
            self._edited.append(loc)
        unit = self.length_unit if item.unit == "Å" else item.unit
        return item.title if unit is None or unit in item.title.lower() else f"{item.title} ({unit})"

    def mark_edited(self) -> None:
        """Draw the marks of the fields that were drawn; call once, at the end."""
        selectors = ", ".join(
            f'.st-key-{_css_class(self.key(loc, suffix))} [data-testid="stWidgetLabel"]::after'
            for loc in self._edited
            for suffix in ("", "mode")
        )
        if selectors:
            st.html(f"<style>{selectors} {{ {_EDITED_MARK} }}</style>")

    def help(self, item: OptionField) -> str:
        """The tooltip: one sentence, the explanation, and the name and limits as they stand in the YAML."""
        bounds = conversions.bounds_text(item)
        limits = f"`{item.name}`" + (f", {bounds}" if bounds else "") + f". Default: {default_text(item)}."
        return "\n\n".join(
            [f"**{sentence_markdown(item.help)}**", sentence_markdown(item.explanation), sentence_markdown(limits)]
        )

    def _errors(self, loc: Loc) -> None:
        show_errors(self.messages(loc))

    def value(self, item: OptionField, loc: Loc) -> Any:
        return self.draft.get(loc, item.default)

    def store(self, item: OptionField, loc: Loc, value: Any) -> None:
        """Keep a value read from a widget; the default is not kept, and an empty field returns to it."""
        if value == item.default or (value is None and not item.optional):
            self.draft.unset(loc)
            if value is None:
                for key in (self.key(loc), self.key(loc, "number")):
                    st.session_state.pop(key, None)
        else:
            self.draft.set(loc, value)
        self.draft.save()

    def bound(self, item: OptionField, loc: Loc, shown: Any, read: Callable[[Any], Any]) -> dict[str, Any]:
        """The arguments every widget shares; ``read`` turns its value into the option's."""
        key = self.key(loc)
        if key not in st.session_state:
            st.session_state[key] = shown

        def changed() -> None:
            self.store(item, loc, read(st.session_state[key]))

        return {"key": key, "help": self.help(item), "on_change": if_shown(key, changed)}

    def _toggle(self, item: OptionField, loc: Loc) -> None:
        st.toggle(self.label(item, loc), **self.bound(item, loc, bool(self.value(item, loc)), bool))

    def _choice(self, item: OptionField, loc: Loc) -> None:
        choices = choices_of(item)
        labels = [choice.label for choice in choices]
        values = {choice.label: choice.value for choice in choices}
        current = next((c.label for c in choices if c.value == self.value(item, loc)), labels[0])
        bound = self.bound(item, loc, current, lambda label: values.get(label, item.default))
        if len(choices) <= conversions.MOST_SEGMENTS:
            st.segmented_control(self.label(item, loc), labels, required=True, wrap=True, **bound)
        else:
            st.selectbox(self.label(item, loc), labels, **bound)

    def _integer(self, item: OptionField, loc: Loc) -> None:
        current = self.value(item, loc)
        low, high = item.bounds
        bound = self.bound(item, loc, current if isinstance(current, int) else None, lambda value: value)
        st.number_input(
            self.label(item, loc),
            min_value=int(low) if low is not None else -conversions.LARGEST_INTEGER,
            max_value=int(high) if high is not None else conversions.LARGEST_INTEGER,
            step=1,
            placeholder="not set" if item.optional else default_text(item),
            **bound,
        )

    def _number(self, item: OptionField, loc: Loc) -> None:
        pattern = conversions.OPTIONAL_NUMBER_PATTERN if item.optional else conversions.NUMBER_PATTERN
        shown = conversions.number_text(self.value(item, loc))
        bound = self.bound(item, loc, shown, conversions.read_number)
        st.text_input(
            self.label(item, loc),
            validate=pattern,
            placeholder="not set" if item.optional else default_text(item),
            **bound,
        )

    def _auto_number(self, item: OptionField, loc: Loc) -> None:
        word = str(item.choices[0])
        current = self.value(item, loc)
        own = "own number"
        mode_key, number_key = self.key(loc), widget_key(loc, "number")
        automatic = current == word and st.session_state.get(mode_key) != own
        bound = self.bound(item, loc, word if automatic else own, lambda mode: word if mode == word else current)
        st.segmented_control(self.label(item, loc), [word, own], required=True, **bound)
        if not automatic:
            if number_key not in st.session_state:
                st.session_state[number_key] = "" if current == word else conversions.number_text(current)
            st.text_input(
                f"Number for {item.title}",
                key=number_key,
                label_visibility="collapsed",
                validate=conversions.NUMBER_PATTERN,
                placeholder="Enter a number",
                help=self.help(item),
                on_change=if_shown(
                    number_key, lambda: self.store(item, loc, conversions.read_number(st.session_state[number_key]))
                ),
            )

    def _integers(self, item: OptionField, loc: Loc) -> None:
        shown = conversions.integers_text(self.value(item, loc))
        bound = self.bound(item, loc, shown, conversions.read_integers)
        st.text_input(
            self.label(item, loc),
            validate=conversions.INTEGERS_PATTERN,
            placeholder=default_text(item) if item.default else "from the data",
            **bound,
        )

    def _irreps(self, item: OptionField, loc: Loc) -> None:
        shown = self.value(item, loc)
        bound = self.bound(item, loc, shown or "", lambda text: text.strip() or None)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
            st.text_input(
                self.label(item, loc),
                validate=conversions.IRREPS_PATTERN,
                placeholder="as the atoms" if item.optional else default_text(item),
                **bound,
            )
            irreps_builder.popover(
                self.key(loc, "builder"),
                scalars_only=item.name == "MLP_irreps",
                use=lambda text: self._use(item, loc, text),
            )

    def _use(self, item: OptionField, loc: Loc, text: str) -> None:
        st.session_state[self.key(loc)] = text
        self.store(item, loc, text)

    def text(self, item: OptionField, loc: Loc) -> None:
        """A plain text field."""
        shown = self.value(item, loc) or ""
        bound = self.bound(item, loc, str(shown), lambda text: text.strip() or None)
        st.text_input(self.label(item, loc), placeholder="not set" if item.optional else default_text(item), **bound)

    def _other(self, item: OptionField, loc: Loc) -> None:
        """A nested option without an editor of its own, as YAML on one line."""
        shown = conversions.flow_text(self.value(item, loc))
        bound = self.bound(item, loc, shown, conversions.read_flow)
        st.text_input(self.label(item, loc), placeholder=default_text(item), **bound)


Editor = Callable[[Form, OptionField, Loc], None]


def default_text(item: OptionField) -> str:
    """A default in words for a tooltip or placeholder."""
    value = item.default
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in ({}, []):
        return "automatic"
    return conversions.integers_text(value) if isinstance(value, list) else conversions.number_text(value)


def show_errors(messages: Iterable[str]) -> None:
    """Sentences in red where they belong, announced by screen readers."""
    lines = list(dict.fromkeys(messages))
    if lines:
        st.html("".join(f'<p class="field-error" role="alert">{sentence_html(line)}</p>' for line in lines))
