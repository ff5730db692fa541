"""Which widget an option gets, and how its value is written into that widget and read back.

What can't be read stays as the text it is; validation then reports it at the field.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import yaml

from mace_app.options import OptionField
from mace_app.options.fields import alternatives
from mace_app.ui.text import number

Kind = Literal["toggle", "choice", "integer", "number", "auto_number", "integers", "irreps", "text", "other"]
MOST_SEGMENTS = 4
# Browsers count in doubles: beyond this a number input would round.
LARGEST_INTEGER = 2**53 - 1

NUMBER_PATTERN = (r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$", "Enter a number such as 0.01 or 5e-07.")
OPTIONAL_NUMBER_PATTERN = (
    r"^\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)?\s*$",
    "Enter a number such as 0.01 or 5e-07, or leave it empty.",
)
INTEGERS_PATTERN = (r"^([\s\[\]\d,;]|none|null)*$", "Enter whole numbers with commas between, such as 64, 64, 64.")
IRREPS_PATTERN = (
    r"^\s*(\d*x?\d+[eo](\s*\+\s*\d*x?\d+[eo])*)?\s*$",
    "Enter irreps such as 32x0e + 32x1o: channels, x, angular momentum, e (even) or o (odd).",
)


@dataclass(frozen=True)
class Choice:
    """One entry of a choice: the option's value and the words shown for it."""

    value: Any
    label: str


def kind_of(field: OptionField) -> Kind:
    """The widget of an option; ``other`` is left to an editor of its own."""
    members = [member for member in alternatives(field.annotation) if member is not type(None)]
    if field.widget == "irreps":
        return "irreps"
    if members == [bool]:
        return "toggle"
    if float in members and any(get_origin(member) is Literal for member in members):
        return "auto_number"
    if field.choices or bool in members:
        return "choice"
    if members == [int]:
        return "integer"
    if members == [float]:
        return "number"
    if members == [str]:
        return "text"
    if len(members) == 1 and get_origin(members[0]) is list and int in alternatives(get_args(members[0])[0]):
        return "integers"
    return "other"


def choices_of(field: OptionField) -> list[Choice]:
    """What can be chosen today: choices that are not built are left to the caption below the widget."""
    values = [value for value in field.choices if value not in field.not_built_values]
    if bool in alternatives(field.annotation):
        values += [True, False]
    found = [Choice(value, _words(value, values)) for value in values]
    return [*found, Choice(None, "none")] if field.optional else found


def _words(value: Any, others: list[Any]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    ending = "InteractionBlock"
    return str(value).removesuffix(ending) if all(str(other).endswith(ending) for other in others) else str(value)


def number_text(value: Any) -> str:
    """A value as text for a text field; None is empty."""
    if value is None:
        return ""
    return number(float(value)) if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def read_number(text: str | None) -> Any:
    """A float, None for an empty text, or the text itself."""
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        return text


def integers_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join("none" if entry is None else str(entry) for entry in value)
    return number_text(value)


def read_integers(text: str | None) -> Any:
    """A list of whole numbers, None for an empty text, or the text itself."""
    parts = [part for part in re.split(r"[,;\s\[\]]+", text or "") if part]
    if not parts:
        return None
    try:
        return [None if part.lower() in ("none", "null") else int(part) for part in parts]
    except ValueError:
        return text


def flow_text(value: Any) -> str:
    """A nested value as YAML on one line; nothing for None and what is empty."""
    if value in (None, {}, []):
        return ""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9).strip()


def read_flow(text: str | None) -> Any:
    """What YAML on one line says, None for an empty text, or the text itself."""
    if text is None or not text.strip():
        return None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def bounds_text(field: OptionField) -> str:
    """``at least 1, less than 2``, or nothing."""
    parts = []
    for bound, outside, words in zip(
        field.bounds, field.exclusive, (("at least", "more than"), ("at most", "less than")), strict=True
    ):
        if bound is not None:
            parts.append(f"{words[outside]} {number(bound)}")
    return ", ".join(parts)
