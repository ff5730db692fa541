"""From a file to our own model, with the same energies."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from pydantic import ValidationError

from mace_app.model.config import ModelConfig
from mace_app.model.foundation.bounds import bounded
from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.rebuild import put_weights
from mace_app.model.foundation.source import Foundation
from mace_app.model.potential import MaceModel
from mace_app.model.readouts import part_of_readouts, scalars_seen
from mace_app.options.model import ModelHypers
from mace_app.options.target_info import TargetInfo


def foundation_config(foundation: Foundation, target: str = "energy") -> ModelConfig:
    """Our configuration of the file's energy, all its elements kept."""
    architecture = foundation.architecture
    return ModelConfig(
        hypers=_hypers(foundation, target),
        atomic_types=list(architecture.atomic_numbers),
        targets={target: TargetInfo(target, "energy", "eV", has_forces=True, has_stress=True)},
        avg_num_neighbors=architecture.avg_num_neighbors[0],
        architecture=architecture,
    )


def _hypers(foundation: Foundation, target: str) -> ModelHypers:
    """What describes heads that may be added; the rest is in the architecture."""
    architecture = foundation.architecture
    name = foundation.file if foundation.file.endswith(".model") else f"{foundation.file}.model"
    values = {
        "mace_model": name,
        "mace_head_target": target,
        "MLP_irreps": architecture.MLP_irreps,
        "gate": architecture.gate,
    }
    try:
        return ModelHypers.model_validate(values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise FoundationError(f"`{foundation.file}` has a readout that is not supported here: {reason}") from None


def foundation_model(
    foundation: Foundation, head: str | None = None, target: str = "energy", dtype: torch.dtype | None = None
) -> MaceModel:
    """One head of the file as a model of ours, on the CPU.

    Energy = Σ_i (E0[head, Z_i] + shift[head]) + scale[head] · network: the first is the baseline, the second the scale,
    both exact in float64 and never fitted. ``dtype`` is the file's unless given.
    """
    config = foundation_config(foundation, target)
    with bounded(foundation.numbers, foundation.file):
        model = MaceModel(config, dtype or foundation.dtype)
    put_foundation(model, foundation, {target: head})
    return model.eval()


def continued_config(
    foundation: Foundation,
    hypers: ModelHypers,
    targets: Mapping[str, TargetInfo],
    keep: bool,
    per_structure_targets: tuple[str, ...] = (),
) -> ModelConfig:
    """A model that goes on from the file: its backbone and elements, its readouts for the energies that ``hypers``
    name, heads with random weights for the other ``targets``.

    Energies of the file that no data train are carried along if ``keep``, and left out otherwise.
    """
    config = foundation_config(foundation)
    untrained = [name for name in (hypers.mace_head_target, *hypers.more_mace_heads) if name not in targets]
    carried = untrained if keep else []
    brought = {name: TargetInfo(name, "energy", "eV", has_forces=True, has_stress=True) for name in carried}
    return replace(
        config,
        hypers=hypers,
        targets={**targets, **brought},
        per_structure_targets=per_structure_targets,
        carried=tuple(carried),
    )


def put_foundation(model: MaceModel, foundation: Foundation, heads: Mapping[str, str | None]) -> None:
    """Give ``model`` the weights of the file, and its internal targets baseline and scale of the ``heads`` named for
    them (None: the only one). Added heads are left as they are. Raises FoundationError."""
    internal = model.config.internal_targets
    indices = [foundation.head_index(heads[name]) for name in internal]
    weights = head_weights(foundation, indices[0] if indices else 0)
    if not internal:
        weights = {name: value for name, value in weights.items() if not name.startswith("readouts.")}
    for place, index in enumerate(indices[1:]):
        own = head_weights(foundation, index)
        weights |= {f"more_readouts.{place}.{n[9:]}": v for n, v in own.items() if n.startswith("readouts.")}
    put_weights(model.backbone, weights, foundation.file)
    for name, index in zip(internal, indices, strict=True):
        model.baseline.set(name, atomic_baseline(foundation, index).reshape(-1, 1).numpy())
        model.scaler.set(name, float(foundation.scale[index]))


def atomic_baseline(foundation: Foundation, head: int) -> torch.Tensor:
    """E0 + shift [elements], float64, elements in ascending order."""
    baseline = foundation.atomic_energies[head] + foundation.shift[head]
    return baseline[torch.argsort(torch.tensor(foundation.architecture.atomic_numbers))]


def head_weights(foundation: Foundation, head: int) -> dict[str, torch.Tensor]:
    """The weights of a model with this head alone, by the names that ``Backbone`` has."""
    count = len(foundation.heads)
    unused = ("atomic_energies_fn.", "scale_shift.")
    found = {
        name: value
        for name, value in foundation.tensors.items()
        if not name.startswith(unused) and name not in ("r_max", "num_interactions")
    }
    if count == 1:
        return found
    architecture = foundation.architecture
    for name in [name for name in found if name.startswith("readouts.")]:
        key = name.removeprefix("readouts.")
        number = int(key.partition(".")[0])
        inputs = scalars_seen(architecture.layer_irreps, architecture.use_last_readout_only, number)
        found[name] = part_of_readouts(key, found[name], head, count, inputs)
    return found
