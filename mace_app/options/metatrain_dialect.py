"""What only metatrain's options files say, in our words; read by ``parse_options`` before anything is checked.

metatrain 2026.4 writes ``options_restart.yaml`` with every default filled in, and some of its defaults say less than
they seem to: every target gets ``quantity: energy``, and an energy gets ``stress: {key: stress}`` and a loss for it
whether or not the data hold a stress. Here such entries become what metatrain does with them. Entries of a wrong kind
are left as they are; the options' own checks word those errors.
"""

import copy
from collections.abc import Mapping
from typing import Any

from mace_app.options.blocks import DENSITY_INTERACTIONS, long_block_name

# What metatrain fills in for a target; all of them together mark a file that it has written itself.
_FILLED_IN = {"quantity", "read_from", "reader", "key", "unit", "type", "num_subtargets", "forces", "stress", "virial"}
_LOSS_NAMES = {"forces": "positions", "stress": "strain"}
_PART_DEFAULTS: dict[str, Any] = {"type": "mse", "weight": 1.0, "reduction": "mean", "delta": 1.0}


def from_metatrain(tree: Any) -> Any:
    """A copy of the mapping of an options file with metatrain's own entries translated; other mappings are equal."""
    if not isinstance(tree, Mapping):
        return tree
    tree = copy.deepcopy(dict(tree))
    _wandb(tree)
    automatic: dict[str, set[str]] = {}
    for name in ("training_set", "validation_set", "test_set"):
        value = tree.get(name)
        for dataset in value if isinstance(value, list) else [value]:
            for target, kinds in _dataset(dataset).items():
                automatic.setdefault(target, set()).update(kinds)
    architecture = tree.get("architecture")
    if isinstance(architecture, dict):
        if isinstance(architecture.get("model"), dict):
            _model(architecture["model"])
        if isinstance(architecture.get("training"), dict):
            _training(architecture["training"], automatic)
    return tree


def _wandb(tree: dict[str, Any]) -> None:
    """What its ``wandb.init`` is told; ours is always offline."""
    given = tree.get("wandb")
    if isinstance(given, dict):
        if given.get("mode") == "offline":
            del given["mode"]
        if not given:
            del tree["wandb"]


def _dataset(dataset: Any) -> dict[str, set[str]]:
    """Translate in place; which derivatives of which target are "used if found" because metatrain filled them in."""
    if not isinstance(dataset, dict) or not isinstance(dataset.get("targets"), dict):
        return {}
    systems = dataset.get("systems")
    file = systems.get("read_from") if isinstance(systems, dict) else systems
    extra = dataset.get("extra_data")
    for mask in extra.values() if isinstance(extra, dict) else ():
        if isinstance(mask, dict) and mask.get("read_from", 0) == file:
            del mask["read_from"]
    automatic = {}
    for name, target in dataset["targets"].items():
        if not isinstance(target, dict):
            continue
        if _FILLED_IN.issubset(target):
            if target["quantity"] == "energy" and str(name).split("/")[0] != "energy" and not _is_energy(target):
                target["quantity"] = ""
            automatic[str(name)] = _undecided(target, file)
    return automatic


def _is_energy(target: Mapping[str, Any]) -> bool:
    """Its quantity says nothing: an energy is a single number of a structure that has derivatives."""
    per_atom = target.get("per_atom", False) or target.get("sample_kind", "system") != "system"
    single = not per_atom and target["type"] == "scalar" and target["num_subtargets"] == 1
    return single and any(target[kind] for kind in ("forces", "stress", "virial"))


def _undecided(target: dict[str, Any], file: Any) -> set[str]:
    own = target["read_from"]
    found = set()
    for kind in ("forces", "stress"):
        if target[kind] == {"read_from": own, "reader": None, "key": kind}:
            target[kind] = None
            found.add(kind)
    if own == file:
        target["read_from"] = None
    return found


def _model(model: dict[str, Any]) -> None:
    """A divisor of 1 is metatrain's default and means nothing to blocks that divide by a density, nor to a file."""
    blocks = {long_block_name(model.get(name)) for name in ("interaction", "interaction_first")}
    if model.get("avg_num_neighbors") == 1 and (blocks <= DENSITY_INTERACTIONS or model.get("mace_model")):
        del model["avg_num_neighbors"]


def _training(training: dict[str, Any], automatic: Mapping[str, set[str]]) -> None:
    lowest, highest = training.get("min_atoms_per_batch"), training.get("max_atoms_per_batch")
    if highest is not None or not lowest:
        training.pop("min_atoms_per_batch", None)
        training.pop("max_atoms_per_batch", None)
        if highest is not None and "batch_atom_bounds" not in training:
            training["batch_atom_bounds"] = [lowest or None, highest]
    finetune = training.get("finetune")
    if not finetune or (isinstance(finetune, dict) and finetune.get("read_from", 0) is None):
        training.pop("finetune", None)
    if training.get("grad_clip_norm") == float("inf"):
        training["grad_clip_norm"] = None
    loss = training.get("loss")
    if isinstance(loss, dict):
        training["loss"] = _one_type(loss) or loss
        for name, own in loss.items():
            if isinstance(own, dict):
                _loss(own, automatic.get(str(name), set()))


def _one_type(loss: Mapping[str, Any]) -> str | None:
    """The type of a loss that metatrain has filled in from one word; None for any other."""
    parts: list[Any] = []
    for own in loss.values():
        if not isinstance(own, dict) or not isinstance(own.get("gradients"), dict):
            return None
        parts += [{key: value for key, value in own.items() if key != "gradients"}, *own["gradients"].values()]
    kinds = {part.get("type") if isinstance(part, dict) else None for part in parts}
    plain = all(isinstance(part, dict) and _is_default({**part, "type": "mse"}) for part in parts)
    return next(iter(kinds)) if plain and len(kinds) == 1 else None


def _is_default(part: Mapping[str, Any]) -> bool:
    return set(part) <= set(_PART_DEFAULTS) and all(_PART_DEFAULTS[key] == value for key, value in part.items())


def _loss(own: dict[str, Any], automatic: set[str]) -> None:
    """An unset sliding factor goes; so does the loss of a derivative that may be absent, where it says nothing new."""
    gradients = own.get("gradients")
    parts = [own, *(own.get(kind) for kind in ("forces", "stress", "virial"))]
    parts += list(gradients.values()) if isinstance(gradients, dict) else []
    for part in parts:
        if isinstance(part, dict) and part.get("sliding_factor", 0) is None:
            del part["sliding_factor"]
    if not isinstance(gradients, dict):
        return
    for kind in automatic:
        part = gradients.get(_LOSS_NAMES[kind])
        if isinstance(part, dict) and _is_default(part):
            del gradients[_LOSS_NAMES[kind]]
