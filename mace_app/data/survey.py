"""Look through files of structures and say what is in them."""

import hashlib
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase.data import covalent_radii
from ase.formula import Formula
from ase.symbols import Symbols
from numpy.typing import NDArray

from mace_app.data.checks import check_geometry
from mace_app.data.errors import Cancelled, DataError
from mace_app.data.findings import all_findings
from mace_app.data.frames import Frame, is_isolated_atom
from mace_app.data.inspection import (
    MOST_FRAMES,
    CellSummary,
    Composition,
    Contact,
    ElementCount,
    FileSummary,
    Histogram,
    Inspection,
    IsolatedAtom,
)
from mace_app.data.key_summaries import energies_and_forces, key_summaries
from mace_app.data.key_table import FrameList, KeyTable
from mace_app.data.neighbours import Neighbours
from mace_app.data.reading import Progress, read_frames

CLOSE = 0.5  # of the sum of covalent radii
ROUNDING = 1e-4  # unit of length: structures that agree to this are the same
_MOST_COMPOSITIONS = 200
_MOST_ATOMS = 500


def inspect_files(
    paths: Sequence[Path | str], progress: Progress | None = None, cancelled: Callable[[], bool] | None = None
) -> Inspection:
    """Everything worth knowing before training on these files; they are read once, frame by frame.

    ``progress(done, total, message)`` counts bytes; ``cancelled()`` is asked at every structure, and Cancelled raised
    when it says yes. DataError tells where a file can't be read; content that can be read but not learnt from becomes
    a finding.
    """
    begun = time.monotonic()
    files_to_read = [Path(path) for path in paths]
    if not files_to_read:
        raise DataError("No file was given to inspect. Name at least one.")
    sizes = [path.stat().st_size if path.is_file() else 0 for path in files_to_read]
    survey = Survey()
    files = []
    for number, path in enumerate(files_to_read):
        before, first = sum(sizes[:number]), survey.frames

        def tell(done: int, before: int = before) -> None:
            if progress is not None:
                progress(min(before + done, sum(sizes)), sum(sizes), f"{survey.frames} structures")

        for frame in read_frames(path, tell):
            if cancelled is not None and cancelled():
                raise Cancelled
            survey.add(frame, path)
        files.append(FileSummary(str(path), sizes[number], survey.frames - first, first))
    return survey.result(files, begun)


