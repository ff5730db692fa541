"""Which batches fit into memory, and how fast they are: tried with the structures that need most."""

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
from mace_app.training.precision import matmul_precision

if TYPE_CHECKING:
    from mace_app.training.trainer import Trainer

# Of the memory that is free before a batch of twice the size is tried on a CPU, where too much ends the process.
SHARE = 0.8
FINENESS = 8  # the largest batch is found to one part in so many


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
        self._order = np.argsort(-np.asarray(self.graphs.n_edges), kind="stable")

    def heaviest(self, structures: int, most_atoms: int | None = None) -> np.ndarray:
        """So many structures with the most pairs of neighbours; fewer where they have more than ``most_atoms``."""
        chosen = self._order[:structures]
        if most_atoms is not None:
            fitting = int(np.searchsorted(np.cumsum(self.graphs.n_atoms[chosen]), most_atoms, side="right"))
            chosen = chosen[: max(1, fitting)]
        return chosen

    def attempt(self, structures: np.ndarray) -> Attempt | None:
        """None where memory is not enough."""
        try:
            return self._attempt(structures)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        gc.collect()
        if self.trainer.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _attempt(self, structures: np.ndarray) -> Attempt:
        trainer = self.trainer
        meter = _Meter(trainer.device)
        moments = [] if trainer.state.optimiser.state else [torch.empty_like(w) for w in 2 * trainer.weights]
        begun = time.perf_counter()
        with matmul_precision(trainer.training.matmul_precision):
            ready = trainer._load(structures)
            assert ready is not None
            loss = trainer.stage.trained_loss
            predictions = trainer.model(ready.batch, loss.labels, create_graph=True)
            value = loss(predictions, ready.normalised, ready.batch)
            if value.total.requires_grad:
                gradients = torch.autograd.grad(value.total, trainer.weights, allow_unused=True)
                del gradients
        memory = meter.read()  # waits for the device
        del moments
        return Attempt(
            len(structures),
            int(self.graphs.n_atoms[structures].sum()),
            int(self.graphs.n_edges[structures].sum()),
            time.perf_counter() - begun,
            memory,
        )

    def largest(self, report: Callable[[Attempt], None] = lambda attempt: None, most: int | None = None) -> int:
        """The most structures that fit, up to ``most`` or all; 0 where not even one does. ``report`` gets every attempt
        that fitted."""
        most = len(self.graphs) if most is None else min(most, len(self.graphs))
        fits, fails = 0, most + 1
        size = 1
        while fits < most:
            attempt = self.attempt(self.heaviest(size))
            if attempt is None:
                fails = size
            else:
                report(attempt)
                fits = size
            if fails <= most:
                if fails - fits <= max(1, fits // FINENESS):
                    break
                size = (fits + fails) // 2
            else:
                size = min(2 * fits, most)
                assert attempt is not None
                if not self._may_try(attempt, size):
                    break
        return fits

    def _may_try(self, attempt: Attempt, structures: int) -> bool:
        if self.trainer.device.type != "cpu" or attempt.memory is None:
            return True
        return attempt.memory * structures / attempt.structures < SHARE * psutil.virtual_memory().available

    def check(self) -> Attempt:
        """The heaviest batch that the training may meet. Raises BatchOutOfMemory, with the largest that does fit."""
        limits = self.trainer.limits
        size = -(-limits.structures // self.trainer.processes.size)
        structures = self.heaviest(size, limits.most_atoms)
        attempt = self.attempt(structures)
        if attempt is not None:
            return attempt
        fits = self.largest(most=len(structures) - 1)
        atoms = int(self.graphs.n_atoms[self.heaviest(fits)].sum())
        raise BatchOutOfMemory(
            len(structures),
            int(self.graphs.n_atoms[structures].sum()),
            int(self.graphs.n_edges[structures].sum()),
            "training on",
            self.trainer.device.type != "cpu",
            fits=(fits * self.trainer.processes.size, atoms),
        )


class _Meter:
    """The most memory that a piece of work needs at once, beyond what there was before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
            self._before = psutil.Process().memory_info().rss

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


def fitting(attempt: Attempt, device: torch.device) -> str:
    """What the heaviest batch takes, in a sentence for the log."""
    what = f"{attempt.structures} structures with {attempt.atoms} atoms and {attempt.pairs} pairs of neighbours"
    taken = 0 if attempt.memory is None else attempt.memory
    text = f"The largest batch ({what}) takes {taken / 2**30:.3g} GiB"
    if device.type != "cuda" or taken == 0:
        return f"{text}."
    free, total = torch.cuda.mem_get_info(device)
    room = int(attempt.structures * (free + torch.cuda.memory_reserved(device)) * 0.95 / taken)
    return f"{text} of the GPU's {total / 2**30:.3g}; about {room} such structures would fit."
