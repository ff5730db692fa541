"""MACE Studio. Start with `streamlit run app.py`."""

import sys
from pathlib import Path

import streamlit as st

from mace_app.ui.preload import preload
from mace_app.ui.routes import routes
from mace_app.ui.server import AccessError, lifespan_of, middleware, server_access

# The script lies outside this folder on purpose: beside a folder named `pages`, a fresh server would answer a deep link
# with Streamlit's old page discovery instead of ours.
SCRIPT = Path(__file__).resolve().parent / "mace_app" / "ui" / "shell.py"

try:
    access = server_access()
except AccessError as error:
    sys.exit(str(error))
preload()
app = st.App(SCRIPT, routes=routes(), middleware=middleware(access), lifespan=lifespan_of(access))
