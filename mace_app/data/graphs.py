"""Structures with their neighbours, ready to be cut into batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mace_app.data.packing import Pack

Indices = Sequence[int] | NDArray[np.integer[Any]]


class GraphSet:
    """A selection of the structures in a ``Pack``, in a fixed order.

    ``n_atoms [n]``, ``n_edges [n]``; ``structure_ids [n,2]`` holds (data set, frame) of each structure.
    """

    def __init__(self, pack: Pack, rows: Indices) -> None:
        self._pack = pack
        self.rows = np.asarray(rows, dtype=np.int64)
        self.n_atoms: NDArray[np.int64] = np.diff(pack.atoms)[self.rows]
        self.n_edges: NDArray[np.int64] = np.diff(pack.edges)[self.rows]
        self.structure_ids: NDArray[np.int64] = np.array(pack.structure_ids[self.rows]).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, indices: Indices) -> "GraphSet":
        """The structures at ``indices``, in that order."""
        return GraphSet(self._pack, self.rows[np.asarray(indices, dtype=np.int64)])

    @property
    def labels(self) -> list[str]:
        return list(self._pack.labels)

    @property
    def weights(self) -> NDArray[np.float64]:
        """``[n]``: how much each structure counts in the loss."""
        return np.asarray(self._pack.weights[self.rows])

    @property
    def groups(self) -> list[str]:
        """``[n]``: the ``config_type`` of each structure, empty where it has none."""
        return [self._pack.group_names[code] for code in self._pack.groups[self.rows]]

    def labels_present(self, label: str) -> NDArray[np.bool_]:
        """``[n]``: whether the structure has any value of the label."""
        return np.asarray(self._pack.present[label][self.rows])

    def avg_num_neighbors(self) -> float:
        """Mean number of neighbours of an atom; 1 where no atom has any, since the model divides by it."""
        edges = int(self.n_edges.sum())
        return edges / int(self.n_atoms.sum()) if edges else 1.0

    def elements(self) -> list[int]:
        """Sorted atomic numbers."""
        seen = np.zeros(256, dtype=bool)
        for start in range(0, len(self.rows), 4096):
            atoms, _, _ = _gather(self._pack.atoms, self.rows[start : start + 4096])
            seen[self._pack.numbers[atoms]] = True
        return [int(number) for number in np.flatnonzero(seen)]

    def collate(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """The structures at ``indices`` as one batch; format in docs/architecture.md.

        Copies a few slices: about 0.1 ms for eight ethanol molecules.
        """
        pack = self._pack
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        atoms, structure, ptr = _gather(pack.atoms, rows)
        edges, edge_structure, _ = _gather(pack.edges, rows)
        first_atom = ptr[edge_structure]
        batch: dict[str, NDArray[Any]] = {
            "numbers": pack.numbers[atoms].astype(np.int64),
            "positions": pack.positions[atoms],
            "cells": pack.cells[rows],
            "pbc": pack.pbc[rows],
            "structure": structure,
            "ptr": ptr,
            "senders": pack.senders[edges] + first_atom,
            "receivers": pack.receivers[edges] + first_atom,
            "shifts": pack.shifts[edges].astype(np.float64),
            "edge_structure": edge_structure,
            "weight": pack.weights[rows],
        }
        for label, (per_atom, _) in pack.labels.items():
            batch[f"label:{label}"] = pack.values[label][atoms if per_atom else rows]
        pack.files.read()
        return batch

    def atoms(self, index: int) -> Atoms:
        """One structure as ASE's object, without labels."""
        row = int(self.rows[index])
        pack = self._pack
        part = slice(int(pack.atoms[row]), int(pack.atoms[row + 1]))
        return Atoms(pack.numbers[part], np.array(pack.positions[part]), cell=pack.cells[row], pbc=pack.pbc[row])


def _gather(
    starts: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For pieces ``rows`` of a packed array: rows to take ``[k]``, piece of each ``[k]``, their starts ``[g+1]``."""
    begins = starts[rows]
    counts = starts[rows + 1] - begins
    ptr = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(counts, out=ptr[1:])
    piece = np.repeat(np.arange(len(rows)), counts)
    take = np.arange(ptr[-1]) + (begins - ptr[:-1])[piece]
    return take, piece, ptr
