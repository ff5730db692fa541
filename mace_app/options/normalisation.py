"""Baselines and scales that a person gives instead of having them measured: ``{target: number}`` and the like.

Both options may also be a path of one of our checkpoints or run folders. Options hold the path; ``tasks`` reads it.
"""

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BeforeValidator

from mace_app.options.base import shown
from mace_app.options.errors import listed, refuse

FOUNDATION_WORDS = ("foundation", "estimated")
BASELINE_WORDS = ("fit", "isolated_atoms", *FOUNDATION_WORDS)
_FOREIGN = {
    ".ckpt": "a checkpoint of metatrain, which can run any code when it is opened",
    ".model": "a model of MACE, which can run any code when it is opened",
    ".pt": "an exported model, which holds no baseline and scale that can be read",
}


def _number(name: str, value: Any) -> float:
    """A finite number from YAML; text such as ``1e-3`` counts, a truth value doesn't."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not abs(number) < float("inf"):
        raise refuse(f"`{name}` must be a number; it is {shown(value)}.")
    return number


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if number <= 0:
        raise refuse(f"`{name}` must be more than 0, because targets are divided by it; it is {shown(value)}.")
    return number


def _element(place: str, value: Any) -> int:
    try:
        z = int(value)
    except (TypeError, ValueError):
        z = 0
    if isinstance(value, bool) or not 1 <= z <= 118:
        raise refuse(f"The keys of `{place}` must be atomic numbers from 1 to 118; one is {shown(value)}.")
    return z


def _table(place: str, value: Any, number: Callable[[str, Any], float]) -> float | dict[int, float]:
    """A number, or a number for each element."""
    if not isinstance(value, Mapping):
        return number(place, value)
    if not value:
        raise refuse(f"`{place}` is empty; give numbers for some elements, or leave it out.")
    return {_element(place, z): number(f"{place}.{z}", entry) for z, entry in value.items()}


def _checkpoint(name: str, value: str, example: str) -> str:
    """The path of a checkpoint or run folder of ours."""
    foreign = _FOREIGN.get(PurePath(value).suffix.lower())
    if foreign is not None:
        raise refuse(
            f"`{name}: {value}` is {foreign}. Name a run folder or a `.safetensors` checkpoint, or give {example}."
        )
    if not value.strip():
        raise refuse(f"`{name}` is empty; name a run folder or a `.safetensors` checkpoint, or give {example}.")
    return value


def _baseline(value: Any) -> dict[str, Any] | str:
    example = "`{energy: {1: -13.6, 8: -432.1}}`"
    if isinstance(value, str):
        if value in BASELINE_WORDS:
            raise refuse(f"`{value}` belongs to one target: write for example `atomic_baseline: {{energy: {value}}}`.")
        return _checkpoint("atomic_baseline", value, example)
    if not isinstance(value, Mapping):
        raise refuse(f"`atomic_baseline` must be a mapping such as {example}, or a path; it is {shown(value)}.")
    return {str(target): _own_baseline(f"atomic_baseline.{target}", entry) for target, entry in value.items()}


def _own_baseline(place: str, entry: Any) -> Any:
    if isinstance(entry, str):
        if entry in BASELINE_WORDS:
            return entry
        try:
            float(entry)
        except ValueError:
            raise refuse(
                f"`{place}` must be a number, a table such as `{{1: -13.6, 8: -432.1}}`, or one of "
                f"{listed(BASELINE_WORDS)}; it is {shown(entry)}. A path is given for all targets at once: "
                "`atomic_baseline: path`."
            ) from None
    return _table(place, entry, _number)


def _scaling(value: Any) -> dict[str, Any] | str:
    example = "`{energy: 0.5}`"
    if isinstance(value, str):
        return _checkpoint("fixed_scaling_weights", value, example)
    if not isinstance(value, Mapping):
        raise refuse(f"`fixed_scaling_weights` must be a mapping such as {example}, or a path; it is {shown(value)}.")
    place = "fixed_scaling_weights"
    return {str(target): _table(f"{place}.{target}", entry, _positive) for target, entry in value.items()}


Baseline = Annotated[dict[str, Any] | str, BeforeValidator(_baseline)]
Scaling = Annotated[dict[str, float | dict[int, float]] | str, BeforeValidator(_scaling)]
