"""One structure as it stands in a file, before anything is interpreted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray


@dataclass(slots=True)
class Frame:
    """A structure with n atoms and everything written beside it, raw.

    ``numbers [n]`` int64, ``positions [n,3]`` and ``cell [3,3]`` (rows are vectors) in the file's unit of length,
    ``pbc [3]`` bool. ``info`` holds values per structure, ``arrays`` values per atom, ``results`` what ASE's reader
    gave as results of a calculator (raw: ``get_forces()`` would zero the forces of constrained atoms).
    """

    index: int
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    line: int | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Of the cell; 0 where a cell vector is missing."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def periodic(self) -> bool:
        return bool(self.pbc.any())

    def keys(self) -> set[str]:
        return {*self.info, *self.arrays, *self.results}

    def to_atoms(self) -> Atoms:
        """For people and viewers: values per structure in ``info``, values per atom in ``arrays``, no calculator."""
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=dict(self.info))
        for name, values in {**self.arrays, **self.results}.items():
            array = np.asarray(values)
            if name in atoms.arrays or name in atoms.info:
                continue
            if array.shape[:1] == (len(self),) and array.dtype != object and (name in self.arrays or array.ndim > 1):
                atoms.new_array(name, array)
            elif name in self.results:
                atoms.info[name] = values
        return atoms


def is_isolated_atom(frame: Frame) -> bool:
    """Whether the frame is the reference energy of one free atom: marked so, or a single atom without periodicity."""
    if len(frame) != 1:
        return False
    return is_marked_isolated(frame) or not frame.periodic


def is_marked_isolated(frame: Frame) -> bool:
    """MACE's mark ``config_type=IsolatedAtom``, in any spelling."""
    kind = frame.info.get("config_type", "")
    return isinstance(kind, str) and kind.replace("_", "").replace("-", "").replace(" ", "").lower() == "isolatedatom"
