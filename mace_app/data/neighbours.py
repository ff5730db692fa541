"""Neighbour lists with matscipy.

Bare library calls at a cutoff of 5 Å, one thread of a two-core machine that other work shared, best of four, in
microseconds per structure, matscipy 1.3.1 and vesin 0.6.2: ethanol 15 and 29, carbon crystals of the GAP-17 set 55 and
46 (sorting and cells for open directions come on top). Both agree with ASE for every mixture of periodicity and for
cells much smaller than the cutoff. What decided: vesin imports torch, which an inspection must not wait for; it needs
half a minute for a slab of three atoms 1000 Å high at a cutoff of 0.5 Å; and atoms 1e6 Å apart along one axis make it
divide by zero, which kills the process. matscipy only needs a cell in every direction, which is made here.
Molecules of up to ``ALL_PAIRS`` atoms need neither: with all pairs ethanol takes a tenth of the time that making a cell
for it and sorting its atoms into a grid takes, one of 64 atoms less than half.
"""

import math

import numpy as np
from ase.geometry import complete_cell
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

MOST_BOXES = 4e6  # of the grid into which atoms are sorted
ALL_PAIRS = 64  # atoms of a molecule up to which all pairs are faster than a grid


class Neighbours:
    """Every pair closer than a cutoff, once in each direction, periodic images included."""

    def __init__(self, cutoff: float) -> None:
        self.cutoff = cutoff

    def __call__(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Senders ``[E]``, receivers ``[E]``, shifts ``[E,3]`` and distances ``[E]``, all distances < cutoff.

        r = positions[receiver] − positions[sender] + shift·cell. Sorted by receiver, sender and shift, so that the
        result does not depend on the library. Periodic cell vectors must be independent.
        """
        if not pbc.any() and len(positions) <= ALL_PAIRS:
            return self._all_pairs(positions)
        origin = np.zeros(3)
        if not pbc.all():
            positions, cell, origin = enclose(positions, cell, pbc, self.cutoff)
        reach = self._reach(cell)
        senders, receivers, shifts, distances = neighbour_list(
            "ijSd", positions=positions, cell=cell, pbc=pbc, cutoff=reach, cell_origin=origin
        )
        order = _sorted(len(positions), senders, receivers, shifts)
        order = order[distances[order] < self.cutoff]
        return (
            senders[order].astype(np.int64),
            receivers[order].astype(np.int64),
            shifts[order].astype(np.int64),
            distances[order],
        )

    def _all_pairs(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        between = positions[:, None] - positions
        distances = np.sqrt(np.einsum("ijk,ijk->ij", between, between))
        near = distances < self.cutoff
        np.fill_diagonal(near, False)
        receivers, senders = np.nonzero(near)
        return senders, receivers, np.zeros((len(senders), 3), dtype=np.int64), distances[near]

    def _reach(self, cell: NDArray[np.float64]) -> float:
        """The cutoff, or more where a grid of that spacing would fill the memory: boxes that are nearly empty."""
        if math.prod(max(math.hypot(*vector) / self.cutoff, 1.0) for vector in cell.tolist()) <= MOST_BOXES:
            return self.cutoff  # heights are no longer than the vectors
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        boxes = float(np.prod(np.maximum(heights / self.cutoff, 1.0)))
        return self.cutoff * max(1.0, (boxes / MOST_BOXES) ** (1 / 3))


def _sorted(
    atoms: int, senders: NDArray[np.int64], receivers: NDArray[np.int64], shifts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Order by receiver, sender and shift: by one whole number for all of them, where that has room."""
    if not len(senders):
        return np.zeros(0, dtype=np.int64)
    lowest = shifts.min(axis=0)
    spans = (shifts.max(axis=0) - lowest + 1).tolist()
    if atoms**2 * math.prod(spans) >= 2**63:
        return np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], senders, receivers))
    key = receivers.astype(np.int64) * atoms + senders
    for axis, span in enumerate(spans):
        key *= span
        key += shifts[:, axis] - lowest[axis]
    return np.argsort(key)


def enclose(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positions, a cell around them and its origin, with the same pairs within the cutoff.

    A cell vector along an open direction is free: it is made perpendicular to the periodic ones and as long as the
    structure. Gaps along it that are wider than the cutoff are narrowed to just above it, so that atoms scattered far
    apart need no large grid; no pair reaches across either.
    """
    closed = np.array(complete_cell(np.where(pbc[:, None], cell, 0.0))) if pbc.any() else np.eye(3)
    origin, room = np.zeros(3), 1.01 * cutoff
    for axis in np.flatnonzero(~pbc):
        normal = closed[axis] / np.linalg.norm(closed[axis])
        heights = positions @ normal
        order = np.argsort(heights)
        gaps = np.diff(heights[order])
        if gaps.size and gaps.max() > room:
            near = np.zeros(len(heights))
            near[order[1:]] = np.cumsum(np.minimum(gaps, room))
            positions = positions + np.outer(near + heights.min() - heights, normal)
            heights = near + heights.min()
        closed[axis] = normal * (np.ptp(heights) + 0.01 * cutoff)
        origin += normal * (heights.min() - 0.005 * cutoff)
    return positions, closed, origin
