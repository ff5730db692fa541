"""From a file to our own model, with the same energies."""

import torch
from pydantic import ValidationError

from mace_app.model.config import ModelConfig
from mace_app.model.foundation.bounds import bounded
from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.rebuild import put_weights
from mace_app.model.foundation.source import Foundation
from mace_app.model.potential import MaceModel
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
    """What describes heads that may be added. The rest is for people, and left at its default where it is nothing that
    one could train with, such as irreps that stay zero."""
    architecture = foundation.architecture
    needed = {"mace_head_target": target, "MLP_irreps": architecture.MLP_irreps, "gate": architecture.gate}
    shown = {
        "r_max": architecture.r_max,
        "num_interactions": architecture.num_interactions,
        "hidden_irreps": architecture.hidden_irreps,
        "max_ell": architecture.max_ell,
        "correlation": max(architecture.correlation),
    }
    for values in (needed | shown, needed):
        try:
            return ModelHypers.model_validate(values)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
    raise FoundationError(f"`{foundation.file}` has a readout that is not supported here: {reason}")


def foundation_model(
    foundation: Foundation, head: str | None = None, target: str = "energy", dtype: torch.dtype | None = None
) -> MaceModel:
    """One head of the file as a model of ours, on the CPU.

    Energy = Σ_i (E0[head, Z_i] + shift[head]) + scale[head] · network: the first is the baseline, the second the scale,
    both exact in float64 and never fitted. ``dtype`` is the file's unless given.
    """
    index = foundation.head_index(head)
    config = foundation_config(foundation, target)
    with bounded(foundation.numbers, foundation.file):
        model = MaceModel(config, dtype or foundation.dtype)
    put_weights(model.backbone, head_weights(foundation, index), foundation.file)
    baseline = foundation.atomic_energies[index] + foundation.shift[index]
    order = torch.argsort(torch.tensor(foundation.architecture.atomic_numbers))
    model.baseline.set(target, baseline[order].reshape(-1, 1).numpy())
    model.scaler.set(target, float(foundation.scale[index]))
    return model.eval()


def head_weights(foundation: Foundation, head: int) -> dict[str, torch.Tensor]:
    """The weights of a model with this head alone, by the names that ``Backbone`` has.

    Hidden channels of the last readout belong to heads, one block after the other, and those of other heads are masked
    out, so the others' weights can be left out exactly. e3nn divides by the square root of the number of inputs, which
    then is smaller by the number of heads: the second and later layers are multiplied by 1/√heads.
    """
    count = len(foundation.heads)
    unused = ("atomic_energies_fn.", "scale_shift.")
    found = {
        name: value
        for name, value in foundation.tensors.items()
        if not name.startswith(unused) and name not in ("r_max", "num_interactions")
    }
    if count == 1:
        return found
    for name in [name for name in found if name.startswith("readouts.")]:
        found[name] = _slice(foundation, name, found[name], head, count)
    return found


def _slice(foundation: Foundation, name: str, value: torch.Tensor, head: int, count: int) -> torch.Tensor:
    if value.numel() == 0:
        return value
    layer, _, kind = name.split(".", 2)[2].rpartition(".")
    if kind in ("bias", "output_mask"):
        return value.reshape(count, -1)[head].clone()
    if layer in ("linear", "linear_1"):  # [inputs, heads·outputs]
        outputs = value.numel() // _inputs(foundation, name)
        return value.reshape(-1, count, outputs // count)[:, head].reshape(-1).clone()
    if layer == "linear_2":  # [heads·inputs, heads]
        return value.reshape(count, -1, count)[head, :, head].clone() / count**0.5
    # linear_mid: [heads·inputs, heads·outputs]
    width = round((value.numel()) ** 0.5) // count
    return value.reshape(count, width, count, width)[head, :, head].reshape(-1).clone() / count**0.5


def _inputs(foundation: Foundation, name: str) -> int:
    """Scalar channels that a readout sees: only they can become energies."""
    index = int(name.split(".")[1])
    layers = foundation.architecture.layer_irreps
    layer = layers[-1] if foundation.architecture.use_last_readout_only else layers[index]
    return sum(irrep.mul for irrep in layer if irrep.kind == "0e")
