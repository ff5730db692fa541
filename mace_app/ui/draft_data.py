"""The data that a draft names: what can be chosen, which targets it brings, and what other sets have to agree with.

Nothing here draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mace_app.jobs import DatasetFolder, Workspace, WorkspaceError
from mace_app.options import TargetInfo
from mace_app.options.datasets import DatasetOptions, merged_targets
from mace_app.ui.draft import DATA_KEYS, Draft
from mace_app.ui.model_facts import LENGTH_WORDS

# What all data sets must agree on.
DEFINITION = ("quantity", "unit", "description", "sample_kind", "type", "num_subtargets", "aggregate")
# The energy of old data that are trained beside new ones, see `replay`.
REPLAY = "energy/replay"


@dataclass(frozen=True)
class Source:
    """A data set that can be chosen: one of the workspace with a confirmed mapping, or one named in the YAML only."""

    label: str
    entry: dict[str, Any]
    folder: DatasetFolder | None = None

    @property
    def path(self) -> str:
        return read_from(self.entry)


def read_from(entry: Any) -> str:
    """The file of a data set's entry in the draft."""
    systems = entry.get("systems") if isinstance(entry, dict) else entry
    return str(systems.get("read_from", "")) if isinstance(systems, dict) else str(systems or "")


def entries(draft: Draft, key: str) -> list[dict[str, Any]]:
    """The data sets that the draft names under ``training_set``, ``validation_set`` or ``test_set``."""
    value = draft.get((key,))
    found = value if isinstance(value, list) else [value] if isinstance(value, dict) and "systems" in value else []
    return [entry for entry in found if isinstance(entry, dict)]


def dataset_entry(folder: DatasetFolder, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A data set of the workspace as it stands in the options; raises WorkspaceError if its file is gone."""
    systems = {"read_from": str(folder.source_path)}
    if mapping.get("length_unit"):
        systems["length_unit"] = mapping["length_unit"]
    return {"systems": systems, "targets": dict(mapping["targets"])}


def sources(workspace: Workspace, draft: Draft) -> tuple[list[Source], list[str]]:
    """What can be chosen as data, and the names of data sets that still lack a confirmed mapping or their file."""
    ready, waiting = [], []
    for folder in workspace.datasets():
        try:
            mapping = folder.mapping()
            if mapping is None:
                waiting.append(folder.name)
            else:
                ready.append(Source(folder.name, dataset_entry(folder, mapping), folder))
        except WorkspaceError:
            waiting.append(folder.id)
    known = {source.path for source in ready}
    for key in DATA_KEYS:
        for entry in entries(draft, key):
            if read_from(entry) not in known:
                known.add(read_from(entry))
                ready.append(Source(read_from(entry), entry))
    return ready, waiting


def align_other_sets(draft: Draft, ready: Sequence[Source]) -> None:
    """Give validation and test data the targets that are trained: no others, and those again that were left out.

    What is replayed in training is called so in the other sets too, lest old labels be taken for new ones.
    """
    training = entries(draft, "training_set")
    trained = {name: target for entry in training for name, target in (entry.get("targets") or {}).items()}
    mapped = {source.path: source.entry["targets"] for source in ready if source.folder is not None}
    replayed = {read_from(entry): entry["targets"] for entry in training if REPLAY in (entry.get("targets") or {})}
    for key in ("validation_set", "test_set"):
        aligned = []
        for entry in entries(draft, key):
            path = read_from(entry)
            if path in replayed:
                targets = {**replayed[path], **_only(entry.get("targets"), replayed[path])}
            else:
                targets = {**mapped.get(path, {}), **(entry.get("targets") or {})}
            kept = {name: _like(trained[name], t) for name, t in targets.items() if name in trained}
            aligned.append({**entry, "targets": kept})
        if aligned:
            draft.set((key,), aligned)


def _only(targets: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: target for name, target in targets.items() if name in names} if isinstance(targets, dict) else {}


def _like(trained: Any, target: Any) -> Any:
    """The target of another set with the definition that is trained; keys and derivatives stay its own."""
    if not isinstance(trained, dict) or not isinstance(target, dict):
        return target
    own = {name: value for name, value in target.items() if name not in DEFINITION}
    return {**own, **{name: trained[name] for name in DEFINITION if name in trained}}


def draft_targets(draft: Draft) -> dict[str, TargetInfo]:
    """The targets of the chosen training data, as far as they are valid."""
    found = []
    for entry in entries(draft, "training_set"):
        targets = entry.get("targets")
        for name, target in targets.items() if isinstance(targets, dict) else [("energy", {})]:
            try:
                found.append(DatasetOptions.model_validate({"systems": "chosen.xyz", "targets": {name: target}}))
            except ValueError:
                continue
    return merged_targets(found) if found else {}


def length_unit(draft: Draft) -> str:
    """The unit of length of the chosen training data, as people write it."""
    given = draft.get(("training_set", "0", "systems", "length_unit"), "")
    return LENGTH_WORDS.get(str(given).lower(), "Å")
