"""From some frames of one data set to what a pack takes: checked, with labels and neighbours."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mace_app.data.checks import check_distances, check_geometry
from mace_app.data.frames import Frame, is_isolated_atom
from mace_app.data.labels import Coverage, LabelReader
from mace_app.data.neighbours import Neighbours
from mace_app.data.packing import Labels, Piece
from mace_app.data.weights import StructureWeights
from mace_app.options import DatasetOptions


@dataclass(frozen=True)
class Task:
    """How the frames of one data set are read; ``number`` is its place among those of its role."""

    number: int
    dataset: DatasetOptions
    may_lack: bool
    layout: Labels
    cutoff: float
    config_weights: Mapping[str, float]


@dataclass
class Chunk:
    """``frames`` went by, used or not. ``arrays`` and ``group_names`` are for ``PackWriter.append``, ``atoms`` are
    isolated ones; the rest was counted on the way."""

    frames: int
    arrays: dict[str, NDArray[Any]]
    group_names: list[str]
    atoms: list[Frame]
    coverage: dict[str, Coverage]
    known_keys: set[str]
    weights: StructureWeights


class ChunkMaker:
    """Makes chunks for one task. Raises DataError for what is wrong with a frame."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.path = Path(task.dataset.systems.read_from)
        self._neighbours = Neighbours(task.cutoff)

    def __call__(
        self, frames: Iterable[Frame], chosen: Collection[int] | None = None, with_atoms: bool = False
    ) -> Chunk:
        """Of the frames, or those with ``chosen`` numbers; isolated atoms are set apart unless ``with_atoms``."""
        reader = LabelReader(self.task.dataset, self.task.may_lack)
        weights = StructureWeights(self.task.config_weights)
        piece = Piece(self.task.layout)
        atoms: list[Frame] = []
        count = 0
        for frame in frames:
            count += 1
            if chosen is not None and frame.index not in chosen:
                continue
            if not with_atoms and is_isolated_atom(frame):
                atoms.append(frame)
            else:
                self._append(piece, reader, weights, frame)
        return Chunk(count, piece.arrays(), list(piece.group_names), atoms, reader.coverage, reader.known_keys, weights)

    def _append(self, piece: Piece, reader: LabelReader, weights: StructureWeights, frame: Frame) -> None:
        check_geometry(frame, self.path, self.task.cutoff)
        labels = reader.read(frame)
        senders, receivers, shifts, distances = self._neighbours(frame.positions, frame.cell, frame.pbc)
        check_distances(frame, self.path, senders, receivers, distances)
        weight = weights.read(frame, self.path)
        piece.append(frame, (self.task.number, frame.index), (senders, receivers, shifts), labels, weight)
