"""Checkpoints: one safetensors file with all tensors, and everything else as JSON in its header.

Tensors are named by group: ``model/…`` (weights and buffers), and in a checkpoint to resume from also ``best/…``,
``average/…``, ``optimiser/…``, ``rng/…`` and ``sums/…``. A checkpoint holds data only; reading one runs no code.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from mace_app.files import atomic_open
from mace_app.model import MaceModel, ModelConfig
from mace_app.training.errors import CheckpointError

FORMAT = 1
KEY = "mace_studio"
DTYPES = {32: torch.float32, 64: torch.float64}


@dataclass
class Checkpoint:
    """``header`` has at least ``config`` (of the model), ``precision`` (bits), ``kind``, ``epoch``."""

    header: dict[str, Any]
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    where: str = "checkpoint"

    def group(self, name: str) -> dict[str, torch.Tensor]:
        start = f"{name}/"
        return {key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)}

    def add(self, group: str, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors.update({f"{group}/{key}": value for key, value in tensors.items()})


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Written whole or not at all."""
    # Copies: safetensors refuses tensors that share memory.
    tensors = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in checkpoint.tensors.items()}
    header = json.dumps({"format": FORMAT, **checkpoint.header}, allow_nan=False)
    with atomic_open(path) as stream:
        stream.write(safetensors.torch.save(tensors, metadata={KEY: header}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises CheckpointError for a file that is missing, damaged, foreign or of another format."""
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}. Check the path.") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} is no readable checkpoint ({error}): it is damaged or a file of another kind. Use another one."
        ) from error
    try:
        header = json.loads(metadata[KEY])
        found = header["format"]
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path} is a safetensors file, but no checkpoint of MACE Studio. Name a run or one of its checkpoints."
        ) from None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has format {found!r}; this version of MACE Studio reads format {FORMAT}. "
            "Open it with the version that wrote it."
        )
    return Checkpoint(header, tensors, str(path))


def model_checkpoint(
    config: ModelConfig, precision: int, weights: Mapping[str, torch.Tensor], kind: str, epoch: int, **header: Any
) -> Checkpoint:
    """A checkpoint of the weights alone, to export or evaluate."""
    checkpoint = Checkpoint(
        {"kind": kind, "config": config.to_json(), "precision": precision, "epoch": epoch, **header}
    )
    checkpoint.add("model", weights)
    return checkpoint


def best_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """What to predict with: the best epoch's weights where the checkpoint has them, else the averaged, else its own."""
    weights = checkpoint.group("model")
    chosen = checkpoint.group("best") or checkpoint.group("average")
    return {**weights, **chosen}


def last_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Those of the epoch the checkpoint was made in, averaged where the training averages them."""
    return {**checkpoint.group("model"), **checkpoint.group("average")}


def build_model(checkpoint: Checkpoint, weights: Mapping[str, torch.Tensor]) -> MaceModel:
    """The model that the header describes, with ``weights``, on the CPU; CheckpointError where they don't fit."""
    try:
        config = ModelConfig.from_json(checkpoint.header["config"])
        dtype = DTYPES[checkpoint.header["precision"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint.where} does not describe its model as this version expects ({error!r}). "
            "Open it with the version that wrote it."
        ) from error
    with torch.random.fork_rng(devices=[]):  # random first weights must not disturb a running sequence
        model = MaceModel(config, dtype)
    try:
        model.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()
        raise CheckpointError(
            f"The weights in {checkpoint.where} do not fit the model it describes ({' '.join(first[:2]).strip()}). "
            "It was probably written by another version."
        ) from error
    return model


def checkpoint_file(path: Path) -> Path:
    """The file to load a model from: ``path`` itself, or the best checkpoint of a run folder, or its last one."""
    if not path.is_dir():
        return path
    for kind in ("best", "last"):
        found = path / "checkpoints" / f"{kind}.safetensors"
        if found.exists():
            return found
    raise CheckpointError(f"{path} holds no checkpoint yet. Wait for the first epoch, or name another run.")


def load_model(path: Path | str) -> MaceModel:
    """The model of a checkpoint, or of the best checkpoint of a run folder; on the CPU, ready to predict."""
    checkpoint = load_checkpoint(checkpoint_file(Path(path)))
    return build_model(checkpoint, best_weights(checkpoint)).eval()
