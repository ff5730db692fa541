"""Which structures form which batch."""

from collections.abc import Iterator

import numpy as np


class EpochOrder:
    """Random batches whose order depends on the seed and the epoch's number alone, so a resumed epoch repeats itself.

    Every structure is seen once an epoch. A last batch that isn't full is kept, unlike in metatrain and MACE, so that
    no data set is too small; it takes a step of its own, with the mean over its structures as loss.
    """

    def __init__(self, structures: int, batch_size: int, seed: int) -> None:
        if structures < 1:
            raise ValueError("no structures to draw batches from")
        self.structures = structures
        self.batch_size = min(batch_size, structures)
        self.seed = seed

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return -(-self.structures // self.batch_size)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """Indices of each batch, without the first ``skip`` batches."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.structures)
        for step in range(skip, self.steps):
            yield order[step * self.batch_size : (step + 1) * self.batch_size]


def in_order(structures: int, batch_size: int) -> Iterator[np.ndarray]:
    """Batches of all structures as they stand."""
    for start in range(0, structures, batch_size):
        yield np.arange(start, min(start + batch_size, structures))
