"""The files of one role on their way into one pack."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mace_app.data.blocks import Block, blocks, has_blocks
from mace_app.data.chunks import Chunk, ChunkMaker, Task
from mace_app.data.crew import Crew, processes_for
from mace_app.data.errors import numbered
from mace_app.data.frames import Frame, is_isolated_atom
from mace_app.data.journal import Journal
from mace_app.data.label_files import beside, label_paths, read_structures
from mace_app.data.labels import Coverage, LabelReader
from mace_app.data.packing import Pack, PackWriter
from mace_app.data.prepared import Layout
from mace_app.data.splits import check_chosen
from mace_app.data.weights import StructureWeights
from mace_app.options import DatasetOptions

FRAMES = 64  # at once, of files that are not cut into blocks
Watch = Callable[[Path], Callable[[int], None]]


@dataclass
class Part:
    """Reads, checks and packs.

    Extended xyz files are cut into blocks, which ``processes`` read at once (None: as many as are worth it), and what
    was packed of them is noted in a journal. Whatever their number, and however often it was begun anew, the pack has
    the same bytes and the errors are the same.
    """

    role: str
    datasets: Sequence[DatasetOptions]
    folder: Path
    layout: Layout
    cutoff: float
    chosen: Sequence[frozenset[int] | None]  # of each data set, the frames to use; None for all
    weights: StructureWeights
    journal: Journal
    may_lack: Collection[Path] = ()
    processes: int | None = None
    structures: list[int] = field(default_factory=list)  # of each data set, used or not
    isolated: frozenset[int] = frozenset()
    atom_values: dict[str, dict[int, float]] = field(default_factory=dict)
    symmetric: dict[str, bool] = field(default_factory=dict)  # of tensors: whether all labels equal their transposes

    def __post_init__(self) -> None:
        named = [beside(dataset) for dataset in self.datasets]
        lacking = [path_of(dataset) in self.may_lack for dataset in self.datasets]
        self._readers = [LabelReader(*entry) for entry in zip(named, lacking, strict=True)]
        self._makers = [
            ChunkMaker(Task(number, *entry, self.layout, self.cutoff, self.weights.by_type))
            for number, entry in enumerate(zip(named, lacking, strict=True))
        ]
        self._packed = [0] * len(named)  # structures of each data set
        self._atoms: list[tuple[int, Frame]] = []  # data set, isolated atom
        self._chunks = 0  # that went by
        self._with_atoms: set[int] = set()  # those that held isolated atoms
        self._noted = 0  # chunks that the journal says are in the pack

    @property
    def paths(self) -> list[Path]:
        return [path_of(dataset) for dataset in self.datasets]

    @property
    def total(self) -> int:
        return sum(self.structures)

    def positions(self, pack: Pack) -> list[list[int]]:
        """Of each data set, those of its packed structures: frames counted through all of its role."""
        firsts = np.cumsum([0, *self.structures])
        numbers, frames = pack.structure_ids.reshape(-1, 2).T
        return [(firsts[number] + frames[numbers == number]).tolist() for number in range(len(self.datasets))]

    def read(self, watch: Watch, warnings: list[str]) -> "Part":
        """``watch(path)`` gives what is told the bytes of that file read so far."""
        writer = self._writer()
        try:
            self._read(writer, watch, warnings)
        except BaseException:
            writer.abandon()
            raise
        writer.close()
        return self

    def _writer(self) -> PackWriter:
        note = self.journal.read()
        if note is not None:
            try:
                return self._taken_up(note)
            except (OSError, ValueError, KeyError, TypeError, EOFError):
                self.__post_init__()
        self.journal.remove()
        return PackWriter(self.folder, self.role, self.layout)

    def _taken_up(self, note: Mapping[str, Any]) -> PackWriter:
        for reader, coverage, keys in zip(self._readers, note["coverage"], note["known_keys"], strict=True):
            reader.add({name: Coverage(**found) for name, found in coverage.items()}, keys)
        weights = StructureWeights(**note["weights"])
        self._packed = [int(count) for count in note["packed"]]
        self._with_atoms = {int(number) for number in note["with_atoms"]}
        self._noted = int(note["chunks"])
        writer = PackWriter(self.folder, self.role, self.layout, note["pack"])
        self.weights.add(weights)
        return writer

    def _note(self, writer: PackWriter) -> dict[str, Any]:
        return {
            "pack": writer.state(),
            "chunks": self._chunks,
            "with_atoms": sorted(self._with_atoms),
            "packed": self._packed,
            "coverage": [{name: asdict(found) for name, found in r.coverage.items()} for r in self._readers],
            "known_keys": [sorted(reader.known_keys) for reader in self._readers],
            "weights": asdict(self.weights),
        }

    def _read(self, writer: PackWriter, watch: Watch, warnings: list[str]) -> None:
        for number, dataset in enumerate(self.datasets):
            cut = not label_paths(dataset) and has_blocks(path_of(dataset))
            count = (self._read_blocks if cut else self._read_frames)(writer, number, watch)
            check_chosen(self.chosen[number], count, path_of(dataset))
            self.structures.append(count)
        if writer.length == 0:
            for number, frame in self._atoms:
                self._add(writer, number, self._makers[number]([frame], with_atoms=True))
            self._atoms = []
        elif self._atoms:
            firsts = np.cumsum([0, *self.structures]).tolist()
            self.isolated = frozenset(firsts[number] + frame.index for number, frame in self._atoms)
            self._read_atoms(firsts, warnings)
        self._check(warnings)
        if self.role == "training":
            self.weights.check(self.paths, [frame for _, frame in self._atoms], warnings)

    def _read_blocks(self, writer: PackWriter, number: int, watch: Watch) -> int:
        """The number of frames in the file."""
        path, count = self.paths[number], 0
        tell, source = watch(path), blocks(path)
        for block in islice(source, max(0, self._noted - self._chunks)):
            count += block.frames
            self._pass_by(number, block.read)
            tell(block.done)
        for block, chunk in self._made(source, number):
            count += chunk.frames
            self._take(writer, number, chunk)
            tell(block.done)
        tell(path.stat().st_size)
        return count

    def _made(self, source: Iterator[Block], number: int) -> Iterator[tuple[Block, Chunk]]:
        chosen, maker = self.chosen[number], self._makers[number]
        processes = processes_for([maker.path]) if self.processes is None else self.processes
        first = next(source, None)
        if first is None:
            return
        source = chain([first], source)
        if processes > 1:
            with Crew(maker.task, processes) as crew:
                yield from crew.chunks((block, _among(chosen, block)) for block in source)
        else:
            for block in source:
                yield block, maker(block.read(), chosen)

    def _read_frames(self, writer: PackWriter, number: int, watch: Watch) -> int:
        """Of a file that is not cut, or that has labels in others."""
        count = 0
        source = read_structures(self.datasets[number], watch)
        while frames := list(islice(source, FRAMES)):
            count += len(frames)
            if self._chunks < self._noted:
                self._pass_by(number, partial(iter, frames))
            else:
                self._take(writer, number, self._makers[number](frames, self.chosen[number]))
        return count

    def _pass_by(self, number: int, frames: Callable[[], Iterator[Frame]]) -> None:
        """Of what is in the pack already, only isolated atoms are looked at."""
        chosen = self.chosen[number]
        if self._chunks in self._with_atoms:
            used = (frame for frame in frames() if chosen is None or frame.index in chosen)
            self._atoms += [(number, frame) for frame in used if is_isolated_atom(frame)]
        self._chunks += 1

    def _take(self, writer: PackWriter, number: int, chunk: Chunk) -> None:
        if chunk.atoms:
            self._atoms += [(number, frame) for frame in chunk.atoms]
            self._with_atoms.add(self._chunks)
        self._chunks += 1
        self._add(writer, number, chunk)
        if self.journal.is_due:
            self.journal.write(self._note(writer))

    def _add(self, writer: PackWriter, number: int, chunk: Chunk) -> None:
        writer.append(chunk.arrays, chunk.group_names)
        self._packed[number] += len(chunk.arrays["structure_ids"])
        self._readers[number].add(chunk.coverage, chunk.known_keys)
        self.weights.add(chunk.weights)

    def _check(self, warnings: list[str]) -> None:
        for reader, packed in zip(self._readers, self._packed, strict=True):
            if packed:
                reader.check(warnings)
            for label in reader.labels:
                if label.may_be_symmetric:
                    here = reader.coverage[label.name].is_symmetric
                    self.symmetric[label.name] = here and self.symmetric.get(label.name, True)

    def _read_atoms(self, firsts: Sequence[int], warnings: list[str]) -> None:
        """Values of free atoms for the baseline; only the training files' are used."""
        readers = [LabelReader(beside(dataset)) for dataset in self.datasets]
        without = []
        for number, frame in self._atoms:
            element = int(frame.numbers[0])
            scalars = {
                name: float(values.reshape(-1)[0])
                for name, values in readers[number].read(frame).items()
                if values.size == 1 and name in self.datasets[number].targets
            }
            if not scalars:
                without.append(firsts[number] + frame.index)
            for name, value in scalars.items():
                known = self.atom_values.setdefault(name, {})
                if abs(known.setdefault(element, value) - value) > 1e-6 * max(1.0, abs(value)):
                    warnings.append(
                        f"{readers[number].path}: the isolated atom {chemical_symbols[element]} in frame {frame.index} "
                        f"has `{name}` {value:g}, but {known[element]:g} was read before; the first is used."
                    )
        if without:
            warnings.append(
                f"The isolated atoms in the frames {numbered(without)} of the {self.role} files carry no scalar label; "
                "they are left out."
            )


def path_of(dataset: DatasetOptions) -> Path:
    return Path(dataset.systems.read_from)


def _among(chosen: frozenset[int] | None, block: Block) -> frozenset[int] | None:
    if chosen is None:
        return None
    return frozenset(index for index in range(block.first, block.first + block.frames) if index in chosen)
