import streamlit as st

from mace_app.ui.data_summary import chosen_elements, chosen_groups
from mace_app.ui.draft_data import draft_targets, entries, length_unit, read_from
from mace_app.ui.editors import EDITORS, WIDE_EDITORS
from mace_app.ui.forms import Form
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
from mace_app.ui.wizard import problems_by_step, session_draft, take_dataset

st.title("Train", anchor=False)
space = workspace()
draft = session_draft(space)
if "dataset" in st.query_params:
    take_dataset(draft, space)
advanced = toolbar(draft)
options, problems = draft.check()
problems += key_problems(space, draft)
by_step = problems_by_step(problems)
step = current_step()
step_bar(step, by_step, begun=bool(draft.values))

files = [read_from(entry) for entry in entries(draft, "training_set")]
form = Form(
    draft=draft,
    problems=problems if draft.values else [],
    targets=draft_targets(draft),
    elements=chosen_elements(space, files),
    length_unit=length_unit(draft),
    groups=chosen_groups(space, files),
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
        model_step(form)
    elif step == "Training":
        training_step(form)
    else:
        review_step(draft, space, options, problems)
    back_and_next(step)
    form.mark_edited()
with side:
    yaml_panel(draft)
