"""How the learning rate changes: up during the warm-up, then down by the schedule."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from mace_app.options import TrainingHypers

COSINE_FLOOR = 0.01  # of the first rate: a rate of zero would waste the last epochs


class Schedule:
    """Sets the learning rate of all groups of ``optimiser`` before every step and at the end of every epoch.

    The rate of an epoch follows ``lr_scheduler``: torch's ReduceLROnPlateau; a factor per epoch; or half a cosine over
    ``epochs`` epochs, r₀·(c + (1 − c)·(1 + cos(π t/T))/2) with c = 0.01 (Loshchilov and Hutter 2017, without restarts).
    The schedule-free optimiser keeps its rate. During the first ``warmup_steps`` steps of a run, step n (from 1) has
    n/warmup_steps of it. A group with ``rate_factor`` has this multiple of the rate of the others.
    """

    PLATEAU = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")

    def __init__(self, optimiser: torch.optim.Optimizer, training: TrainingHypers, epochs: int | None = None) -> None:
        self.optimiser = optimiser
        self.kind = "" if training.optimizer == "schedulefree" else training.lr_scheduler
        self.warmup_steps = training.warmup_steps
        self.first_rate = self.rate = training.learning_rate
        self.length = training.num_epochs if epochs is None else epochs
        self.epochs = self.steps = 0
        self._gamma = training.lr_scheduler_gamma
        self._factor, self._patience = training.lr_factor, training.lr_scheduler_patience
        self._plateau = self._new_plateau()
        self._apply()

    def _new_plateau(self) -> torch.optim.lr_scheduler.ReduceLROnPlateau | None:
        if self.kind != "ReduceLROnPlateau":
            return None
        return torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimiser, factor=self._factor, patience=self._patience)

    @property
    def learning_rate(self) -> float:
        """As it was in the last step; before any, and after ``step``, as it will be in the next. That of groups without
        a factor."""
        plain = [group["lr"] for group in self.optimiser.param_groups if "rate_factor" not in group]
        return float(plain[0])

    def _apply(self) -> None:
        risen = min(1.0, (self.steps + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * risen * group.get("rate_factor", 1.0)

    def before_step(self) -> None:
        """Call before every step of the optimiser."""
        self._apply()
        self.steps += 1

    def step(self, loss: float) -> None:
        """The end of an epoch. ``loss`` is that of the validation set, or of the training set where there is none."""
        self.epochs += 1
        if self._plateau is not None:
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate
            self._plateau.step(loss)
            self.rate = self.learning_rate
        elif self.kind == "ExponentialLR":
            self.rate *= self._gamma
        elif self.kind == "CosineAnnealingLR":
            done = min(1.0, self.epochs / max(1, self.length))
            fall = (1 + math.cos(math.pi * done)) / 2
            self.rate = self.first_rate * (COSINE_FLOOR + (1 - COSINE_FLOOR) * fall)
        self._apply()

    def restart(self, rate: float, epochs: int) -> None:
        """Begin anew at ``rate`` with ``epochs`` epochs to go; a warm-up is not repeated."""
        self.first_rate = self.rate = rate
        self.length, self.epochs = epochs, 0
        self.forget_losses()
        self._apply()

    def forget_losses(self) -> None:
        """Losses from now on can't be compared with those before."""
        self._plateau = self._new_plateau()

    def state(self) -> dict[str, Any]:
        """Plain values; an infinity, which JSON doesn't have, becomes None."""
        state: dict[str, Any] = {
            "rate": self.rate,
            "first_rate": self.first_rate,
            "epochs": self.epochs,
            "steps": self.steps,
        }
        if self._plateau is not None:
            own = self._plateau.state_dict()
            state["plateau"] = {key: own[key] for key in self.PLATEAU}
            if not math.isfinite(own["best"]):
                state["plateau"]["best"] = None
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The rate of the last step comes back with the optimiser's state."""
        self.rate, self.first_rate = state["rate"], state["first_rate"]
        self.epochs, self.steps = state["epochs"], state["steps"]
        if self._plateau is not None:
            plateau = state["plateau"]
            best = math.inf if plateau["best"] is None else plateau["best"]
            self._plateau.load_state_dict({**plateau, "best": best})
