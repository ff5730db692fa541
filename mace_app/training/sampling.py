"""Which structures form which batch, and which batches one step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mace_app.options import TrainingHypers


@dataclass(frozen=True)
class BatchLimits:
    """The most structures in a batch, and the fewest and most atoms (None: no bound)."""

    structures: int
    fewest_atoms: int | None = None
    most_atoms: int | None = None

    @classmethod
    def of(cls, training: TrainingHypers) -> "BatchLimits":
        fewest, most = training.batch_atom_bounds
        return cls(training.batch_size, fewest, most)

    def hold(self, structures: int, atoms: int) -> bool:
        """Whether so much fits into one batch."""
        return structures <= self.structures and (self.most_atoms is None or atoms <= self.most_atoms)


def pack(order: np.ndarray, atoms: np.ndarray, limits: BatchLimits) -> list[np.ndarray]:
    """Cut ``order`` (structures, by number) into batches; ``atoms [n]`` are the sizes of all structures.

    Batches are filled one after another until the next structure would exceed a limit. One with too few atoms is then
    joined with a neighbour, or takes structures from it, as far as the limits allow and the neighbour keeps enough.
    Every structure is in exactly one batch: one larger than ``most_atoms`` is alone in its own.
    """
    ends = np.cumsum(atoms[order])
    batches = []
    start = 0
    while start < len(order):
        end = min(start + limits.structures, len(order))
        if limits.most_atoms is not None:
            before = int(ends[start - 1]) if start else 0
            end = min(end, int(np.searchsorted(ends, before + limits.most_atoms, side="right")))
        end = max(end, start + 1)
        batches.append(order[start:end])
        start = end
    if limits.fewest_atoms is None:
        return batches
    return _filled(batches, atoms, limits, limits.fewest_atoms)


def _filled(batches: list[np.ndarray], atoms: np.ndarray, limits: BatchLimits, fewest: int) -> list[np.ndarray]:
    filled = [[int(structure) for structure in batch] for batch in batches]
    sizes = [int(atoms[batch].sum()) for batch in batches]
    place = 0
    while place < len(filled):
        if sizes[place] >= fewest:
            place += 1
            continue
        neighbours = [other for other in (place - 1, place + 1) if 0 <= other < len(filled)]
        fitting = [
            other
            for other in neighbours
            if limits.hold(len(filled[place]) + len(filled[other]), sizes[place] + sizes[other])
        ]
        if fitting:
            first, second = sorted((place, fitting[0]))
            filled[first] += filled.pop(second)
            sizes[first] += sizes.pop(second)
            place = first
            continue
        for other in neighbours:
            for structure in reversed(filled[other]) if other < place else list(filled[other]):
                size = int(atoms[structure])
                wanted = sizes[place] < fewest and sizes[other] - size >= fewest
                if wanted and limits.hold(len(filled[place]) + 1, sizes[place] + size):
                    filled[other].remove(structure)
                    filled[place].append(structure)
                    sizes[other] -= size
                    sizes[place] += size
        place += 1
    return [np.asarray(batch, dtype=np.int64) for batch in filled]


class EpochOrder:
    """Random batches whose order depends on the seed and the epoch's number alone, so a resumed epoch repeats itself.

    Every structure is seen once an epoch. A last batch that isn't full is kept, unlike in metatrain and MACE, so that
    no data set is too small; it takes a step of its own, with the mean over its structures as loss. With ``accumulate``
    so many batches make one step, and the last step takes what is left.
    """

    def __init__(self, atoms: Sequence[int] | np.ndarray, limits: BatchLimits, seed: int, accumulate: int = 1) -> None:
        self.atoms = np.asarray(atoms, dtype=np.int64)
        if len(self.atoms) < 1:
            raise ValueError("no structures to draw batches from")
        self.limits = limits
        self.seed = seed
        self.accumulate = accumulate

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Indices of each batch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.atoms))
        return pack(order, self.atoms, self.limits)

    def steps(self, epoch: int) -> list[list[np.ndarray]]:
        """The batches of each step."""
        batches = self.batches(epoch)
        return [batches[start : start + self.accumulate] for start in range(0, len(batches), self.accumulate)]

    def warnings(self) -> list[str]:
        """What the bounds on atoms can't hold, in sentences."""
        found = []
        most, fewest = self.limits.most_atoms, self.limits.fewest_atoms
        large = 0 if most is None else int((self.atoms > most).sum())
        if large:
            found.append(
                f"{large} of {len(self.atoms)} structures have more than {most} atoms (`batch_atom_bounds`), the "
                f"largest {int(self.atoms.max())}; each of them is a batch of its own."
            )
        if fewest is not None:
            sizes = [int(self.atoms[batch].sum()) for batch in self.batches(1)]
            small = sum(size < fewest for size in sizes)
            if small:
                found.append(
                    f"{small} of {len(sizes)} batches have fewer than {fewest} atoms (`batch_atom_bounds`), because "
                    f"more would not fit or `batch_size` is {self.limits.structures}; they are trained on all the same."
                )
        return found


def in_order(atoms: Sequence[int] | np.ndarray, batch_size: int, most_atoms: int | None = None) -> Iterator[np.ndarray]:
    """Batches of all structures as they stand; ``atoms [n]`` are their sizes."""
    sizes = np.asarray(atoms, dtype=np.int64)
    yield from pack(np.arange(len(sizes)), sizes, BatchLimits(batch_size, None, most_atoms))


def too_large_to_validate(atoms: Sequence[int] | np.ndarray, limits: BatchLimits) -> list[str]:
    """Validation structures that ``most_atoms`` can't hold, in a sentence; ``atoms [n]`` are their sizes."""
    most = limits.most_atoms
    large = 0 if most is None else int((np.asarray(atoms) > most).sum())
    if not large:
        return []
    return [
        f"{large} validation structures have more than {most} atoms (`batch_atom_bounds`); each of them is validated "
        "in a batch of its own."
    ]
