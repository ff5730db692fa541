"""The parts of a label that can be looked at one by one: x, y, z; xx, xy …; m; irreps; values of a spectrum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mace_app.jobs import ParityLabel
from mace_app.options import TargetInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALL = "all"
MOST_VALUES = 12
_AXES = "xyz"


@dataclass(frozen=True)
class Component:
    """``select`` takes values ``[rows, …]`` as they stand in the parity file and gives ``[rows, n]``."""

    title: str
    select: "Callable[[NDArray], NDArray]"

    def of(self, data: ParityLabel) -> ParityLabel:
        """The same rows with this part of their values."""
        return replace(
            data,
            reference=self.select(np.asarray(data.reference, dtype=float)),
            prediction=self.select(np.asarray(data.prediction, dtype=float)),
        )


def components(label: str, shape: tuple[int, ...], targets: Mapping[str, TargetInfo]) -> list[Component]:
    """All values first, then the parts of a label whose rows have this ``shape``; a single value has no parts."""
    everything = Component(ALL, _flat)
    if int(np.prod(shape)) <= 1:
        return [everything]
    return [everything, *_parts(label, shape, targets)]


def _parts(label: str, shape: tuple[int, ...], targets: Mapping[str, TargetInfo]) -> list[Component]:
    name, block = _block_name(label)
    target = targets.get(name)
    if label.endswith((".forces", ".stress", ".virial")) and label not in targets:
        return _tensor(shape) if shape[:2] == (3, 3) else _vector() if shape[:1] == (3,) else []
    if target is None:
        return []
    if target.kind == "cartesian":
        return _tensor(shape) if target.rank == 2 and shape[:2] == (3, 3) else _vector() if shape[:1] == (3,) else []
    if target.kind == "spherical":
        return _spherical(target, block, shape)
    count = shape[0] if len(shape) == 1 else 0
    return [Component(f"value {n + 1}", _column(n)) for n in range(count)] if count <= MOST_VALUES else []


def _block_name(label: str) -> tuple[str, str]:
    """``mtt::x (λ=2 σ=+1)``, an irrep reported by itself, as its target and its title."""
    name, bracket, title = label.partition(" (")
    return (name, title.rstrip(")")) if bracket else (label, "")


def _spherical(target: TargetInfo, block: str, shape: tuple[int, ...]) -> list[Component]:
    blocks = target.blocks
    if block:
        found = next((entry for entry in blocks if entry.title == block), None)
        return _orders(found.components[0]) if found is not None else []
    if len(blocks) == 1:
        return _orders(blocks[0].components[0])
    fits = shape == (blocks[-1].stop,)
    return [Component(entry.title, _range(entry.start, entry.stop)) for entry in blocks] if fits else []


def _orders(size: int) -> list[Component]:
    """m = −l…l of a block of ``size`` = 2l + 1, and the length of all."""
    highest = (size - 1) // 2
    if highest == 0:
        return []
    titles = [f"m = {m}".replace("-", "−") for m in range(-highest, highest + 1)]
    return [*(Component(title, _order(size, n)) for n, title in enumerate(titles)), Component("norm", _norm(size))]


def _vector() -> list[Component]:
    return [*(Component(axis, _order(3, n)) for n, axis in enumerate(_AXES)), Component("length", _norm(3))]


def _tensor(shape: tuple[int, ...]) -> list[Component]:
    """Diagonal, off-diagonal (each with its transpose: they are equal where the tensor is symmetric), norm."""
    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1), (2, 1), (2, 0), (1, 0)]
    entries = [Component(_AXES[i] + _AXES[j], _order(9, 3 * i + j)) for i, j in pairs]
    return [*entries, Component("trace", _trace), Component("norm", _norm(9))]


def _flat(values: "NDArray") -> "NDArray":
    return values.reshape(len(values), -1)


def _column(number: int) -> "Callable[[NDArray], NDArray]":
    return lambda values: _flat(values)[:, number : number + 1]


def _range(start: int, stop: int) -> "Callable[[NDArray], NDArray]":
    return lambda values: _flat(values)[:, start:stop]


def _order(size: int, number: int) -> "Callable[[NDArray], NDArray]":
    """One component of every property: ``[rows, components · properties]``, components slow."""
    return lambda values: values.reshape(len(values), size, -1)[:, number]


def _norm(size: int) -> "Callable[[NDArray], NDArray]":
    return lambda values: np.linalg.norm(values.reshape(len(values), size, -1), axis=1)


def _trace(values: "NDArray") -> "NDArray":
    return values.reshape(len(values), 9, -1)[:, [0, 4, 8]].sum(axis=1)
