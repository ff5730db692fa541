"""The optimiser, with a state that fits into a checkpoint."""

from collections.abc import Mapping
from typing import Any

import torch

from mace_app.options import TrainingHypers

BETA2 = 0.999


def make_optimiser(groups: list[dict[str, Any]], training: TrainingHypers) -> torch.optim.Optimizer:
    """Adam, AdamW or schedule-free AdamW over MACE's parameter groups, which carry their own weight decay."""
    kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    # Without a decay of its own a group must get none: AdamW's default of 0.01 would surprise.
    groups = [{"weight_decay": 0.0, **group} for group in groups]
    if training.optimizer == "schedulefree":
        from schedulefree import AdamWScheduleFree

        # Warm-up is the schedule's, by the same formula as this optimiser's own.
        free = AdamWScheduleFree(groups, lr=training.learning_rate, betas=(training.beta, BETA2), weight_decay=0.0)
        free.train()
        return free
    return kinds[training.optimizer](
        groups,
        lr=training.learning_rate,
        betas=(training.beta, BETA2),
        amsgrad=training.amsgrad,
        weight_decay=0.0,
        fused=True,  # one call for all weights: a fifth of the time on a CPU, a few launches on a GPU
    )


def optimiser_state(optimiser: torch.optim.Optimizer) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Groups as plain values, and the moments as tensors named ``<index of the parameter>/<name>``."""
    state = optimiser.state_dict()
    groups = [{key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]]
    tensors = {f"{index}/{key}": value for index, entry in state["state"].items() for key, value in entry.items()}
    return groups, tensors


def load_optimiser_state(
    optimiser: torch.optim.Optimizer, groups: list[dict[str, Any]], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Raises ValueError where the groups don't fit the optimiser's."""
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        entries.setdefault(int(index), {})[key] = tensor
    own = optimiser.state_dict()["param_groups"]
    if len(own) != len(groups):
        raise ValueError(f"{len(groups)} groups of weights in the checkpoint, {len(own)} in the model")
    for group, mine in zip(groups, own, strict=True):
        if group.keys() != mine.keys() - {"params"}:
            raise ValueError("it was made with another optimiser")
    merged = [
        {**group, "betas": tuple(group["betas"]), "params": mine["params"]}
        for group, mine in zip(groups, own, strict=True)
    ]
    optimiser.load_state_dict({"state": entries, "param_groups": merged})


def clip_gradients(parameters: list[torch.nn.Parameter], norm: float | None) -> torch.Tensor:
    """Shorten the gradient of all weights together to ``norm`` (None leaves it as it is); gives the norm it had."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = torch.nn.utils.get_total_norm(gradients)
    if norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, norm, total)
    return total
