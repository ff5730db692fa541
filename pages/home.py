import streamlit as st

from mace_app.ui.home_page import overview, recent_runs, sample_cards
from mace_app.ui.state import workspace

st.title("MACE Studio", anchor=False)
st.markdown(
    "Train machine-learned interatomic potentials on your own structures, here in the browser.  \n"
    "Bring a file of labelled structures, say what its entries mean, choose a model; or drop a published MACE file.  \n"
    "You get a checked model that runs in ASE, LAMMPS and i-PI through metatomic. Nothing leaves this machine."
)
space = workspace()
if not space.datasets() and not space.runs():
    sample_cards(space)
    overview(space)
else:
    overview(space)
    recent_runs(space)
    sample_cards(space)
