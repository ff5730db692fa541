"""Errors of groups of structures, or of elements, all at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mace_app.analysis import Analysis
from mace_app.ui.analysis_values import Errors, Values
from mace_app.ui.elements import symbol

KINDS = {
    "group": "config_type",
    "formula": "Formula",
    "element": "Element",
    "dataset": "Data set",
    "split": "Split",
}


@dataclass(frozen=True)
class Group:
    """``structures`` are rows of the analysis."""

    name: str
    structures: NDArray[np.int64]
    errors: Errors


def groups_of(analysis: Analysis, values: Values, kind: str) -> list[Group]:
    """The groups of a ``kind`` (of ``KINDS``) that have values, the largest RMSE first.

    By element: the values of that element's atoms, or, of a label of whole structures, of the structures with it.
    """
    if kind == "element":
        found = _elements(analysis, values)
    else:
        names, code = np.unique(getattr(analysis.structures, kind), return_inverse=True)
        present = np.unique(values.structure)
        found = [
            Group(str(names[number]), present[code[present] == number], errors)
            for number, errors in _errors(code[values.structure], values).items()
        ]
    return sorted(found, key=lambda group: -group.errors.rmse)


def kinds_of(analysis: Analysis) -> list[str]:
    """The kinds that tell structures apart here; always the elements."""
    return [kind for kind in KINDS if kind == "element" or len(np.unique(getattr(analysis.structures, kind))) > 1] or [
        "element"
    ]


def file_name(path: object) -> str:
    """The last part of a path of any system."""
    return str(path).replace("\\", "/").rpartition("/")[2]


def _elements(analysis: Analysis, values: Values) -> list[Group]:
    owner = analysis.structure_of_atom
    present = np.zeros(len(analysis), dtype=bool)
    present[values.structure] = True
    found = []
    if len(values) and values.atom[0] >= 0:
        by_element = _errors(analysis.numbers[analysis.first_atom[values.structure] + values.atom], values)
        for z, errors in by_element.items():
            rows = np.unique(owner[analysis.numbers == z])
            found.append(Group(symbol(int(z)), rows[present[rows]], errors))
        return found
    for z in np.unique(analysis.numbers):
        rows = np.unique(owner[analysis.numbers == z])
        rows = rows[present[rows]]
        own = values.of(rows)
        if len(own):
            found.append(Group(symbol(int(z)), rows, _errors(np.zeros(len(own), dtype=np.int64), values, own)[0]))
    return found


def _errors(
    code: NDArray[np.int64],
    values: Values,
    rows: NDArray[np.int64] | slice = slice(None),
) -> dict[int, Errors]:
    """Of every code that occurs."""
    size, reference = values.size[rows], values.reference[rows]
    counts = np.bincount(code)
    present = np.flatnonzero(counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        mae = np.bincount(code, size) / counts
        squares = np.bincount(code, size**2)
        mean = np.bincount(code, reference) / counts
        spread = np.bincount(code, (reference - mean[code]) ** 2)
        whole = np.bincount(code, reference**2) if values.of_atoms else spread
    largest = np.zeros(len(counts))
    np.maximum.at(largest, code, size)
    return {
        int(n): Errors(
            int(counts[n]),
            float(mae[n]),
            float(np.sqrt(squares[n] / counts[n])),
            float(largest[n]),
            1 - float(squares[n] / spread[n]) if spread[n] > 0 and not values.view.by_vector else None,
            float(np.sqrt(squares[n] / whole[n])) if whole[n] > 0 else None,
        )
        for n in present
    }
