"""Training in one process or in several at once.

The structures of a step are divided over the processes; each computes its part, and what they found is added up, so
that a step means the same whatever their number. ``Processes`` is what the training asks: for a single process it
answers at once, ``Group`` asks the others. Every process must call the same methods in the same order.

Two networks connect a group: small messages between the programs (what the first decides, results for its files) go
over gloo, so that they never wait for a GPU; sums of tensors go over NCCL between GPUs, over gloo otherwise.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from mace_app.data import GraphSet
from mace_app.training.errors import TrainingError

Value = TypeVar("Value")
# The others wait while the first reads the data or writes files; one that ends is noticed at once all the same.
PATIENCE = timedelta(days=7)


class ProcessLost(TrainingError):
    """Another process of the group ended, or can't be reached."""

    def __init__(self, error: BaseException) -> None:
        first = (str(error).splitlines() or [""])[0]
        super().__init__(f"Another process of this training ended or can't be reached any more ({first[:200]}).")


class Processes:
    """One process alone."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that decides, and writes files."""
        return self.rank == 0

    def part(self, indices: np.ndarray, graphs: GraphSet) -> np.ndarray:
        """Which structures of a batch this process works on, in their order; it may get none."""
        return indices

    def decide(self, question: Callable[[], tuple[bool, ...]]) -> tuple[bool, ...]:
        """What the first process answers; the others are not asked."""
        return question()

    def gathered(self, tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        """The float64 ``tensors`` of each process, which have the same shapes everywhere."""
        return [list(tensors)]

    def sum_gradients(self, weights: Sequence[torch.nn.Parameter]) -> None:
        """The gradient of each weight becomes the sum over the processes; None where none has one."""

    def collect(self, value: Value) -> list[Value]:
        """The values of all processes, for the first one; nothing for the others."""
        return [value]

    def share(self, value: Value) -> Value:
        """The value of the first process."""
        return value

    def share_state(self, module: torch.nn.Module) -> None:
        """``module`` gets the weights and buffers that it has in the first process."""


class Group(Processes):
    """Several processes, after ``torch.distributed.init_process_group("gloo")``; tensors are on ``device``."""

    def __init__(self, device: torch.device | str) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device = torch.device(device)
        with _others():
            self._tensors = (
                dist.new_group(backend="nccl", timeout=PATIENCE, device_id=self.device)
                if self.device.type == "cuda"
                else dist.group.WORLD
            )

    def part(self, indices: np.ndarray, graphs: GraphSet) -> np.ndarray:
        return divided(indices, graphs, self.size)[self.rank]

    def decide(self, question: Callable[[], tuple[bool, ...]]) -> tuple[bool, ...]:
        return self.share(question() if self.first else ())

    def gathered(self, tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        found = [torch.empty_like(flat) for _ in range(self.size)]
        if len(flat):
            with _others():
                dist.all_gather(found, flat, group=self._tensors)
        sizes = [tensor.numel() for tensor in tensors]
        return [
            [piece.reshape(tensor.shape) for piece, tensor in zip(one.split(sizes), tensors, strict=True)]
            for one in found
        ]

    def sum_gradients(self, weights: Sequence[torch.nn.Parameter]) -> None:
        # Which weights have a gradient depends on what is trained, not on the structures, but a process without any
        # structure has none; a zero instead of none would be a step of Adam and a decay of the weight.
        there = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32)
        with _others():
            dist.all_reduce(there, op=dist.ReduceOp.MAX)
        present = [weight for weight, one in zip(weights, there.tolist(), strict=True) if one]
        for dtype in dict.fromkeys(weight.dtype for weight in present):
            own = [weight for weight in present if weight.dtype == dtype]
            flat = torch.cat(
                [(torch.zeros_like(weight) if weight.grad is None else weight.grad).reshape(-1) for weight in own]
            )
            with _others():
                dist.all_reduce(flat, group=self._tensors)
            for weight, piece in zip(own, flat.split([weight.numel() for weight in own]), strict=True):
                weight.grad = piece.view_as(weight)

    def collect(self, value: Value) -> list[Value]:
        found: list[Any] | None = [None] * self.size if self.first else None
        with _others():
            dist.gather_object(value, found)
        return found or []

    def share(self, value: Value) -> Value:
        box = [value]
        with _others():
            dist.broadcast_object_list(box)
        return box[0]

    def share_state(self, module: torch.nn.Module) -> None:
        own = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()} if self.first else {}
        module.load_state_dict(self.share(own), strict=True)


def divided(indices: np.ndarray, graphs: GraphSet, parts: int) -> list[np.ndarray]:
    """The structures ``indices`` in so many parts of about equal numbers of atoms and pairs, each in the given order.

    The largest are given out first, each to the part that has least so far. Parts may be empty.
    """
    indices = np.asarray(indices)
    sizes = np.asarray(graphs.n_edges[indices]) + np.asarray(graphs.n_atoms[indices])
    places: list[list[int]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for place in np.argsort(-sizes, kind="stable").tolist():
        least = loads.index(min(loads))
        places[least].append(place)
        loads[least] += int(sizes[place])
    return [indices[sorted(chosen)] for chosen in places]


@contextmanager
def _others() -> Iterator[None]:
    """What torch raises when another process is gone becomes ProcessLost."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(error) from error
