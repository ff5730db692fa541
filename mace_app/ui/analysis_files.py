"""The chosen structures as files for other programs."""

import numpy as np
import streamlit as st

from mace_app.analysis.exports import extxyz, table_csv
from mace_app.ui.analysis_source import Opened
from mace_app.ui.analysis_state import Selection
from mace_app.ui.text import count


def downloads(opened: Opened, selection: Selection) -> None:
    """Files are made only when they are asked for."""
    analysis = opened.analysis
    chosen = len(selection.rows) > 0
    rows = np.sort(selection.rows) if chosen else np.arange(len(analysis))
    with st.popover("Save structures", icon=":material/download:"):
        told = count(len(rows), "structure")
        st.caption(f"{told} chosen." if chosen else f"Nothing is chosen: all of {told}.")
        st.download_button(
            "Extended xyz",
            lambda: "".join(extxyz(analysis, rows.tolist())),
            file_name=f"{opened.stored.id}.extxyz",
            mime="text/plain",
            icon=":material/deployed_code:",
            on_click="ignore",
            key="analysis-extxyz",
            help="Structures with reference, prediction and error of every label, as ASE reads them.",
        )
        st.download_button(
            "Table of errors (CSV)",
            lambda: table_csv(analysis, rows),
            file_name=f"{opened.stored.id}.csv",
            mime="text/csv",
            icon=":material/table:",
            on_click="ignore",
            key="analysis-csv",
            help="A line a structure, with its errors.",
        )
