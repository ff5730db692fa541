"""Everything a training needs to go on exactly where it was, to and from a checkpoint."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mace_app.model import MaceModel
from mace_app.training.averaging import Average
from mace_app.training.checkpoint import Checkpoint
from mace_app.training.errors import CheckpointError
from mace_app.training.losses import LossAccumulator
from mace_app.training.metrics import ErrorAccumulator
from mace_app.training.optimiser import load_optimiser_state, optimiser_state
from mace_app.training.schedule import Schedule
from mace_app.training.watch import DivergenceWatch


@dataclass
class Best:
    """The best epoch so far. ``value`` is what was monitored (None without validation); weights lie on the CPU."""

    epoch: int
    value: float | None
    weights: dict[str, torch.Tensor]


@dataclass
class TrainingState:
    """``epoch`` counts finished epochs; ``step`` the steps done of the next one, ``seconds`` the time they took,
    ``gradient`` (a scalar on the device) the sum of the norms of their gradients; ``steps`` counts those of the run.
    ``stage_two`` is the first epoch of stage two once it has begun."""

    model: MaceModel
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    average: Average | None
    losses: LossAccumulator
    errors: ErrorAccumulator
    gradient: torch.Tensor
    watch: DivergenceWatch = field(default_factory=DivergenceWatch)
    epoch: int = 0
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    stage_two: int | None = None
    best: Best | None = None

    def averaged_weights(self) -> dict[str, torch.Tensor]:
        """What is validated and exported, as copies on the CPU."""
        source: Mapping[str, torch.Tensor]
        source = self.average.averages if self.average is not None else dict(self.model.named_parameters())
        return {name: value.detach().to("cpu", copy=True) for name, value in source.items()}

    def to_checkpoint(self, header: Mapping[str, Any]) -> Checkpoint:
        """``header`` identifies the run (model, seed, data); ``restore`` reads what is written here."""
        groups, moments = optimiser_state(self.optimiser)
        sums, structures = self.losses.state()
        checkpoint = Checkpoint(
            {
                **header,
                "kind": "last",
                "epoch": self.epoch,
                "step": self.step,
                "steps_done": self.steps,
                "seconds": self.seconds,
                "stage_two": self.stage_two,
                "watch": self.watch.state(),
                "sum_structures": structures,
                "optimiser": groups,
                "schedule": self.schedule.state(),
                "average_updates": None if self.average is None else self.average.updates,
                "best": None if self.best is None else {"epoch": self.best.epoch, "value": self.best.value},
            }
        )
        checkpoint.add("model", self.model.state_dict())
        checkpoint.add("optimiser", moments)
        checkpoint.add("sums", {"loss": sums, "errors": self.errors.state(), "gradient": self.gradient})
        checkpoint.add("rng", random_states())
        if self.average is not None:
            checkpoint.add("average", self.average.averages)
        if self.best is not None:
            checkpoint.add("best", self.best.weights)
        return checkpoint

    def restore(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointError where the checkpoint is not one to resume from, or of another model or optimiser."""
        header = checkpoint.header
        if header.get("kind") != "last":
            raise CheckpointError(
                f"{checkpoint.where} holds weights only, without the state of the training. Resume from "
                "`last.safetensors`."
            )
        try:
            self.model.load_state_dict(checkpoint.group("model"), strict=True)
            load_optimiser_state(self.optimiser, header["optimiser"], checkpoint.group("optimiser"))
            self.schedule.load_state(header["schedule"])
            if self.average is not None:
                if header["average_updates"] is None:
                    raise ValueError("it was made without `ema_decay`")
                self.average.load_state(header["average_updates"], checkpoint.group("average"))
            sums = checkpoint.group("sums")
            self.losses.load_state(sums["loss"], header["sum_structures"])
            self.errors.load_state(sums["errors"])
            self.gradient = sums["gradient"].to(self.gradient.device)
            self.epoch, self.step, self.seconds = header["epoch"], header["step"], header["seconds"]
            self.steps, self.stage_two = header["steps_done"], header["stage_two"]
            self.watch = DivergenceWatch(**header["watch"])
            best = header["best"]
            self.best = None if best is None else Best(best["epoch"], best["value"], checkpoint.group("best"))
            load_random_states(checkpoint.group("rng"))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            first = str(error).splitlines()[0] if str(error) else repr(error)
            raise CheckpointError(
                f"{checkpoint.where} does not fit these options ({first}). Model and optimiser must be those the run "
                "began with; start a new run to change them."
            ) from error


def random_states() -> dict[str, torch.Tensor]:
    """The state of every global generator of random numbers, as tensors."""
    version, numbers, _ = random.getstate()
    kind, keys, position, _, _ = np.random.get_state()
    assert version == 3 and kind == "MT19937"
    states = {
        "python": torch.tensor(numbers, dtype=torch.int64),
        "numpy": torch.from_numpy(np.append(np.asarray(keys, dtype=np.int64), position)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def load_random_states(states: Mapping[str, torch.Tensor]) -> None:
    random.setstate((3, tuple(states["python"].tolist()), None))
    numbers = states["numpy"].numpy()
    np.random.set_state(("MT19937", numbers[:-1].astype(np.uint32), int(numbers[-1]), 0, 0.0))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
