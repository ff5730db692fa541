"""What makes a structure impossible to learn from."""

from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import complete_cell

from mace_app.data.errors import DataError, at
from mace_app.data.frames import Frame
from mace_app.data.graphs import GraphSet
from mace_app.data.labels import ZERO_VOLUME

MOST_PAIRS = 50_000_000  # in one structure; far beyond what a training step can hold
FARTHEST_IMAGE = 32_767
FARTHEST = 1e8  # unit of length
SAME_PLACE = 1e-6


def check_geometry(frame: Frame, path: Path, cutoff: float) -> None:
    """DataError unless positions and cell are finite and the cell fits the periodicity and isn't absurdly small."""
    for name, values in (("position", frame.positions), ("cell", frame.cell)):
        right = np.abs(values) < FARTHEST
        if not right.all():
            wrong, place = ~right, at(path, frame.index)
            where = f" of atom {int(np.argwhere(wrong)[0, 0])}" if name == "position" else ""
            shown = values[wrong][0]
            raise DataError(
                f"{place}: the {name}{where} is not a sensible number ({shown:g}). Correct it or remove the structure."
            )
    if not frame.periodic:
        return
    place, volume = at(path, frame.index), frame.volume
    if volume < ZERO_VOLUME and np.linalg.matrix_rank(frame.cell[frame.pbc]) < frame.pbc.sum():
        raise DataError(
            f"{place}: the structure is periodic, but its cell vectors are zero or lie in a plane. Write the cell "
            '(`Lattice`), or `pbc="F F F"` for a molecule.'
        )
    cell = frame.cell if frame.pbc.all() else complete_cell(np.where(frame.pbc[:, None], frame.cell, 0.0))
    inverse = np.linalg.inv(cell)
    heights = 1 / np.sqrt(np.square(inverse).sum(axis=0))
    images = float(np.prod(np.where(frame.pbc, 2 * np.ceil(cutoff / heights) + 1, 1.0)))
    most = cutoff / heights[frame.pbc].min() + np.abs(frame.positions @ inverse)[:, frame.pbc].max()
    if len(frame) ** 2 * images > MOST_PAIRS and _expected_pairs(frame, cell, cutoff, images) > MOST_PAIRS:
        raise DataError(
            f"{place}: the cell of volume {volume:.3g} is so small that atoms would have far too many neighbours "
            f"within {cutoff:g}. Check the unit of the cell, or remove the structure."
        )
    if most > FARTHEST_IMAGE:
        raise DataError(
            f"{place}: atoms lie more than {FARTHEST_IMAGE} cells away from each other. Check the unit of the cell, or "
            "wrap the atoms into it."
        )


def _expected_pairs(frame: Frame, cell: np.ndarray, cutoff: float, images: float) -> float:
    """For a homogeneous periodic density; along open directions everything may be within reach."""
    n = len(frame)
    if not frame.pbc.all():
        return min(n**2 * images, n * 1e4 * max(1.0, images / 1e3))
    return float(n**2 * 4.19 * cutoff**3 / abs(np.linalg.det(cell)))


def check_distances(
    frame: Frame, path: Path, senders: np.ndarray, receivers: np.ndarray, distances: np.ndarray
) -> None:
    """DataError where two atoms share a place."""
    if distances.size and distances.min() < SAME_PLACE:
        edge = int(distances.argmin())
        first, second = sorted((int(senders[edge]), int(receivers[edge])))
        raise DataError(
            f"{at(path, frame.index)}: atoms {first} and {second} (counted from 0) are at "
            "the same place. Correct or remove the structure."
        )


def find_element(graphs: GraphSet, element: int) -> int:
    """Position in ``graphs`` of the first structure that holds an element."""
    for index in range(len(graphs)):
        if element in graphs.atoms(index).numbers:
            return index
    raise ValueError(f"no structure holds element {element}")


def check_elements(graphs: GraphSet, paths: list[Path], trained: list[int], name: str) -> None:
    """DataError where validation or test needs an element that the training structures lack."""
    for element in graphs.elements():
        if element not in trained:
            dataset, frame = graphs.structure_ids[find_element(graphs, element)]
            raise DataError(
                f"{at(paths[dataset], int(frame))}: this {name} structure contains {chemical_symbols[element]}, which "
                "no training structure does, and a model can't predict an element it has never seen. Move such "
                "structures to the training set, remove them, or choose another seed if the split was random."
            )


def check_listed(graphs: GraphSet, paths: list[Path], listed: list[int], file: str | None = None) -> None:
    """DataError where the data hold an element that ``atomic_types``, or the foundation ``file``, does not list."""
    for element in graphs.elements():
        if element not in listed:
            dataset, frame = graphs.structure_ids[find_element(graphs, element)]
            if file is not None:
                raise DataError(
                    f"{at(paths[dataset], int(frame))}: the structure contains {chemical_symbols[element]}, which the "
                    f"foundation file {file} does not know. Remove such structures, choose another file, or train from "
                    "scratch."
                )
            raise DataError(
                f"{at(paths[dataset], int(frame))}: the structure contains {chemical_symbols[element]} ({element}), "
                f"which is not in `atomic_types` ({', '.join(map(str, listed))}). Add it there, or leave the option "
                "empty."
            )
