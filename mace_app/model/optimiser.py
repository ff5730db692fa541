"""Which weights decay."""

from typing import Any

import torch

from mace_app.model.potential import MaceModel

OUTPUTS = ("readouts", "heads")


def parameter_groups(model: MaceModel, weight_decay: float, backbone_rate_factor: float = 1.0) -> list[dict[str, Any]]:
    """Parameter groups for torch's optimisers, every parameter that is trained in exactly one.

    MACE's way (``get_params_options`` of mace-torch 0.3.16): weight decay only on the linear layers after the
    convolution (``…linear.weight``, the non-linear block's ``skip_tp_full.weight``) and on the product weights; none on
    embedding, radial networks, readouts, and none on added heads. A correction decays if the weight does that it
    corrects, which pulls that weight back to where it was.

    Groups of the backbone have ``rate_factor``, by which their learning rate differs, unless it is 1.
    """
    backbone = model.backbone
    interactions = list(backbone.interactions.named_parameters(prefix="interactions"))
    corrections: list[tuple[str, torch.nn.Parameter]] = []
    if model.corrections is not None:
        corrections = [
            (name, factor)
            for name, own in model.corrections.weights.items()
            for factor in model.corrections.get_submodule(own).parameters()
        ]
    groups = {
        "embedding": (list(backbone.node_embedding.parameters()), 0.0),
        "interactions_decay": ([p for name, p in interactions if _decays(name)], weight_decay),
        "interactions_no_decay": ([p for name, p in interactions if not _decays(name)], 0.0),
        "products": (list(backbone.products.parameters()), weight_decay),
        "corrections_decay": ([p for name, p in corrections if _decays(name)], weight_decay),
        "corrections_no_decay": ([p for name, p in corrections if not _decays(name)], 0.0),
        "readouts": ([*backbone.readouts.parameters(), *backbone.more_readouts.parameters()], 0.0),
        "heads": (list(model.heads.parameters()), 0.0),
    }
    found = []
    for name, (parameters, decay) in groups.items():
        group = {"name": name, "params": [p for p in parameters if p.requires_grad], "weight_decay": decay}
        if backbone_rate_factor != 1 and name not in OUTPUTS:
            group["rate_factor"] = backbone_rate_factor
        if group["params"]:
            found.append(group)
    return found


def _decays(name: str) -> bool:
    """Of a weight of the backbone."""
    part = name.partition(".")[0]
    return part == "products" or (part == "interactions" and ("linear.weight" in name or "skip_tp_full.weight" in name))
