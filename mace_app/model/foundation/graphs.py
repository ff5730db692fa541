"""Structures held in memory, as the rest of the program wants them: ``GraphSource``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mace_app.data.neighbours import Neighbours


class AtomsGraphs:
    """A ``GraphSource`` of a few structures without labels; lengths in the unit of the positions."""

    def __init__(self, structures: Sequence[Atoms], cutoff: float) -> None:
        self.structures = list(structures)
        self._neighbours = Neighbours(cutoff)

    def __len__(self) -> int:
        return len(self.structures)

    def collate(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        parts: dict[str, list[Any]] = {name: [] for name in _CONCATENATED}
        ptr = [0]
        for place, index in enumerate(indices):
            atoms = self.structures[index]
            cell, pbc = np.array(atoms.cell.array), np.array(atoms.pbc)
            senders, receivers, shifts, _ = self._neighbours(atoms.positions, cell, pbc)
            parts["numbers"].append(atoms.numbers.astype(np.int64))
            parts["positions"].append(atoms.positions)
            parts["senders"].append(senders + ptr[-1])
            parts["receivers"].append(receivers + ptr[-1])
            parts["shifts"].append(shifts.astype(np.float64))
            parts["edge_structure"].append(np.full(len(senders), place, dtype=np.int64))
            parts["structure"].append(np.full(len(atoms), place, dtype=np.int64))
            parts["cells"].append(cell[None])
            parts["pbc"].append(pbc[None])
            ptr.append(ptr[-1] + len(atoms))
        batch = {name: np.concatenate(values) for name, values in parts.items()}
        return batch | {"ptr": np.array(ptr, dtype=np.int64), "weight": np.ones(len(indices))}


_CONCATENATED = (
    "numbers",
    "positions",
    "senders",
    "receivers",
    "shifts",
    "edge_structure",
    "structure",
    "cells",
    "pbc",
)
