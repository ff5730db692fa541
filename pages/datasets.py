import streamlit as st

from mace_app.ui.dataset_add import add_panel
from mace_app.ui.dataset_header import choose, header, watch_inspection
from mace_app.ui.dataset_view import dataset_view
from mace_app.ui.state import workspace

st.title("Datasets", anchor=False)
space = workspace()
folders = space.datasets()
add_panel(space, open_=not folders)
if folders:
    folder = choose(folders)
    header(space, folder)
    if folder.inspection_state() in ("queued", "running"):
        watch_inspection(space, folder)
    else:
        dataset_view(space, folder)
