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
/* Labels on the primary colour: white on the light theme's blue, dark on the dark theme's. */
[data-testid^="stBaseButton-primary"]:not(:disabled), [data-testid="stMultiSelect"] [data-tag] {
  color: light-dark(#ffffff, #0f1626);
}
/* Captions at full strength: faded text falls below 4.5:1 on either background. */
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {
  color: light-dark(#525c70, #aab3c3); opacity: 1;
}
[data-testid="stCaptionContainer"] code { color: inherit; font-size: 0.95em; }
[data-testid="stAlert"] code { font-size: 0.9em; }
/* Errors: Streamlit's captions are too pale to be seen. light-dark() follows the colour scheme of the page. */
.field-error, ul.problems { color: light-dark(#b3261e, #ff9b93); font-size: 0.9rem; line-height: 1.4; margin: 0; }
ul.problems { padding-left: 1.2rem; }
ul.problems li { margin: 0.2rem 0; }
.field-error code, ul.problems code { color: inherit; background: light-dark(#fbeae9, #3a2020); padding: 0 0.25em; }
/* What only tells charts what is chosen: no room, no gap. */
[data-testid="stElementContainer"][class*="-marks"] { position: absolute; }
/* Streamlit begins to fade everything that may change, each in a layer of its own, before a choice is answered. */
.st-key-analysis-views [data-testid="stElementContainer"] { transition: none !important; opacity: 1 !important; }
/* Dialogs and menus lie beside the app in the document, where Streamlit does not say which scheme it has. */
:root { color-scheme: SCHEME; }
</style>"""


def page_style() -> None:
    """Insert the style rules that hold on every page."""
    st.html(_STYLE.replace("SCHEME", st.context.theme.type or "light dark"))
