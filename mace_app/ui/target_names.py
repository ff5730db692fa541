"""What a target's name means elsewhere in the options: a new name and a removal have to reach all of it."""

from typing import Any

from mace_app.ui.draft import DATA_KEYS, MODEL, TRAINING, Draft
from mace_app.ui.mapping import MASK_ENDINGS, rename

BY_TARGET = ("loss", "stage_two_loss", "atomic_baseline", "fixed_scaling_weights")
LISTED = (*TRAINING, "per_structure_targets")
OWN_READOUT = (*MODEL, "mace_head_target")
MORE_READOUTS = (*MODEL, "more_mace_heads")


def rename_target(draft: Draft, old: str, new: str) -> None:
    """Every data set, mask and option that names the target names it anew."""
    for entry in _entries(draft, *DATA_KEYS):
        if old in (entry.get("targets") or {}) and new not in entry["targets"]:
            entry["targets"] = rename(entry["targets"], old, new)
        if isinstance(entry.get("extra_data"), dict):
            for ending in MASK_ENDINGS.values():
                entry["extra_data"] = rename(entry["extra_data"], old + ending, new + ending)
    for option in BY_TARGET:
        value = draft.get((*TRAINING, option))
        if isinstance(value, dict) and old in value:
            draft.set((*TRAINING, option), rename(value, old, new))
    heads = draft.get(MORE_READOUTS)
    if isinstance(heads, dict) and old in heads:
        draft.set(MORE_READOUTS, rename(heads, old, new))
    names = draft.get(LISTED)
    if isinstance(names, list):
        draft.set(LISTED, [new if name == old else name for name in names])
    if draft.get(OWN_READOUT) == old:
        draft.set(OWN_READOUT, new)


def forget_target(draft: Draft, name: str) -> None:
    """Drop what the options say about a target that is trained no more; masks go with it."""
    if any(name in (entry.get("targets") or {}) for entry in _entries(draft, "training_set")):
        return
    for entry in _entries(draft, *DATA_KEYS):
        _forget_masks(entry, name)
    for option in BY_TARGET:
        if isinstance(draft.get((*TRAINING, option)), dict):
            draft.unset((*TRAINING, option, name))
    if isinstance(draft.get(MORE_READOUTS), dict):
        draft.unset((*MORE_READOUTS, name))
    names = draft.get(LISTED)
    if names == [name]:
        draft.unset(LISTED)
    elif isinstance(names, list):
        draft.set(LISTED, [other for other in names if other != name])
    if draft.get(OWN_READOUT) == name:
        draft.unset(OWN_READOUT)


def _forget_masks(entry: dict[str, Any], name: str) -> None:
    extra = entry.pop("extra_data", None)
    masks = {name + ending for ending in MASK_ENDINGS.values()}
    left = {mask: value for mask, value in (extra or {}).items() if mask not in masks}
    if left:
        entry["extra_data"] = left


def _entries(draft: Draft, *keys: str) -> list[dict[str, Any]]:
    found = []
    for key in keys:
        value = draft.get((key,))
        found += [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, dict)]
    return found
