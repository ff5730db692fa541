"""Which weights decay."""

from typing import Any

import torch

from mace_app.model.potential import MaceModel


def parameter_groups(model: MaceModel, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for torch's optimisers, every parameter in exactly one.

    MACE's way (``get_params_options`` of mace-torch 0.3.16): weight decay only on the linear layers after the
    convolution (``…linear.weight``, the non-linear block's ``skip_tp_full.weight``) and on the product weights; none on
    embedding, radial networks, readouts, and none on added heads.
    """
    backbone = model.backbone
    decay: list[torch.nn.Parameter] = []
    no_decay: list[torch.nn.Parameter] = []
    for name, parameter in backbone.interactions.named_parameters():
        decays = "linear.weight" in name or "skip_tp_full.weight" in name
        (decay if decays else no_decay).append(parameter)
    groups = {
        "embedding": (list(backbone.node_embedding.parameters()), 0.0),
        "interactions_decay": (decay, weight_decay),
        "interactions_no_decay": (no_decay, 0.0),
        "products": (list(backbone.products.parameters()), weight_decay),
        "readouts": ([*backbone.readouts.parameters(), *backbone.more_readouts.parameters()], 0.0),
        "heads": (list(model.heads.parameters()), 0.0),
    }
    return [
        {"name": name, "params": parameters, "weight_decay": value}
        for name, (parameters, value) in groups.items()
        if parameters
    ]
