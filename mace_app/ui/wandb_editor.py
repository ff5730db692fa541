"""How a run is called in Weights & Biases, if files for it are wanted."""

import streamlit as st

from mace_app.options import OptionField, option_fields
from mace_app.options.loggers import WandbOptions
from mace_app.options.packages import is_here
from mace_app.ui.draft import Loc
from mace_app.ui.forms import Form, forget_widgets


def wandb(form: Form, item: OptionField, loc: Loc) -> None:
    """Whether files of Weights & Biases are written; then how the run is called there."""
    key = form.key(loc)
    given = form.draft.get(loc)
    if key not in st.session_state:
        st.session_state[key] = given is not None

    def switch() -> None:
        if st.session_state.get(key):
            form.draft.set(loc, {"project": "mace-studio"})
        else:
            form.draft.unset(loc)
        forget_widgets(form.key(loc) + "-")
        form.draft.save()

    st.toggle(form.label(item, loc), key=key, help=form.help(item), on_change=switch)
    if given is None:
        return
    if not is_here("wandb"):
        st.warning("The package wandb is not installed here: `pip install wandb`.", icon=":material/warning:")
    with st.grid(3, min_column_width=240, gap="medium") as grid:
        for part in option_fields(WandbOptions):
            place = (*loc, part.name)
            with grid.cell():
                if part.name == "tags":
                    current = [str(tag) for tag in form.value(part, place) or []]
                    bound = form.bound(part, place, current, list)
                    st.multiselect(form.label(part, place), current, accept_new_options=True, select_all=False, **bound)
                else:
                    form.text(part, place)
