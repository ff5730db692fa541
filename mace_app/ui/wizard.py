"""The state behind the Train page: the draft of this session, its problems by step, and the data it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from mace_app.jobs import DatasetFolder, Workspace, WorkspaceError
from mace_app.options import OptionsError, Problem, RunOptions, TargetInfo
from mace_app.options.datasets import DatasetOptions, merged_targets
from mace_app.ui.draft import DATA_KEYS, Draft
from mace_app.ui.forms import forget_widgets
from mace_app.ui.model_facts import LENGTH_WORDS

DRAFT_FILE = "draft.json"
STEPS = ("Data", "Targets", "Model", "Training", "Review")
_SESSION_KEY = "train-draft"
# What all data sets must agree on.
DEFINITION = ("quantity", "unit", "description", "sample_kind", "type", "num_subtargets", "aggregate")


def session_draft(workspace: Workspace) -> Draft:
    """The draft of this session, read from the workspace when the session is new."""
    draft = st.session_state.get(_SESSION_KEY)
    if not isinstance(draft, Draft) or draft.path != workspace.root / DRAFT_FILE:
        draft = Draft.load(workspace.root / DRAFT_FILE)
        st.session_state[_SESSION_KEY] = draft
    return draft


def changed(draft: Draft) -> None:
    """After a change that no widget made: save, and let every widget show it."""
    draft.save()
    forget_widgets()


def step_of(problem: Problem) -> str:
    """The step on which a problem can be solved."""
    loc = problem.loc
    if loc and loc[0] in DATA_KEYS:
        return "Targets" if "targets" in loc else "Data"
    return "Model" if loc[:2] == ("architecture", "model") else "Training"


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


def align_other_sets(draft: Draft, ready: list[Source]) -> None:
    """Give validation and test data the targets that are trained: no others, and those again that were left out."""
    trained = {
        name: target
        for entry in entries(draft, "training_set")
        for name, target in (entry.get("targets") or {}).items()
    }
    mapped = {source.path: source.entry["targets"] for source in ready if source.folder is not None}
    for key in ("validation_set", "test_set"):
        aligned = []
        for entry in entries(draft, key):
            targets = {**mapped.get(read_from(entry), {}), **(entry.get("targets") or {})}
            kept = {name: _like(trained[name], t) for name, t in targets.items() if name in trained}
            aligned.append({**entry, "targets": kept})
        if aligned:
            draft.set((key,), aligned)


def take_dataset(draft: Draft, workspace: Workspace) -> None:
    """Learn from the data set named in the address, once; an entry that is there already stays as it is."""
    wanted = st.query_params.pop("dataset", None)
    ready, _ = sources(workspace, draft)
    for source in ready:
        if source.folder is not None and source.folder.id == wanted:
            if source.path not in [read_from(entry) for entry in entries(draft, "training_set")]:
                draft.set(("training_set",), [source.entry])
                align_other_sets(draft, ready)
                changed(draft)
            return


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


def problems_by_step(problems: list[Problem]) -> dict[str, list[Problem]]:
    return {step: [problem for problem in problems if step_of(problem) == step] for step in STEPS}


def yaml_name(draft: Draft) -> str:
    """A file name for the draft's YAML."""
    from mace_app.jobs.names import slug

    return f"{slug(draft.name, 'options')}.yaml"


def start(workspace: Workspace, options: RunOptions, name: str) -> str:
    """Make the run, put it in the queue, and wake the supervisor; returns the run's id."""
    run = workspace.create_run(options, name)
    workspace.ensure_supervisor()
    return run.id


def load_text(draft: Draft, text: str) -> list[Problem]:
    """Take a YAML text into the draft; its problems, with the draft as it was, if there are any."""
    try:
        draft.take(text)
    except OptionsError as error:
        return error.problems
    changed(draft)
    return []
