"""What fitting needs from a set of graphs; ``mace_app.data.GraphSet`` is one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

CHUNK = 128


class GraphSource(Protocol):
    def __len__(self) -> int: ...

    def collate(self, indices: Sequence[int]) -> Mapping[str, np.ndarray]: ...


def chunks(
    source: GraphSource, progress: Callable[[int, int], None] | None = None
) -> Iterator[Mapping[str, np.ndarray]]:
    """All structures of ``source``, some at a time."""
    for start in range(0, len(source), CHUNK):
        stop = min(start + CHUNK, len(source))
        yield source.collate(list(range(start, stop)))
        if progress is not None:
            progress(stop, len(source))


def element_counts(arrays: Mapping[str, np.ndarray], elements: np.ndarray, n_elements: int) -> np.ndarray:
    """How often each element occurs in each structure, [G, elements]."""
    counts = np.zeros((len(arrays["ptr"]) - 1, n_elements))
    np.add.at(counts, (np.asarray(arrays["structure"]), elements), 1.0)
    return counts
