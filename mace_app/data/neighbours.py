"""Neighbour lists with vesin.

Measured on one core of a two-core machine at a cutoff of 5 Å, microseconds per structure, vesin 0.6.2 against matscipy
1.3.1: ethanol 29 and 16, carbon crystals of the GAP-17 set 46 and 55. Both agree with ASE for every mixture of
periodicity and for cells much smaller than the cutoff, but matscipy fails where a cell vector is zero, so molecules
without a box would first need an invented one. Structures are done once, a thousand in 0.03 s: vesin it is.

vesin divides by zero, which kills the process, for structures whose extents differ by a factor of some 100,000;
``checks.check_geometry`` refuses those first.
"""

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import NDArray


class Neighbours:
    """Every pair closer than a cutoff, once in each direction, periodic images included."""

    def __init__(self, cutoff: float) -> None:
        # Imported here because vesin imports torch where it is installed, and pages and inspections do without both.
        from vesin import NeighborList

        self.cutoff = cutoff
        self._list = NeighborList(cutoff=cutoff, full_list=True)

    def __call__(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Senders ``[E]``, receivers ``[E]``, shifts ``[E,3]`` and distances ``[E]``, all distances < cutoff.

        r = positions[receiver] − positions[sender] + shift·cell. Sorted by receiver, sender and shift, so that the
        result does not depend on the library.
        """
        if len(positions) == 1 and not pbc.any():
            empty = np.zeros(0, dtype=np.int64)
            return empty, empty, np.zeros((0, 3), dtype=np.int64), np.zeros(0)
        mixed = pbc.any() and not pbc.all()
        box = closed_cell(positions, cell, pbc, self.cutoff) if mixed else cell
        periodic = bool(pbc.any())
        first, second, shifts, distances = self._list.compute(positions, box, periodic, "ijSd")
        senders, receivers = first.astype(np.int64), second.astype(np.int64)
        shifts = shifts.astype(np.int64)
        inside = distances < self.cutoff
        order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], senders, receivers))
        order = order[inside[order]]
        return senders[order], receivers[order], shifts[order], distances[order]


def closed_cell(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> NDArray[np.float64]:
    """A cell ``[3,3]`` periodic in all directions in which the structure has the same pairs.

    A vector along an open direction is free, so it is made perpendicular to the periodic ones and so long that images
    are farther away than the cutoff. (vesin takes open directions itself, but needs 40 s for a slab of three atoms
    1000 Å high at a short cutoff; a periodic one takes milliseconds.)
    """
    closed = np.array(complete_cell(np.where(pbc[:, None], cell, 0.0)))
    for axis in np.flatnonzero(~pbc):
        normal = closed[axis] / np.linalg.norm(closed[axis])
        closed[axis] = normal * (np.ptp(positions @ normal) + 1.01 * cutoff)
    return closed
