"""What surrounds every page: title, icon, navigation. `app.py` names this file as the script to run."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # started from another folder
    sys.path.insert(0, str(ROOT))

from mace_app.ui.state import page  # noqa: E402
from mace_app.ui.theme import ICON, page_style  # noqa: E402

st.set_page_config(page_title="MACE Studio", page_icon=str(ICON), layout="wide")
st.logo(str(ICON), size="large")
page_style()

chosen = st.navigation(
    {
        "": [
            st.Page(
                page("home"),
                title="Home",
                icon=":material/home:",
                default=True,
                help="What is in this workspace, and samples to begin with.",
            )
        ],
        "Prepare": [
            st.Page(
                page("datasets"),
                title="Datasets",
                icon=":material/database:",
                help="Add labelled structures, see what they hold, and say which key means what.",
            ),
            st.Page(
                page("train"),
                title="Train",
                icon=":material/model_training:",
                help="From data to a running training in five steps.",
            ),
            st.Page(
                page("foundation"),
                title="Foundation models",
                icon=":material/foundation:",
                help="Published MACE files: look inside, export in one step, compare, fine-tune.",
            ),
        ],
        "Results": [
            st.Page(
                page("runs"),
                title="Runs",
                icon=":material/monitoring:",
                help="Watch trainings live, stop and resume them.",
            ),
            st.Page(
                page("analysis"),
                title="Analysis",
                icon=":material/scatter_plot:",
                help="Where a model is wrong: errors by element, group and structure, the worst ones in 3D.",
            ),
            st.Page(
                page("models"),
                title="Models",
                icon=":material/deployed_code:",
                help="Exported models: what they were trained on, how good they are, downloads.",
            ),
        ],
    }
)
chosen.run()
