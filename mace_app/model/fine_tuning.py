"""What of a model is trained, as the options ask for."""

import torch

from mace_app.model.config import LoRA
from mace_app.model.errors import ModelError
from mace_app.model.low_rank import BODY
from mace_app.model.potential import MaceModel
from mace_app.options.training import TrainingHypers


def add_asked_corrections(model: MaceModel, training: TrainingHypers) -> None:
    """Give ``model`` the low-rank corrections of the options, if they ask for any. Draws from torch's generator."""
    if training.lora_rank is not None:
        model.add_corrections(LoRA(training.lora_rank, training.lora_alpha))


def freeze(model: MaceModel, training: TrainingHypers) -> None:
    """Decide for every weight of ``model`` whether it is trained.

    Readouts, added heads and corrections are, but for the readouts of targets that are carried along. Raises
    ModelError for more frozen layers than there are, and where the corrections are not those of the options.
    """
    wanted = None if training.lora_rank is None else LoRA(training.lora_rank, training.lora_alpha)
    if model.config.lora != wanted:
        raise ModelError(
            f"The options ask for {_described(wanted)}, and the model has {_described(model.config.lora)}. Give "
            "`lora_rank` and `lora_alpha` as they were when the run began, or start a new run."
        )
    layers = len(model.config.layer_irreps)
    if training.freeze == "layers" and training.freeze_layers > layers:
        raise ModelError(
            f"`freeze_layers: {training.freeze_layers}` is more than the {layers} interaction layers of this model. "
            f"Give at most {layers}, or use `freeze: backbone`."
        )
    frozen: tuple[str, ...] = ()
    if training.freeze == "backbone" or wanted is not None:
        frozen = tuple(f"{part}." for part in BODY)
    elif training.freeze == "layers":
        parts = [part for part in BODY if part not in ("interactions", "products")]
        parts += [f"{part}.{layer}" for part in ("interactions", "products") for layer in range(training.freeze_layers)]
        frozen = tuple(f"{part}." for part in parts)
    for weight in model.parameters():
        weight.requires_grad_(True)
    for name, weight in model.backbone.named_parameters():
        if name.startswith(frozen):
            weight.requires_grad_(False)
    for target in model.config.carried:
        model.readouts(target).requires_grad_(False)


def trained_and_all(model: torch.nn.Module) -> tuple[int, int]:
    """How many weights are trained, and how many there are."""
    counts = [(weight.numel() if weight.requires_grad else 0, weight.numel()) for weight in model.parameters()]
    return sum(trained for trained, _ in counts), sum(count for _, count in counts)


def _described(lora: LoRA | None) -> str:
    return "no low-rank corrections" if lora is None else f"corrections of rank {lora.rank} with alpha {lora.alpha:g}"
