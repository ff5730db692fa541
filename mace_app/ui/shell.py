"""What surrounds every page: title, icon, navigation. `app.py` names this file as the script to run."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # started from another folder
    sys.path.insert(0, str(ROOT))

from mace_app.ui.theme import ICON, page_style  # noqa: E402

st.set_page_config(page_title="MACE Studio", page_icon=str(ICON), layout="wide")
st.logo(str(ICON), size="large")
page_style()

page = st.navigation(
    {
        "": [
            st.Page(
                ROOT / "pages" / "home.py",
                title="Home",
                icon=":material/home:",
                default=True,
                help="What is in this workspace, and samples to begin with.",
            )
        ],
        "Prepare": [
            st.Page(
                ROOT / "pages" / "datasets.py",
                title="Datasets",
                icon=":material/database:",
                help="Add labelled structures, see what they hold, and say which key means what.",
            ),
            st.Page(
                ROOT / "pages" / "train.py",
                title="Train",
                icon=":material/model_training:",
                help="From data to a running training in five steps.",
            ),
        ],
        "Results": [
            st.Page(
                ROOT / "pages" / "runs.py",
                title="Runs",
                icon=":material/monitoring:",
                help="Watch trainings live, stop and resume them.",
            ),
            st.Page(
                ROOT / "pages" / "models.py",
                title="Models",
                icon=":material/deployed_code:",
                help="Exported models: what they were trained on, how good they are, downloads.",
            ),
        ],
    }
)
page.run()
