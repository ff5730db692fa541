"""Baselines and scales that a person gives instead of having them fitted: ``{target: number}`` and the like."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from mace_app.options.base import shown
from mace_app.options.errors import refuse

PER_ELEMENT = "scaling weights per element belong to targets given per atom and come with a later version."
CHECKPOINT = "reading it from a checkpoint comes with a later version; give numbers per target instead."


def _number(name: str, value: Any) -> float:
    """A finite number from YAML; text such as ``1e-3`` counts, a truth value doesn't."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not abs(number) < float("inf"):
        raise refuse(f"`{name}` must be a number; it is {shown(value)}.")
    return number


def _baseline(value: Any) -> dict[str, float | dict[int, float]]:
    if isinstance(value, str):
        raise refuse(f"`atomic_baseline: {value}` is not built yet: {CHECKPOINT}")
    if not isinstance(value, Mapping):
        raise refuse(
            f"`atomic_baseline` must be a mapping such as `{{energy: {{1: -13.6, 8: -432.1}}}}`; it is {shown(value)}."
        )
    result: dict[str, float | dict[int, float]] = {}
    for target, entry in value.items():
        place = f"atomic_baseline.{target}"
        if isinstance(entry, Mapping):
            result[str(target)] = {_element(place, z): _number(f"{place}.{z}", e) for z, e in entry.items()}
        else:
            result[str(target)] = _number(place, entry)
    return result


def _element(place: str, value: Any) -> int:
    try:
        z = int(value)
    except (TypeError, ValueError):
        z = 0
    if isinstance(value, bool) or not 1 <= z <= 118:
        raise refuse(f"The keys of `{place}` must be atomic numbers from 1 to 118; one is {shown(value)}.")
    return z


def _scaling(value: Any) -> dict[str, float]:
    if isinstance(value, str):
        raise refuse(f"`fixed_scaling_weights: {value}` is not built yet: {CHECKPOINT}")
    if not isinstance(value, Mapping):
        raise refuse(f"`fixed_scaling_weights` must be a mapping such as `{{energy: 0.5}}`; it is {shown(value)}.")
    result = {}
    for target, entry in value.items():
        place = f"fixed_scaling_weights.{target}"
        if isinstance(entry, Mapping):
            raise refuse(f"`{place}` with a weight for each element is not built yet: {PER_ELEMENT}")
        result[str(target)] = _number(place, entry)
        if result[str(target)] <= 0:
            raise refuse(f"`{place}` must be more than 0, because targets are divided by it; it is {shown(entry)}.")
    return result


Baseline = Annotated[dict[str, Any], BeforeValidator(_baseline)]
Scaling = Annotated[dict[str, float], BeforeValidator(_scaling)]
