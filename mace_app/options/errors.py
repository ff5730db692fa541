"""What is wrong with options, in sentences, each at the option it concerns."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

OWN_ERROR = "option"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``loc`` is the way to the option, for example ``("architecture", "model", "r_max")``."""

    loc: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(self.loc)}: {self.message}" if self.loc else self.message


class OptionsError(ValueError):
    """Every problem of a set of options at once; ``str()`` gives one sentence a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def problems_of(error: ValidationError) -> list[Problem]:
    """The problems inside pydantic's error, for code that validates a single section such as ``ModelHypers``."""
    problems = []
    for details in error.errors(include_url=False):
        problem = Problem(tuple(str(part) for part in details["loc"]), details["msg"])
        if problem not in problems:
            problems.append(problem)
    return problems


def refuse(message: str) -> PydanticCustomError:
    """The error to raise inside a field's validator."""
    return PydanticCustomError(OWN_ERROR, "{message}", {"message": message})


def validation_error(title: str, problems: Sequence[Problem]) -> ValidationError:
    """The error to raise for several problems, each at its own place below the model being validated."""
    lines = [InitErrorDetails(type=refuse(problem.message), loc=problem.loc, input=None) for problem in problems]
    return ValidationError.from_exception_data(title, lines)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that looks most like ``name``, or None when none is close; case does not count."""
    lowered = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """`` Did you mean `x`?`` with a leading space, or nothing."""
    found = nearest(name, candidates)
    return f" Did you mean `{found}`?" if found else ""


def listed(names: Iterable[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)
