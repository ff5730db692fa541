"""The state behind the Train page: the draft of this session, what the address asks for, and problems by step."""

import streamlit as st

from mace_app.jobs import JobsError, Workspace
from mace_app.options import OptionsError, Problem, RunOptions
from mace_app.ui import presets, starting_point
from mace_app.ui.draft import DATA_KEYS, Draft
from mace_app.ui.draft_data import align_other_sets, entries, read_from, sources
from mace_app.ui.forms import forget_widgets
from mace_app.ui.state import failure
from mace_app.ui.text import markdown

DRAFT_FILE = "draft.json"
STEPS = ("Data", "Targets", "Model", "Training", "Review")
_SESSION_KEY = "train-draft"


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


def take_foundation(draft: Draft, workspace: Workspace) -> None:
    """Start from the foundation model named in the address, once."""
    wanted = str(st.query_params.pop("foundation", ""))
    try:
        folder = workspace.foundation(wanted)
        path, facts, name = str(folder.source_path), folder.facts(), folder.name
    except JobsError as error:
        failure("This foundation model can't be started from", error)
        return
    if starting_point.file_of(draft) != path:
        presets.leave(draft)
        starting_point.start_from(draft, path, facts["heads"] if facts is not None else None)
        changed(draft)
    st.toast(f"Starting from {markdown(name)}", icon=":material/foundation:")


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
