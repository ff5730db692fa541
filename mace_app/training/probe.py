"""Which batches fit into memory, and how fast they are: tried with the heaviest that a training will meet."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch

from mace_app.training.memory import BatchOutOfMemory, out_of_memory
from mace_app.training.passes import load_ready
from mace_app.training.precision import matmul_precision
from mace_app.training.sampling import BatchLimits, EpochOrder
from mace_app.training.stages import Stage

if TYPE_CHECKING:
    from mace_app.training.trainer import Trainer

# Of the memory that is free before a batch of twice the size is tried on a CPU, where too much ends the process.
SHARE = 0.8
FINENESS = 8  # the largest batch is found to one part in so many
LOOKED_AT = 200_000  # batches among which the heaviest is looked for


@dataclass(frozen=True)
class Attempt:
    """A batch that fitted: its size, the seconds of forward and backward, and the memory it took (None: not known)."""

    structures: int
    atoms: int
    pairs: int
    seconds: float
    memory: int | None

    @property
    def structures_per_second(self) -> float:
        return self.structures / self.seconds


class Probe:
    """Tries batches as ``trainer`` would train on them, and leaves its model, optimiser and random state alone."""

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        self.graphs = trainer.prepared.training
        self._meter = _Meter(trainer.device)

    def heaviest(self, limits: BatchLimits) -> np.ndarray:
        """Of the batches of the epochs to come, under ``limits``, this process's part of that with the most pairs of
        neighbours; only so many epochs are looked at that it takes no time."""
        trainer = self.trainer
        order = EpochOrder(self.graphs.n_atoms, limits, trainer.order.seed)
        first = trainer.state.epoch + 1
        batches = order.batches(first)
        epochs = min(LOOKED_AT // len(batches), 10 * LOOKED_AT // len(self.graphs), trainer.last_epoch - first + 1)
        chosen, most = batches[0], -1
        for epoch in range(first, first + max(1, epochs)):
            for batch in batches if epoch == first else order.batches(epoch):
                pairs = int(self.graphs.n_edges[batch].sum())
                if pairs > most:
                    chosen, most = batch, pairs
        return trainer.processes.part(chosen, self.graphs)

    def attempt(self, structures: np.ndarray) -> Attempt | None:
        """None where memory is not enough, in this stage of the training or in one to come."""
        try:
            attempts = [self._attempt(structures, stage) for stage in self.trainer.coming_stages]
            return max(attempts, key=lambda attempt: attempt.memory or 0)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        gc.collect()
        if self.trainer.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _attempt(self, structures: np.ndarray, stage: Stage) -> Attempt:
        trainer = self.trainer
        self._meter.begin()
        begun = time.perf_counter()
        moments = []
        if not trainer.state.optimiser.state:
            count = 3 if trainer.training.amsgrad else 2
            moments = [torch.empty_like(weight) for weight in count * trainer.weights]
        with matmul_precision(trainer.training.matmul_precision):
            ready = load_ready(self.graphs, structures, trainer.model, stage.trained)
            if ready is not None:
                loss = stage.trained_loss
                predictions = trainer.model(ready.batch, loss.labels, create_graph=True)
                value = loss(predictions, ready.normalised, ready.batch)
                if value.total.requires_grad:
                    gradients = torch.autograd.grad(value.total, trainer.weights, allow_unused=True)
                    del gradients
        memory = self._meter.read()  # waits for the device
        del moments
        return Attempt(
            len(structures),
            int(self.graphs.n_atoms[structures].sum()),
            int(self.graphs.n_edges[structures].sum()),
            time.perf_counter() - begun,
            memory,
        )

    def largest(self, report: Callable[[Attempt], None] = lambda attempt: None) -> tuple[int, bool]:
        """The largest batch size that fits, up to all structures; 0 where not even one does. And whether it is known
        that a larger one does not: on a CPU too large a batch is not tried. ``report`` gets every attempt that fitted.
        """
        most = len(self.graphs)
        bound = self.trainer.limits.most_atoms
        fits, size = 0, 1
        while True:
            attempt = self.attempt(self.heaviest(BatchLimits(size, None, bound)))
            if attempt is None:
                between = lambda n: self._fits(BatchLimits(n, None, bound), report)  # noqa: E731
                return bisected(between, fits, size), True
            report(attempt)
            fits = size
            if fits == most:
                return fits, True
            size = min(2 * fits, most)
            if not self._may_try(attempt, size):
                return fits, False

    def _fits(self, limits: BatchLimits, report: Callable[[Attempt], None] = lambda attempt: None) -> bool:
        attempt = self.attempt(self.heaviest(limits))
        if attempt is not None:
            report(attempt)
        return attempt is not None

    def _may_try(self, attempt: Attempt, structures: int) -> bool:
        if self.trainer.device.type != "cpu":
            return True
        if attempt.memory is None:
            return False
        return attempt.memory * structures / attempt.structures < SHARE * psutil.virtual_memory().available

    def check(self) -> Attempt:
        """The heaviest batch of the epochs to come. Raises BatchOutOfMemory, with the largest limit that does fit."""
        limits = self.trainer.limits
        structures = self.heaviest(limits)
        attempt = self.attempt(structures)
        if attempt is not None:
            return attempt
        if limits.most_atoms is None:
            size = min(limits.structures, len(self.graphs))
            fits = bisected(lambda n: self._fits(BatchLimits(n)), 0, size)
        else:
            atoms = limits.most_atoms
            fits = bisected(lambda n: self._fits(BatchLimits(limits.structures, None, n)), 0, atoms)
        raise BatchOutOfMemory(
            len(structures),
            int(self.graphs.n_atoms[structures].sum()),
            int(self.graphs.n_edges[structures].sum()),
            "training on",
            self.trainer.device.type != "cpu",
            fits=fits,
        )


def bisected(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number that ``fits``, to one part in ``FINENESS``: ``low`` does (or is 0), ``high`` does not."""
    while high - low > max(1, low // FINENESS):
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


class _Meter:
    """The most memory that a piece of work needs at once, beyond what there was when the meter was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = (
            torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss
        )

    def begin(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew

    def read(self) -> int | None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return torch.cuda.max_memory_allocated(self.device) - self._before
        try:
            status = Path("/proc/self/status").read_text(encoding="ascii")
        except OSError:
            return None
        peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
        return None if peak is None else max(0, 1024 * int(peak.split()[1]) - self._before)


def fitting(attempt: Attempt, device: torch.device, processes: int = 1) -> str:
    """What the heaviest batch takes, in a sentence for the log."""
    of = "The largest batch" if processes == 1 else "This process's part of the largest batch"
    what = f"{attempt.structures} structures with {attempt.atoms} atoms and {attempt.pairs} pairs of neighbours"
    taken = 0 if attempt.memory is None else attempt.memory
    text = f"{of} ({what}) takes {taken / 2**30:.3g} GiB"
    if device.type != "cuda" or taken == 0:
        return f"{text}."
    free, total = torch.cuda.mem_get_info(device)
    room = int(attempt.structures * (free + torch.cuda.memory_reserved(device)) * 0.95 / taken)
    return f"{text} of the GPU's {total / 2**30:.3g}; about {room} such structures would fit."
