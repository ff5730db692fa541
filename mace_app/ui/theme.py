"""The few things `.streamlit/config.toml` can't say."""

from pathlib import Path

import streamlit as st

STATIC = Path(__file__).parent / "static"
ICON = STATIC / "icon.svg"

_STYLE = """<style>
/* Inter's contextual alternates turn 128x0e into 128×0e. */
html, body, input, textarea, button, code, pre { font-feature-settings: "calt" 0; }
/* Numbers in columns line up. */
[data-testid="stMetricValue"], [data-testid="stTable"] td { font-variant-numeric: tabular-nums; }
</style>"""


def page_style() -> None:
    """Insert the style rules that hold on every page."""
    st.html(_STYLE)
