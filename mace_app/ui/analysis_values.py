"""What is looked at of an analysis: which values, on which structures, in which unit; and their errors.

Made once for a view and kept for all sessions of the server, the least used first to go.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mace_app.analysis import Analysis, Label
from mace_app.ui.charts import ALL, DisplayUnit, components
from mace_app.ui.charts.analysis_points import rows_of

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Made = TypeVar("Made")
MOST_BYTES = 384_000_000


@dataclass(frozen=True)
class View:
    """``part`` is a component's title; ``by_vector``: an error is the length of a difference of vectors, not of one of
    its components; ``split`` empty: all."""

    label: str
    unit: DisplayUnit
    part: str = ALL
    by_vector: bool = False
    per_atom: bool = False
    without_baseline: bool = False
    split: str = ""


@dataclass(frozen=True)
class Values:
    """Every pair of finite values of a view, structure after structure.

    ``error`` is prediction minus reference, or of vectors the length of the difference; ``structure`` the row of the
    structure, ``atom`` the atom's number within it, −1 of a value of the whole structure. ``mean [S]`` and
    ``largest [S]`` are those of a structure's absolute errors, NaN where it has none.
    """

    view: View
    reference: Floats
    prediction: Floats
    error: Floats
    structure: NDArray[np.int32]
    atom: NDArray[np.int32]
    mean: Floats
    largest: Floats
    _derived: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.error)

    def derived(self, name: str, make: Callable[[], Made]) -> Made:
        """``make()``, once."""
        if name not in self._derived:
            self._derived[name] = make()
        return self._derived[name]

    def latest(self, name: str, state: object, make: Callable[[], Made]) -> Made:
        """``make()``, again only for another ``state`` than the last time (by identity)."""
        kept = self._derived.get(name)
        if kept is None or kept[0] is not state:
            kept = self._derived[name] = (state, make())
        return kept[1]

    @property
    def of_atoms(self) -> bool:
        """Whether the label belongs to atoms, not to structures."""
        return len(self.atom) > 0 and int(self.atom[0]) >= 0

    @property
    def size(self) -> Floats:
        """Absolute errors."""
        return self.derived("size", lambda: np.abs(self.error))

    def of(self, structures: Rows) -> NDArray[np.int64]:
        """The rows of these structures' values."""
        return rows_of(self.structure, structures)

    def measure(self, largest: bool) -> Floats:
        return self.largest if largest else self.mean


@dataclass(frozen=True)
class Errors:
    """In the unit of the values; ``r2`` is None where the references don't vary or errors are lengths. ``relative`` is
    that of ``mace_app.analysis.errors``."""

    count: int
    mae: float
    rmse: float
    max: float
    r2: float | None
    relative: float | None


def errors_of(values: Values, rows: Rows | slice = slice(None)) -> Errors | None:
    """None without any value."""
    size, reference = values.size[rows], values.reference[rows]
    if not len(size):
        return None
    spread = float(np.sum((reference - reference.mean()) ** 2))
    squares = float(np.sum(size**2))
    known = spread > 0 and not values.view.by_vector
    whole = float(np.sum(reference**2)) if values.of_atoms else spread
    return Errors(
        len(size),
        float(size.mean()),
        float(np.sqrt(squares / len(size))),
        float(size.max()),
        1 - squares / spread if known else None,
        float(np.sqrt(squares / whole)) if whole > 0 else None,
    )


def is_vector(label: Label) -> bool:
    return label.shape[:1] == (3,) and int(np.prod(label.shape)) == 3


def compute(analysis: Analysis, view: View) -> Values:
    """Errors of a view."""
    label = analysis.labels[view.label]
    of_row = analysis.structure_of_atom if label.per_atom else np.arange(len(analysis))
    reference, prediction = label.reference, label.prediction
    if view.without_baseline and label.baseline is not None:
        shift = label.baseline.reshape(-1, *[1] * len(label.shape))
        reference, prediction = reference - shift, prediction - shift
    if view.per_atom and not label.per_atom:
        count = analysis.structures.n_atoms.reshape(-1, *[1] * len(label.shape))
        reference, prediction = reference / count, prediction / count
    if view.split:
        rows = np.flatnonzero((analysis.structures.split == view.split)[of_row])
        reference, prediction, of_row = reference[rows], prediction[rows], of_row[rows]
    else:
        rows = np.arange(len(of_row))
    atom = rows - analysis.first_atom[of_row] if label.per_atom else np.full(len(rows), -1)
    if view.by_vector:
        lengths = [
            np.linalg.norm(v.reshape(len(v), -1), axis=1) for v in (prediction - reference, reference, prediction)
        ]
        error, reference, prediction = lengths
        width = 1
    else:
        part = next(
            entry for entry in components(view.label, label.shape, analysis.info.targets) if entry.title == view.part
        )
        reference, prediction = part.select(np.asarray(reference)), part.select(np.asarray(prediction))
        width = reference.shape[1]
        error = prediction - reference
    return _finished(
        view, reference, prediction, error, np.repeat(of_row, width), np.repeat(atom, width), len(analysis)
    )


def _finished(
    view: View, reference: Floats, prediction: Floats, error: Floats, structure: Rows, atom: Rows, structures: int
) -> Values:
    flat = [np.asarray(values, dtype=float).reshape(-1) for values in (reference, prediction, error)]
    finite = np.isfinite(flat[2])
    if not finite.all():
        flat, structure, atom = [values[finite] for values in flat], structure[finite], atom[finite]
    flat = [values * view.unit.factor for values in flat]
    size = np.abs(flat[2])
    mean, largest = np.full(structures, np.nan), np.full(structures, np.nan)
    if len(size):
        starts = np.flatnonzero(np.r_[True, np.diff(structure) > 0])
        counts = np.diff(np.r_[starts, len(structure)])
        mean[structure[starts]] = np.add.reduceat(size, starts) / counts
        largest[structure[starts]] = np.maximum.reduceat(size, starts)
    return Values(view, flat[0], flat[1], flat[2], structure.astype(np.int32), atom.astype(np.int32), mean, largest)


def scaled(values: Values, unit: DisplayUnit) -> Values:
    """The same in another unit; ``unit.factor`` is against that of ``values``."""
    view = replace(values.view, unit=unit)
    factor = unit.factor
    return Values(
        view,
        values.reference * factor,
        values.prediction * factor,
        values.error * factor,
        values.structure,
        values.atom,
        values.mean * factor,
        values.largest * factor,
    )


class Kept:
    """Values of many views, at most about ``MOST_BYTES`` together. Safe to share among threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Values] = OrderedDict()
        self._most = most_bytes

    def get(self, key: Hashable, make: Callable[[], Values]) -> Values:
        """Kept under ``key``, or made now."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        made = make()
        with self._lock:
            self._values[key] = made
            while len(self._values) > 1 and sum(map(_bytes, self._values.values())) > self._most:
                self._values.popitem(last=False)
        return made

    def __len__(self) -> int:
        return len(self._values)


def _bytes(values: Values) -> int:
    """What it holds, with about as much again for what is made of it."""
    return 64 * len(values) + 16 * len(values.mean)