@dataclass
class Survey:
    """What adds up while frames go by."""

    frames: int = 0
    atoms: int = 0
    table: KeyTable = field(default_factory=KeyTable)
    element_atoms: Counter[int] = field(default_factory=Counter)
    element_structures: Counter[int] = field(default_factory=Counter)
    compositions: dict[tuple[tuple[int, int], ...], int] = field(default_factory=dict)
    composition_of: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("q"))
    volumes: array = field(default_factory=lambda: array("d"))
    heights: float = np.inf
    periodicity: Counter[str] = field(default_factory=Counter)
    isolated: list[tuple[int, Frame]] = field(default_factory=list)
    isolated_count: int = 0
    seen: dict[bytes, int] = field(default_factory=dict)
    duplicates: list[tuple[int, int]] = field(default_factory=list)
    duplicate_frames: FrameList = field(default_factory=FrameList)
    contacts: list[Contact] = field(default_factory=list)
    contact_frames: FrameList = field(default_factory=FrameList)
    shortest: float = np.inf
    broken: list[tuple[int, str]] = field(default_factory=list)
    broken_count: int = 0
    _neighbours: dict[float, Neighbours] = field(default_factory=dict)

    def add(self, frame: Frame, path: Path) -> None:
        number = self.frames
        self.frames += 1
        self.atoms += len(frame)
        self.sizes.append(len(frame))
        self.periodicity["".join("FT"[flag] for flag in frame.pbc.tolist())] += 1
        self._count_elements(frame)
        if is_isolated_atom(frame):
            self.isolated_count += 1
            if len(self.isolated) < _MOST_ATOMS:
                self.isolated.append((number, frame))
            self.table.add_isolated(frame)
            return
        self.table.add(frame, number)
        if self._sound(frame, path, number):
            self._look_for_duplicate(frame, number)
            self._look_for_contacts(frame, number)
            self._measure_cell(frame)

    def _count_elements(self, frame: Frame) -> None:
        composition = _composition(frame.numbers.tobytes())
        for element, count in composition:
            self.element_atoms[element] += count
            self.element_structures[element] += 1
        self.composition_of.append(self.compositions.setdefault(composition, len(self.compositions)))

    def _sound(self, frame: Frame, path: Path, number: int) -> bool:
        try:
            check_geometry(frame, path, 2 * float(covalent_radii[frame.numbers].max()))
        except DataError as error:
            self.broken_count += 1
            if len(self.broken) < MOST_FRAMES:
                self.broken.append((number, str(error)))
            return False
        return True

    def _look_for_duplicate(self, frame: Frame, number: int) -> None:
        digest = hashlib.blake2b(frame.numbers.tobytes(), digest_size=8)
        for values in (frame.positions, frame.cell if frame.periodic else np.zeros(0)):
            digest.update((np.round(values / ROUNDING) + 0.0).tobytes())
        digest.update(frame.pbc.tobytes())
        earlier = self.seen.setdefault(digest.digest(), number)
        if earlier != number:
            self.duplicate_frames.add(number)
            if len(self.duplicates) < MOST_FRAMES:
                self.duplicates.append((earlier, number))

    def _look_for_contacts(self, frame: Frame, number: int) -> None:
        radii = covalent_radii[frame.numbers]
        reach = round(2 * float(radii.max()), 3) + 1e-3
        neighbours = self._neighbours.setdefault(reach, Neighbours(reach))
        senders, receivers, _, distances = neighbours(frame.positions, frame.cell, frame.pbc)
        if not distances.size:
            return
        self.shortest = min(self.shortest, float(distances.min()))
        close = np.flatnonzero(distances < CLOSE * (radii[senders] + radii[receivers]))
        if close.size:
            self.contact_frames.add(number)
            if len(self.contacts) < MOST_FRAMES:
                edge = int(close[distances[close].argmin()])
                pair = sorted((int(senders[edge]), int(receivers[edge])))
                self.contacts.append(Contact(number, pair[0], pair[1], float(distances[edge])))

    def _measure_cell(self, frame: Frame) -> None:
        if not frame.pbc.all():
            return
        self.volumes.append(frame.volume / len(frame))
        self.heights = min(self.heights, float((1 / np.linalg.norm(np.linalg.inv(frame.cell), axis=0)).min()))

    def counts(self, frames: NDArray[np.int64], elements: list[int]) -> NDArray[np.float64]:
        """Number of atoms of each element, ``[n, elements]``."""
        table = np.zeros((len(self.compositions), len(elements)))
        column = {element: place for place, element in enumerate(elements)}
        for composition, row in self.compositions.items():
            for element, count in composition:
                table[row, column[element]] = count
        return table[np.asarray(self.composition_of)[frames]]

    def result(self, files: list[FileSummary], begun: float) -> Inspection:
        if self.table.ordinals == 0:
            self._atoms_are_the_structures()
        columns = self.table.finish()
        summaries = key_summaries(columns, self)
        energies, forces = energies_and_forces(columns, summaries, self)
        tally = Counter(self.composition_of)
        formulas = sorted(self.compositions, key=lambda composition: -tally[self.compositions[composition]])
        sizes = np.asarray(self.sizes)
        return Inspection(
            files=files,
            structures=self.frames,
            atoms=self.atoms,
            elements={
                element: ElementCount(self.element_atoms[element], self.element_structures[element])
                for element in sorted(self.element_atoms)
            },
            compositions=[
                Composition(_formula(entry), tally[self.compositions[entry]]) for entry in formulas[:_MOST_COMPOSITIONS]
            ],
            composition_count=len(formulas),
            atoms_per_structure=Histogram.of(sizes, whole_numbers=True),
            periodicity=dict(self.periodicity.most_common()),
            cells=CellSummary(len(self.volumes), self.heights, Histogram.of(self.volumes)) if self.volumes else None,
            keys=summaries,
            isolated_atoms=[
                IsolatedAtom(number, int(frame.numbers[0]), _numbers(frame)) for number, frame in self.isolated
            ],
            energies=energies,
            forces=forces,
            shortest_distance=self.shortest if np.isfinite(self.shortest) else None,
            duplicates=self.duplicates,
            duplicate_count=self.duplicate_frames.count,
            close_contacts=self.contacts,
            close_contact_count=self.contact_frames.count,
            findings=all_findings(columns, summaries, self),
            seconds=time.monotonic() - begun,
        )

    def _atoms_are_the_structures(self) -> None:
        """A file of single atoms only: they are what there is to learn from, as ``prepare`` sees it."""
        for number, frame in self.isolated:
            self.table.add(frame, number)
        for column in self.table.columns.values():
            column.isolated = 0
        self.isolated, self.isolated_count = [], 0


@lru_cache(1024)
def _composition(numbers: bytes) -> tuple[tuple[int, int], ...]:
    """Elements with their counts; the same atoms in the same order come again and again."""
    elements, counts = np.unique(np.frombuffer(numbers, dtype=np.int64), return_counts=True)
    return tuple(zip(elements.tolist(), counts.tolist(), strict=True))


def _formula(composition: tuple[tuple[int, int], ...]) -> str:
    """In Hill's order."""
    numbers = [element for element, _ in composition]
    counts = {symbol: count for symbol, (_, count) in zip(Symbols(numbers), composition, strict=True)}
    return str(Formula.from_dict(counts).format("hill"))


def _numbers(frame: Frame) -> dict[str, float]:
    found = {}
    for name, value in {**frame.info, **frame.results}.items():
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            continue
        if np.isfinite(value):
            found[name] = float(value)
    return found
