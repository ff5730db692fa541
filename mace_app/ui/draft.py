"""The training a person is putting together, in the grammar of `options.yaml`: valid or not yet, kept on disk.

Only what differs from a default is in it. Text that can't be read as a number stays as it was typed, so that nothing is
lost and the error stands at its field.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from pydantic import BaseModel

from mace_app.files import read_json, write_json
from mace_app.options import OptionsError, Problem, RunOptions, parse_options, parse_yaml
from mace_app.options.fields import default_of

Loc = tuple[str, ...]
MODEL: Loc = ("architecture", "model")
TRAINING: Loc = ("architecture", "training")
DATA_KEYS = ("training_set", "validation_set", "test_set")
_STAND_IN = "chosen-later.xyz"


class Draft:
    """Values by their way through the options, for example ``("architecture", "model", "r_max")``.

    A way may lead through a list: ``("training_set", "0", "targets", "energy", "unit")``. Without a ``path`` nothing is
    kept on disk.
    """

    def __init__(self, path: Path | None, values: Mapping[str, Any] | None = None, name: str = "") -> None:
        self.path = path
        self.values: dict[str, Any] = dict(values or {})
        self.name = name

    @classmethod
    def load(cls, path: Path) -> "Draft":
        """The draft of the workspace; an empty one if there is none or the file is damaged."""
        try:
            content = read_json(path)
            values = parse_yaml(content["options"]) if content["options"].strip() else {}
            return cls(path, values, str(content["name"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(path)

    def save(self) -> None:
        if self.path is None:
            return
        write_json(self.path, {"format": 1, "name": self.name, "options": self.text() if self.values else ""})

    def text(self) -> str:
        """YAML of what is set."""
        return to_yaml(self.values)

    def get(self, loc: Loc, default: Any = None) -> Any:
        value: Any = self.values
        for part in loc:
            if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, dict) and part in value:
                value = value[part]
            else:
                return default
        return value

    def has(self, loc: Loc) -> bool:
        missing = object()
        return self.get(loc, missing) is not missing

    def set(self, loc: Loc, value: Any) -> None:
        """Set one value; whatever on the way is neither mapping nor list becomes a mapping."""
        place: Any = self.values
        for part in loc[:-1]:
            if isinstance(place, list):
                place = place[int(part)]
                continue
            if not isinstance(place.get(part), dict | list):
                place[part] = {}
            place = place[part]
        place[int(loc[-1]) if isinstance(place, list) else loc[-1]] = value

    def unset(self, loc: Loc) -> None:
        """Return to the default; mappings left empty by that go too, except in data sets, where they mean something."""
        if loc[0] in DATA_KEYS and len(loc) > 1:
            place = self.get(loc[:-1])
            if isinstance(place, dict):
                place.pop(loc[-1], None)
            return
        places: list[dict[str, Any]] = [self.values]
        for part in loc[:-1]:
            inner = places[-1].get(part)
            if not isinstance(inner, dict):
                return
            places.append(inner)
        places[-1].pop(loc[-1], None)
        for part, place in zip(reversed(loc[:-1]), reversed(places[:-1]), strict=True):
            if place[part] == {}:
                del place[part]

    def check(self) -> tuple[RunOptions | None, list[Problem]]:
        """The options if they are valid, otherwise all problems."""
        try:
            return parse_options(self.values), []
        except OptionsError as error:
            return None, error.problems

    def take(self, text: str) -> None:
        """Replace everything by a YAML text. Raises OptionsError and changes nothing if it holds a mistake.

        A text without a training set is accepted: data can be chosen afterwards.
        """
        given = parse_yaml(text)
        without_data = "training_set" not in given
        options = parse_options({**given, "training_set": _STAND_IN} if without_data else given)
        values = sparse(options)
        if without_data:
            del values["training_set"]
        self.values = values


def to_yaml(values: Mapping[str, Any]) -> str:
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line; no anchors."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        plain = all(not isinstance(entry, dict | list) for entry in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def sparse(options: BaseModel) -> dict[str, Any]:
    """An options model as a mapping with the values that differ from their defaults; reads back equal."""
    values: dict[str, Any] = {}
    for name, info in type(options).model_fields.items():
        value = getattr(options, name)
        if info.is_required() or value != default_of(info):
            values[name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return sparse(value)
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if _is_list(value):
        return [_plain(entry) for entry in value]
    return value


def _is_list(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    return isinstance(value, list | tuple)
