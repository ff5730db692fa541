"""How one option is written down: what a form, a reference page or an error message needs stands beside the field.

``option(...)`` declares a field of an ``Options`` model; ``option_fields(model)`` lists what was declared.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Importance = Literal["simple", "advanced"]


@dataclass(frozen=True)
class Description:
    """What stands beside a field besides its type, default and bounds. Goes into the JSON schema as ``x-`` keys."""

    explanation: str
    section: str
    importance: Importance
    unit: str | None = None
    not_built: str | None = None
    not_built_values: Mapping[Any, str] = field(default_factory=dict)
    widget: str | None = None

    def __call__(self, schema: dict[str, Any]) -> None:
        """Called by pydantic with the field's JSON schema."""
        schema["x-section"] = self.section
        schema["x-importance"] = self.importance
        schema["x-explanation"] = self.explanation
        for name in ("unit", "not_built", "widget"):
            value = getattr(self, name)
            if value is not None:
                schema[f"x-{name.replace('_', '-')}"] = value
        if self.not_built_values:
            schema["x-not-built-values"] = {str(key): reason for key, reason in self.not_built_values.items()}

    def refusal(self, value: Any, default: Any) -> str | None:
        """The reason why ``value`` is not built yet, or None. The default is always built."""
        if value == default:
            return None
        if self.not_built is not None:
            return self.not_built
        if isinstance(value, str | int | float | bool):
            return self.not_built_values.get(value)
        return None


def option(
    default: Any = ...,
    *,
    title: str,
    help: str,
    explanation: str,
    section: str,
    importance: Importance = "advanced",
    unit: str | None = None,
    not_built: str | None = None,
    not_built_values: Mapping[Any, str] | None = None,
    widget: str | None = None,
    default_factory: Callable[[], Any] | None = None,
    **bounds: float | None,
) -> Any:
    """Declare one field.

    ``help`` is one sentence, ``explanation`` two to four. ``not_built`` is the reason why every value but the default
    is refused; ``not_built_values`` gives a reason for single choices. ``widget`` is a hint for the form: ``irreps``,
    ``log`` (a number on a logarithmic scale), ``path``. ``bounds`` are pydantic's ``gt``, ``ge``, ``lt``, ``le``.
    """
    described = Description(explanation, section, importance, unit, not_built, not_built_values or {}, widget)
    texts: dict[str, Any] = {"title": title, "description": help, "json_schema_extra": described}
    limits: dict[str, Any] = dict(bounds)
    if default_factory is not None:
        return Field(default_factory=default_factory, **texts, **limits)
    return Field(default, **texts, **limits)


@dataclass(frozen=True)
class OptionField:
    """One option as a form, the reference page and the command line see it.

    ``not_built`` is a reason that holds for every value but the default; ``not_built_values`` maps single choices (or,
    for values that can't be listed, words for them) to a reason. ``bounds`` is (lowest, highest), None where open;
    ``exclusive`` says of each whether the bound itself is outside. ``choices`` is empty unless the option is a choice.
    """

    name: str
    title: str
    help: str
    explanation: str
    unit: str | None
    importance: Importance
    section: str
    annotation: Any
    default: Any
    required: bool
    bounds: tuple[float | None, float | None]
    exclusive: tuple[bool, bool]
    choices: tuple[Any, ...]
    optional: bool
    not_built: str | None
    not_built_values: Mapping[Any, str]
    widget: str | None


def option_fields(model: type[BaseModel] | BaseModel) -> list[OptionField]:
    """Every option of a model class, in the order of the form."""
    model_class = model if isinstance(model, type) else type(model)
    return [_described(name, info) for name, info in model_class.model_fields.items()]


def default_of(info: FieldInfo) -> Any:
    """The default of a field; ``PydanticUndefined`` where it is required."""
    return info.get_default(call_default_factory=True)


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, without ``Annotated`` wrappers; a single type is a union of one."""
    if get_origin(annotation) is typing.Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for part in get_args(annotation) for member in alternatives(part))
    return (annotation,)


def description_of(info: FieldInfo) -> Description:
    described = info.json_schema_extra
    if not isinstance(described, Description):
        raise TypeError(f"the field titled {info.title!r} is not declared with option(...)")
    return described


def _described(name: str, info: FieldInfo) -> OptionField:
    described = description_of(info)
    default = default_of(info)
    lowest, highest, outside = _bounds(info)
    members = alternatives(info.annotation)
    choices = tuple(value for member in members if get_origin(member) is Literal for value in get_args(member))
    return OptionField(
        name=name,
        title=info.title or name,
        help=info.description or "",
        explanation=described.explanation,
        unit=described.unit,
        importance=described.importance,
        section=described.section,
        annotation=info.annotation,
        default=None if default is PydanticUndefined else default,
        required=info.is_required(),
        bounds=(lowest, highest),
        exclusive=outside,
        choices=choices,
        optional=type(None) in members,
        not_built=described.not_built,
        not_built_values=described.not_built_values,
        widget=described.widget,
    )


def _bounds(info: FieldInfo) -> tuple[float | None, float | None, tuple[bool, bool]]:
    lowest = highest = None
    open_low = open_high = False
    for constraint in info.metadata:
        for bound in ("gt", "ge"):
            if (value := getattr(constraint, bound, None)) is not None:
                lowest, open_low = value, bound == "gt"
        for bound in ("lt", "le"):
            if (value := getattr(constraint, bound, None)) is not None:
                highest, open_high = value, bound == "lt"
    return lowest, highest, (open_low, open_high)
