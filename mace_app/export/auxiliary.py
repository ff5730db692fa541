"""Outputs beside the targets: the node features, what each target is a linear map of, and the uncertainty of energies.

Names and layouts of descriptors are those of metatrain's ``experimental.mace``: one block for each irrep, keys
``o3_lambda``, ``o3_sigma`` and ``i_irrep``, component ``o3_mu`` even for scalars, property ``feature``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mace_app.export.names import uncertainty_name
from mace_app.export.references import RELATIVE_TOLERANCE, Reference
from mace_app.model import Batch, EnergyFeatures, EnergyUncertainty, InternalFeatures, MaceModel, ModelConfig
from mace_app.options.irreps import Irrep

ROUNDINGS = 16
FEATURES = "mtt::aux::mace_features"


def last_layer_name(target: str) -> str:
    return f"mtt::aux::{target.replace('mtt::', '')}_last_layer_features"


def auxiliary_names(config: ModelConfig) -> list[str]:
    return [FEATURES, *(last_layer_name(target) for target in config.targets)]


def describe(name: str) -> str:
    """One sentence for the card of the file."""
    if name == FEATURES:
        return "MACE's node features of all layers"
    return f"What the last layer of {name.removeprefix('mtt::aux::').removesuffix('_last_layer_features')} is linear in"


def auxiliary_references(model: MaceModel, arrays: Mapping[str, np.ndarray]) -> dict[str, Reference]:
    """Every auxiliary output of one structure per atom, its blocks flattened and one after the other."""
    batch = Batch.from_arrays(arrays, model.config.atomic_types, model.device, model.dtype)
    with torch.no_grad():
        features, _ = model.features(batch, batch.vectors)
        found = {FEATURES: blocks_of(features, model.config.feature_irreps)}
        for name in model.config.targets:
            if name in model.config.internal_targets:
                internal = InternalFeatures(model.config, model.readouts(name))
                found[last_layer_name(name)] = blocks_of(internal(features), [Irrep(internal.width, 0, 1)])
            else:
                head: Any = model.head(name)
                found[last_layer_name(name)] = blocks_of(head.hidden(features), head.hidden_irreps)
    return {name: Reference(values, float(np.abs(values).max()) + 1.0) for name, values in found.items()}


def uncertainty_references(
    model: MaceModel, arrays: Mapping[str, np.ndarray], uncertainties: Mapping[str, EnergyUncertainty]
) -> dict[str, Reference]:
    """``energy_uncertainty`` of one structure, [1, 1], in the unit of its energy.

    Where the factor magnifies a feature that training structures hardly varied, it magnifies its rounding, too: taken
    as ``ROUNDINGS`` times the precision of the dtype for every feature of every atom.
    """
    if not uncertainties:
        return {}
    rounding = ROUNDINGS * float(torch.finfo(model.dtype).eps) / RELATIVE_TOLERANCE[model.dtype]
    batch = Batch.from_arrays(arrays, model.config.atomic_types, model.device, model.dtype)
    _, features = model.with_features(batch, set())
    found = {}
    for target, uncertainty in uncertainties.items():
        name = uncertainty_name(target)
        assert name is not None
        atoms = EnergyFeatures(model, target)(features).double().cpu().numpy()
        sigma = uncertainty.sigma(atoms.sum(axis=0, keepdims=True))[:, None]
        magnified = np.linalg.norm(uncertainty.factor * np.abs(atoms).sum(axis=0))
        found[name] = Reference(sigma, float(sigma.max() + rounding * magnified))
    return found


def blocks_of(values: torch.Tensor, irreps: list[Irrep]) -> np.ndarray:
    """From e3nn's order, [channels, 2l+1] in each irrep, to metatensor's, [2l+1, channels]."""
    array, parts, start = values.cpu().numpy(), [], 0
    for irrep in irreps:
        piece = array[:, start : start + irrep.dimension].reshape(len(array), irrep.mul, 2 * irrep.l + 1)
        parts.append(piece.transpose(0, 2, 1))
        start += irrep.dimension
    return parts[0] if len(parts) == 1 else np.concatenate([part.reshape(len(array), -1) for part in parts], axis=1)
