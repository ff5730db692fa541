"""Errors out of an analysis: pairs of values, their statistics, by groups and by structure.

Conventions, the same as in reports of runs: all values count alike (a force has three, so an RMSE of forces is over
components), a target of a structure is divided by its number of atoms where ``Label.divide_by_atoms`` says so, missing
labels don't count. ``relative`` is RMSE over the root mean square of the reference for labels of atoms (as MACE's own
tables have it for forces), over the spread of the reference for labels of structures, whose mean says nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mace_app.analysis.store import Analysis, Floats, Label

Integers = NDArray[np.int64]
GROUPINGS = ("split", "group", "dataset", "formula", "element")


@dataclass(frozen=True)
class Look:
    """How a label is looked at.

    ``component`` is the place of one value in a flattened row, ``norm`` takes the length of the difference of a row
    instead of its values (then the reference is the length of the reference, the prediction that plus the error).
    ``baseline`` False takes the energies of single atoms away from both sides. ``per_atom`` None divides as the label
    says.
    """

    label: str
    component: int | None = None
    norm: bool = False
    baseline: bool = True
    per_atom: bool | None = None


@dataclass(frozen=True)
class Pairs:
    """Values that are there on both sides, flat. ``structure [n]`` is the row in ``Analysis.structures``; ``atom [n]``
    the row of the atom among all atoms, -1 for labels of structures."""

    reference: Floats
    prediction: Floats
    structure: Integers
    atom: Integers

    def __len__(self) -> int:
        return len(self.reference)

    @property
    def error(self) -> Floats:
        return self.prediction - self.reference

    def of(self, chosen: NDArray[np.bool_]) -> "Pairs":
        return Pairs(self.reference[chosen], self.prediction[chosen], self.structure[chosen], self.atom[chosen])


def pairs(analysis: Analysis, look: Look, structures: NDArray[np.bool_] | None = None) -> Pairs:
    """All pairs of a label, or those of the structures marked in ``structures [S]``."""
    label = analysis.labels[look.label]
    rows = analysis.structure_of_atom if label.per_atom else np.arange(len(analysis))
    reference, prediction = (_flat(analysis, label, values, look) for values in (label.reference, label.prediction))
    if look.norm:
        length = np.linalg.norm(reference, axis=1, keepdims=True)
        reference, prediction = length, length + np.linalg.norm(prediction - reference, axis=1, keepdims=True)
    elif look.component is not None:
        reference, prediction = (values[:, [look.component]] for values in (reference, prediction))
    known = np.isfinite(reference) & np.isfinite(prediction)
    if structures is not None:
        known &= structures[rows][:, None]
    row = np.broadcast_to(np.arange(len(rows))[:, None], known.shape)[known]
    atom = row if label.per_atom else np.full(len(row), -1)
    return Pairs(reference[known], prediction[known], rows[row], atom)


def _flat(analysis: Analysis, label: Label, values: Floats, look: Look) -> Floats:
    flat = values.reshape(len(values), -1)
    if label.baseline is not None and not look.baseline:
        flat = flat - label.baseline[:, None]
    divide = label.divide_by_atoms if look.per_atom is None else look.per_atom
    return flat / analysis.structures.n_atoms[:, None] if divide and not label.per_atom else flat


def unit_of(label: Label, per_atom: bool | None = None) -> str:
    """The unit of errors of a label: that of its values, per atom where they are divided."""
    divide = (label.divide_by_atoms if per_atom is None else per_atom) and not label.per_atom
    return f"{label.unit}/atom" if divide and label.unit else "1/atom" if divide else label.unit


@dataclass(frozen=True)
class Statistics:
    """``bias`` is the mean of prediction − reference; ``r2`` and ``relative`` are None where the reference has no
    spread."""

    count: int
    mae: float
    rmse: float
    max: float
    bias: float
    r2: float | None
    relative: float | None


def statistics(found: Pairs, per_atom: bool = False) -> Statistics | None:
    """None of no pairs. ``per_atom``: of a label of atoms, see ``relative`` above."""
    if not len(found):
        return None
    error, reference = found.error, found.reference
    rmse = float(np.sqrt(np.mean(error**2)))
    spread = float(np.std(reference))
    size = float(np.sqrt(np.mean(reference**2))) if per_atom else spread
    return Statistics(
        count=len(error),
        mae=float(np.abs(error).mean()),
        rmse=rmse,
        max=float(np.abs(error).max()),
        bias=float(error.mean()),
        r2=1 - (rmse / spread) ** 2 if spread > 0 else None,
        relative=rmse / size if size > 0 else None,
    )


@dataclass(frozen=True)
class Row:
    """One row of an error table; ``structures`` are the rows that belong to it."""

    name: str
    structures: Integers
    statistics: Statistics


def table(analysis: Analysis, look: Look, by: str, structures: NDArray[np.bool_] | None = None) -> list[Row]:
    """Errors by ``by``, one of GROUPINGS, largest group first; splits in their order of use.

    By element a label of atoms counts the atoms of the element; a label of structures all structures that hold it.
    """
    label = analysis.labels[look.label]
    found = pairs(analysis, look, structures)
    rows = []
    for name, atoms, members in _groups(analysis, by):
        chosen = found.of(atoms[found.atom] if atoms is not None and label.per_atom else members[found.structure])
        values = statistics(chosen, label.per_atom)
        if values is not None:
            rows.append(Row(name, np.unique(chosen.structure), values))
    order = {"training": 0, "validation": 1, "test": 2}
    return sorted(
        rows, key=lambda row: (order.get(row.name, 3) if by == "split" else 0, -row.statistics.count, row.name)
    )


def _groups(analysis: Analysis, by: str) -> Iterable[tuple[str, NDArray[np.bool_] | None, NDArray[np.bool_]]]:
    """Name, atoms that belong to it (None for all of its structures), structures."""
    if by == "element":
        for number in np.unique(analysis.numbers):
            atoms = analysis.numbers == number
            members = np.zeros(len(analysis), bool)
            members[np.unique(analysis.structure_of_atom[atoms])] = True
            yield chemical_symbols[number], atoms, members
        return
    names = getattr(analysis.structures, by)
    for name in np.unique(names):
        yield str(name), None, names == name


def by_structure(
    analysis: Analysis, found: Pairs, how: Callable[[Floats, Integers, int], Floats] | None = None
) -> Floats:
    """One number a structure ``[S]``: the RMSE of its pairs, or what ``how`` makes of their errors; NaN without any."""
    if how is not None:
        return how(found.error, found.structure, len(analysis))
    count = np.bincount(found.structure, minlength=len(analysis))
    squares = np.bincount(found.structure, found.error**2, minlength=len(analysis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.sqrt(squares / count), np.nan)


def worst_of(errors: Floats, structures: Integers, count: int) -> Floats:
    """For ``by_structure``: the largest absolute error of each structure."""
    worst = np.full(count, -np.inf)
    np.maximum.at(worst, structures, np.abs(errors))
    return np.where(np.isfinite(worst), worst, np.nan)


def mean_of(errors: Floats, structures: Integers, count: int) -> Floats:
    """For ``by_structure``: the signed mean error of each structure."""
    number = np.bincount(structures, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0, np.bincount(structures, errors, minlength=count) / number, np.nan)


def worst(errors: Floats, most: int = 20) -> Integers:
    """The structures with the largest of ``errors [S]``, largest first; those without one are left out."""
    order = np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable")[:most]
    return order[np.isfinite(errors[order])]


def error_of_atoms(analysis: Analysis, label: str) -> Any:
    """Length of the error of every atom ``[N]``; NaN where the label is missing."""
    values = analysis.labels[label]
    return np.linalg.norm((values.prediction - values.reference).reshape(len(values.reference), -1), axis=1)
