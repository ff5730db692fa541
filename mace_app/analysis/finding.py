"""What a finding is, and what the checks have in common."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mace_app.analysis.errors import Integers
from mace_app.analysis.store import Analysis, Floats
from mace_app.options.units import readable

FAR = 8.0  # robust standard deviations
MOST_GROUPS = 200


@dataclass(frozen=True)
class Finding:
    """``text`` is a sentence without markup; ``structures`` are the rows it speaks of, the worst first; ``kind`` is
    ``level``, ``shift``, ``swapped``, ``outlier``, ``duplicate``, ``slope``, ``net_force``, ``concentrated``,
    ``element``, ``overfitted`` or ``reversed``."""

    kind: str
    text: str
    label: str
    structures: Integers


def robust_spread(values: Floats) -> tuple[float, float]:
    """Median, and the median deviation from it as a standard deviation."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def amount(value: float, unit: str) -> str:
    """Three digits, small energies in meV."""
    unit = readable(unit)
    small = unit.startswith("eV") and abs(value) < 0.1
    if small:
        return f"{value * 1000:.3g} m{unit}"
    return f"{value:.0f} {unit}" if abs(value) >= 1000 else f"{value:.3g} {unit}"


def number_of(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def members_of(names: NDArray[np.str_], known: NDArray[np.bool_], fewest: int) -> list[tuple[str, Integers]]:
    """The names that at least ``fewest`` known structures have, with these; at most ``MOST_GROUPS``, the largest."""
    rows = np.flatnonzero(known)
    found, code, counts = np.unique(names[rows], return_inverse=True, return_counts=True)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(counts)
    large = sorted(np.flatnonzero(counts >= fewest), key=lambda place: (-counts[place], place))[:MOST_GROUPS]
    return [(str(found[place]), rows[order[ends[place] - counts[place] : ends[place]]]) for place in sorted(large)]


def shifted(
    analysis: Analysis, errors: Floats, fewest: int, least: float = 0.0
) -> Iterator[tuple[str, str, Integers, float]]:
    """Groups and files whose signed ``errors [S]`` (NaN: not known) lie elsewhere than those of the rest, by more than
    five robust deviations and ``least``: kind, name, structures, and how far the errors lie from the rest's. None
    has fewer than ``fewest`` structures or more than the rest; of two with the same structures one is told."""
    known = np.isfinite(errors)
    told: list[frozenset[int]] = []
    for kind, names in (("group", analysis.structures.group), ("file", analysis.structures.dataset)):
        for name, rows in members_of(names, known, fewest):
            others = known.copy()
            others[rows] = False
            few = frozenset(rows.tolist())
            if others.sum() < len(rows) or few in told or frozenset(np.flatnonzero(others).tolist()) in told:
                continue
            middle, spread = robust_spread(errors[others])
            own, own_spread = robust_spread(errors[rows])
            bound = max(5 * max(spread, own_spread), least)
            if abs(own - middle) > bound > 0:
                told.append(few)
                yield kind, name or "(none)", rows, own - middle


def names_of(analysis: Analysis, structures: "list[int] | Integers", most: int = 4) -> str:
    """``frames 3 and 17``, with the file where there are several."""
    table = analysis.structures
    files = len(np.unique(table.dataset)) > 1
    names = [f"{table.frame[n]}" + (f" of {table.dataset[n]}" if files else "") for n in structures[:most]]
    more = len(structures) - len(names)
    text = ", ".join(names) if more else " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"frame{'s' if len(structures) > 1 else ''} {text}" + (f" and {more} more" if more else "")
