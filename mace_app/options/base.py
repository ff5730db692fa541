"""The base of every options model: all problems at once, each one a sentence, and nothing silently ignored."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mace_app.options.errors import OWN_ERROR, Problem, listed, problems_of, refuse, suggestion, validation_error
from mace_app.options.fields import alternatives, default_of, description_of


class Options(BaseModel):
    """Frozen; unknown keys are errors; a subclass adds rules that need several fields in ``problems()``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    # Names used by other programs for an option that exists here, or words for one that doesn't: {key: hint}.
    hints: ClassVar[Mapping[str, str]] = {}

    def problems(self) -> list[Problem]:
        """What is wrong although every field by itself is right; locs are relative to this model."""
        return []

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Short forms written out, before anything is checked: what the YAML may say in fewer words."""
        return value

    def changed(self, name: str) -> bool:
        """Whether an option differs from its default. Writing a default down is not a change."""
        return bool(getattr(self, name) != default_of(type(self).model_fields[name]))

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        members = alternatives(cls.model_fields[info.field_name or ""].annotation)
        if isinstance(value, bool) and bool not in members and (int in members or float in members):
            raise refuse(f"`{info.field_name}` must be a number, not {str(value).lower()}.")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _refuse_what_is_not_built(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        reason = description_of(field).refusal(value, default_of(field))
        if reason is not None:
            default = shown(default_of(field))
            raise refuse(f"`{info.field_name}: {shown(value)}` is not built yet: {reason} Leave it at {default}.")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _collect_problems(cls, value: Any, handler: ModelWrapValidatorHandler["Options"]) -> "Options":
        if isinstance(value, cls):
            return value
        value = cls.expand(value)
        if not isinstance(value, Mapping):
            raise refuse(f"This must be a mapping with the keys {listed(cls.model_fields)}; it is {shown(value)}.")
        problems: list[Problem] = [
            Problem((str(key),), cls._unknown(key)) for key in value if key not in cls.model_fields
        ]
        try:
            options = handler({key: entry for key, entry in value.items() if key in cls.model_fields})
        except ValidationError as error:
            for details in error.errors(include_url=False):
                problems.append(Problem(tuple(str(part) for part in details["loc"]), cls._sentence(details)))
        else:
            problems.extend(options.problems())
            if not problems:
                return options
        raise validation_error(cls.__name__, problems)

    @classmethod
    def _unknown(cls, key: Any) -> str:
        if str(key) in cls.hints:
            return f"There is no option `{key}` here: {cls.hints[str(key)]}"
        close = suggestion(str(key), cls.model_fields)
        return f"There is no option `{key}` here." + (close or f" The options are {listed(cls.model_fields)}.")

    @classmethod
    def _sentence(cls, details: ErrorDetails) -> str:
        """Pydantic's words for an error in one of this model's own fields, as a sentence of ours."""
        if details["type"] == OWN_ERROR:
            return details["msg"]
        name = str(details["loc"][0]) if details["loc"] else ""
        field = cls.model_fields.get(name)
        path = ".".join(str(part) for part in details["loc"])
        if details["type"] == "missing":
            return f"`{path}` is missing. {field.description if field is not None else ''}".strip()
        expected = _expectation(details, field)
        return f"`{path}` must be {expected}; it is {shown(details['input'])}." + _close_choice(details, field)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def validate_each(model: type[AnyOptions], entries: Iterable[tuple[Any, Any]]) -> list[tuple[Any, AnyOptions]]:
    """Validate the values of (key, value) pairs; all problems are raised together, each below its key."""
    valid: list[tuple[Any, AnyOptions]] = []
    problems: list[Problem] = []
    for key, entry in entries:
        try:
            valid.append((key, model.model_validate(entry)))
        except ValidationError as error:
            problems.extend(Problem((str(key), *problem.loc), problem.message) for problem in problems_of(error))
    if problems:
        raise validation_error(model.__name__, problems)
    return valid


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "a mapping",
    "finite": "a finite number",
}
_COMPARISONS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _expectation(details: ErrorDetails, field: FieldInfo | None) -> str:
    kind = details["type"]
    context = details.get("ctx") or {}
    if kind in _COMPARISONS:
        bound, words = _COMPARISONS[kind]
        unit = description_of(field).unit if field is not None else None
        return f"{words} {shown(context[bound])}" + (f" {unit}" if unit else "")
    if kind == "literal_error":
        return f"one of {_choices_in_words(field)}" if field is not None else str(context.get("expected"))
    return _KINDS.get(kind.split("_")[0], details["msg"].lower())


def _choices(field: FieldInfo) -> list[Any]:
    members = alternatives(field.annotation)
    return [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]


def _choices_in_words(field: FieldInfo) -> str:
    return listed(_choices(field)) + (" or `null`" if type(None) in alternatives(field.annotation) else "")


def _close_choice(details: ErrorDetails, field: FieldInfo | None) -> str:
    if details["type"] != "literal_error" or field is None or not isinstance(details["input"], str):
        return ""
    return suggestion(details["input"], [str(choice) for choice in _choices(field)])


def shown(value: Any) -> str:
    """A value as it would stand in a YAML file, on one line and not too long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        value = value.model_dump()
    text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
