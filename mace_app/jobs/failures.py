"""Why a run is not finished, in a form for programs: what happened, and a change of the options that may help.

The sentence for people is the ``reason`` beside it. A page can offer the suggestion as one click.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Cause = Literal[
    "out_of_memory",  # of the machine or its GPU
    "disk_full",
    "diverged",  # also: the loss is no finite number
    "bad_data",
    "bad_options",
    "device_lost",  # the GPU stopped answering
    "killed",
    "restarted",  # the machine or its container
    "folder_gone",
    "export_refused",
    "defect",  # of this program
    "other",
]

# What came from outside and is over: the same work may well succeed the next time.
PASSING_CAUSES: frozenset[str] = frozenset({"restarted", "disk_full"})


@dataclass(frozen=True)
class Suggestion:
    """Set the option at ``path`` (as in ``options.yaml``) to ``value``; ``before`` is what it is now. ``text`` says so
    in a few words."""

    path: tuple[str, ...]
    value: Any
    before: Any
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"path": list(self.path), "value": self.value, "before": self.before, "text": self.text}

    @classmethod
    def from_json(cls, value: Any) -> "Suggestion | None":
        if not isinstance(value, Mapping) or not isinstance(value.get("path"), Sequence):
            return None
        path = tuple(str(part) for part in value["path"])
        return cls(path, value.get("value"), value.get("before"), str(value.get("text", "")))


@dataclass(frozen=True)
class Failure:
    cause: Cause
    suggestion: Suggestion | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "suggestion": None if self.suggestion is None else self.suggestion.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Failure | None":
        """None for what is no failure that this version knows."""
        if not isinstance(value, Mapping) or value.get("cause") not in get_args(Cause):
            return None
        return cls(value["cause"], Suggestion.from_json(value.get("suggestion")))
