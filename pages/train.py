import streamlit as st

from mace_app.ui.data_summary import chosen_elements, chosen_groups, elements_by_path
from mace_app.ui.draft_data import draft_targets, entries, length_unit, read_from
from mace_app.ui.editors import EDITORS, WIDE_EDITORS
from mace_app.ui.forms import Form
from mace_app.ui.starting_checks import starting_problems
from mace_app.ui.starting_files import find_file, starting_files
from mace_app.ui.starting_point import file_of, own_energies
from mace_app.ui.state import workspace
from mace_app.ui.train_data import data_step
from mace_app.ui.train_page import (
    back_and_next,
    current_step,
    model_step,
    step_bar,
    toolbar,
    training_step,
    yaml_panel,
)
from mace_app.ui.train_review import review_step
from mace_app.ui.train_targets import key_problems, targets_step
from mace_app.ui.wizard import problems_by_step, session_draft, take_dataset, take_foundation

st.title("Train", anchor=False)
space = workspace()
draft = session_draft(space)
if "dataset" in st.query_params:
    take_dataset(draft, space)
if "foundation" in st.query_params:
    take_foundation(draft, space)
advanced = toolbar(draft)
options, problems = draft.check()
targets = draft_targets(draft)
file = find_file(starting_files(space), file_of(draft)) if file_of(draft) else None
problems += key_problems(space, draft)
if file is not None:
    problems += starting_problems(draft, file, targets, elements_by_path(space))
by_step = problems_by_step(problems)
step = current_step()
step_bar(step, by_step, begun=bool(draft.values))

files = [read_from(entry) for entry in entries(draft, "training_set")]
form = Form(
    draft=draft,
    problems=problems if draft.values else [],
    targets=targets,
    elements=chosen_elements(space, files),
    length_unit=length_unit(draft),
    groups=chosen_groups(space, files),
    heads=file.heads if file is not None else (),
    own_energies=own_energies(draft),
    advanced=advanced,
    editors=EDITORS,
    wide_editors=WIDE_EDITORS,
)
main, side = st.columns([2.2, 1], gap="medium")
with main:
    if step == "Data":
        data_step(form, space)
    elif step == "Targets":
        targets_step(form, space)
    elif step == "Model":
        model_step(form, space)
    elif step == "Training":
        training_step(form)
    else:
        review_step(draft, space, options, problems, file)
    back_and_next(step)
    form.mark_edited()
with side:
    yaml_panel(draft)
