"""What a page says about an exported model, read without loading it: from the best checkpoint's header.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, JSON; ours keeps the
model's description in it. See https://huggingface.co/docs/safetensors.
"""

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mace_app.jobs import JobsError, RunFolder
from mace_app.options import OptionsError, TargetInfo

MOST_HEADER_BYTES = 100_000_000
KEY = "mace_studio"
LENGTH_WORDS = {"": "Å", "angstrom": "Å", "bohr": "bohr", "nanometer": "nm"}


@dataclass(frozen=True)
class ModelFacts:
    """Elements as atomic numbers; ``cutoff`` of one layer in ``length_unit``; unknown is empty or None."""

    elements: list[int]
    targets: list[TargetInfo]
    cutoff: float | None
    layers: int | None
    irreps: str
    precision: int | None
    length_unit: str = "Å"


def model_facts(run: RunFolder) -> ModelFacts:
    """From the checkpoint; where there is none (deleted to save space), from the options as far as they say it."""
    header = checkpoint_header(run.path / "checkpoints" / "best.safetensors") or checkpoint_header(
        run.path / "checkpoints" / "last.safetensors"
    )
    config = header.get("config") if header else None
    if isinstance(config, dict):
        try:
            return replace(_from_config(config, header.get("precision") if header else None), length_unit=_length(run))
        except (KeyError, TypeError, ValueError):
            pass  # of another version: the options know most of it
    return _from_options(run)


def _length(run: RunFolder) -> str:
    """The unit of length of the data, as people write it."""
    try:
        return LENGTH_WORDS.get(run.options().training_set[0].systems.length_unit, "Å")
    except (JobsError, OptionsError):
        return "Å"


def checkpoint_header(path: Path) -> dict[str, Any] | None:
    """Our JSON in the header of a safetensors file; None if there is no such file or it is not ours."""
    try:
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MOST_HEADER_BYTES:
                return None
            header = json.loads(json.loads(stream.read(length))["__metadata__"][KEY])
    except (OSError, struct.error, ValueError, KeyError, TypeError):
        return None
    return header if isinstance(header, dict) else None


def _from_config(config: dict[str, Any], precision: Any) -> ModelFacts:
    # A model from a foundation file has the architecture of that file, whatever the options say.
    hypers = config["hypers"] if config.get("architecture") is None else config["architecture"]
    return ModelFacts(
        elements=[int(z) for z in config["atomic_types"]],
        targets=[TargetInfo.from_json(target) for target in config["targets"].values()],
        cutoff=float(hypers["r_max"]),
        layers=int(hypers["num_interactions"]),
        irreps=str(hypers["hidden_irreps"]),
        precision=precision if isinstance(precision, int) else None,
    )


def _from_options(run: RunFolder) -> ModelFacts:
    try:
        options = run.options()
    except (JobsError, OptionsError):
        return _unknown()
    model = options.architecture.model
    if model.mace_model is not None:
        return replace(_unknown(options.base_precision), targets=list(options.targets().values()))
    return ModelFacts(
        elements=list(options.architecture.atomic_types or []),
        targets=list(options.targets().values()),
        cutoff=model.r_max,
        layers=model.num_interactions,
        irreps=str(model.hidden_irreps),
        precision=options.base_precision,
        length_unit=LENGTH_WORDS.get(options.training_set[0].systems.length_unit, "Å"),
    )


def _unknown(precision: int | None = None) -> ModelFacts:
    return ModelFacts([], [], None, None, "", precision)
