"""Replay: old data trained beside the new, under a name of their own, so that fine-tuning does not forget.

The old data are a further training set whose energy is renamed to ``TARGET``; ``more_mace_heads`` gives that target
readouts which start from a head of the file. Nothing here draws.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mace_app.ui.draft import MODEL, Draft
from mace_app.ui.draft_data import REPLAY, Source, align_other_sets, entries, read_from
from mace_app.ui.mapping import DERIVATIVES, is_energy
from mace_app.ui.target_names import forget_target

TARGET = REPLAY
HEADS = (*MODEL, "more_mace_heads")
KEPT = ("unit", "description")


def energy_of(targets: Mapping[str, Any]) -> str | None:
    """The energy of structures among the targets of a data set, `energy` before its variants."""
    names = [
        name
        for name, target in targets.items()
        if isinstance(target, Mapping) and is_energy(name, target) and target.get("sample_kind", "system") == "system"
    ]
    return "energy" if "energy" in names else next(iter(names), None)


def as_replay(targets: Mapping[str, Any]) -> dict[str, Any] | None:
    """The energy of a data set as the target ``TARGET``, with the keys it has; None if there is no energy."""
    name = energy_of(targets)
    if name is None:
        return None
    given: Mapping[str, Any] = targets[name]
    target: dict[str, Any] = {"quantity": "energy", "key": given.get("key") or name}
    target |= {part: given[part] for part in (*KEPT, *DERIVATIVES, "read_from") if part in given}
    return {TARGET: target}


def replayed(draft: Draft) -> str | None:
    """The file of the old data, if there are any."""
    for entry in entries(draft, "training_set"):
        if is_replay(entry):
            return read_from(entry)
    return None


def is_replay(entry: Mapping[str, Any]) -> bool:
    return TARGET in (entry.get("targets") or {})


def candidates(draft: Draft, ready: Sequence[Source]) -> list[Source]:
    """Data sets with an energy that are not learnt from already."""
    taken = [read_from(entry) for entry in entries(draft, "training_set")]
    return [s for s in ready if s.path not in taken and energy_of(s.entry.get("targets") or {}) is not None]


def add(draft: Draft, source: Source, ready: Sequence[Source], head: str | None = None) -> None:
    """Learn from the old data too; ``head`` of the file is where their energy starts, None for that of the main one."""
    targets = as_replay(source.entry.get("targets") or {})
    if targets is None:
        raise ValueError(f"{source.label} has no energy")
    others = [entry for entry in entries(draft, "training_set") if not is_replay(entry)]
    draft.set(("training_set",), [*others, {**source.entry, "targets": targets}])
    draft.set((*HEADS, TARGET), head)
    align_other_sets(draft, ready)


def remove(draft: Draft, ready: Sequence[Source] = ()) -> None:
    """Without the old data, and without what the options say about their energy."""
    before = entries(draft, "training_set")
    left = [entry for entry in before if not is_replay(entry)]
    if len(left) != len(before):
        if left:
            draft.set(("training_set",), left)
        else:
            draft.unset(("training_set",))
    forget_target(draft, TARGET)
    align_other_sets(draft, ready)
