"""Too little memory, told by the batch for which there was not enough."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from mace_app.data import GraphSet
from mace_app.training.errors import TrainingError

# What torch, CUDA and cuBLAS say; not all of it comes as torch.OutOfMemoryError.
_WORDS = (
    "DefaultCPUAllocator",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its GPU had too little memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


class BatchOutOfMemory(TrainingError):
    """The memory was not enough for a batch of so many structures, atoms and edges.

    ``fits``: this many structures at most, or atoms where `batch_atom_bounds` has an upper one, were tried and do fit
    (0: nothing does); None if not known.
    """

    def __init__(
        self,
        structures: int,
        atoms: int,
        edges: int,
        doing: str,
        gpu: bool,
        fits: int | None = None,
    ) -> None:
        self.structures, self.atoms, self.edges = structures, atoms, edges
        self.gpu = gpu
        self.fits = fits
        what = "one structure" if structures == 1 else f"a batch of {structures} structures"
        super().__init__(
            f"The memory of the {'GPU' if gpu else 'machine'} is not enough for {doing} {what} with {atoms} atoms and "
            f"{edges} pairs of neighbours."
        )


@contextmanager
def memory_for(graphs: GraphSet, batches: Iterable[Sequence[int] | np.ndarray], doing: str) -> Iterator[None]:
    """Inside the block too little memory becomes BatchOutOfMemory with the largest of ``batches`` of ``graphs``.

    ``doing``: "training on" or "predicting".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        sizes = [
            (int(graphs.n_edges[indices].sum()), int(graphs.n_atoms[indices].sum()), len(indices))
            for indices in batches
        ]
        edges, atoms, structures = max(sizes)
        gpu = isinstance(error, torch.OutOfMemoryError) or any(
            word in str(error) for word in ("CUDA", "CUBLAS", "cuda")
        )
        raise BatchOutOfMemory(structures, atoms, edges, doing, gpu) from error
