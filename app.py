"""MACE Studio. Start with `streamlit run app.py`."""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mace_app.ui.preload import preload
from mace_app.ui.routes import routes

# The script lies outside this folder on purpose: beside a folder named `pages`, a fresh server would answer a deep link
# with Streamlit's old page discovery instead of ours.
SCRIPT = Path(__file__).resolve().parent / "mace_app" / "ui" / "shell.py"

preload()
app = st.App(
    SCRIPT,
    routes=routes(),
    # Streamlit checks the host of its own pages only; without this, DNS rebinding would reach the downloads.
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(st.get_option("server.allowedHosts")))],
)
