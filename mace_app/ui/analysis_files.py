"""What can be taken away from the analysis page: structures, tables, figures for print, the whole as one file."""

import numpy as np
import streamlit as st

from mace_app.analysis.chemiscope import chemiscope_file
from mace_app.analysis.errors import Pairs
from mace_app.analysis.exports import extxyz, table_csv
from mace_app.analysis.paper import KINDS, Format, Print, paper_figure
from mace_app.analysis.report import html_report
from mace_app.ui.analysis_controls import Looked
from mace_app.ui.analysis_source import Opened
from mace_app.ui.analysis_state import Rows, Selection
from mace_app.ui.live_plotly import Picture
from mace_app.ui.text import count

SIZES = {
    "as on the screen": (None, None),
    "1200 × 900": (1200, 900),
    "1800 × 1200": (1800, 1200),
    "700 × 525": (700, 525),
}
MOST_EXPLORED = 3000
OWN_SIZE = "another size"
WIDTHS = {"one column (85 mm)": 85.0, "one and a half (120 mm)": 120.0, "two columns (180 mm)": 180.0}


def pictures(opened: Opened, looked: Looked) -> Picture:
    """The size of pictures that are saved from the charts, and figures for print."""
    with st.popover("Pictures", icon=":material/image:", help="Sizes of saved charts, and figures for print."):
        st.markdown("**As on the screen**")
        st.caption("The buttons SVG and PNG stand above each chart when the mouse is over it.")
        chosen = st.selectbox("Size in pixels", [*SIZES, OWN_SIZE], key="analysis-picture")
        width, height = SIZES.get(chosen, (None, None))
        if chosen == OWN_SIZE:
            width = int(st.number_input("Width", 200, 6000, 1200, key="analysis-picture-width"))
            height = int(st.number_input("Height", 200, 6000, 900, key="analysis-picture-height"))
        scale = st.selectbox("Pixels of a PNG for one of these", [1, 2, 3, 4], index=1, key="analysis-picture-scale")
        _for_print(opened, looked)
    return Picture(width, height, scale)


def _for_print(opened: Opened, looked: Looked) -> None:
    st.markdown("**For print**")
    if not len(looked.values):
        st.caption("There are no labels to draw.")
        return
    kind = st.selectbox("Figure", list(KINDS), format_func=str.capitalize, key="analysis-print")
    wide = WIDTHS[st.selectbox("Width of the figure", list(WIDTHS), key="analysis-print-width")]
    font = st.text_input(
        "Font",
        "DejaVu Sans",
        key="analysis-print-font",
        help="A font that is installed where the server runs, such as Arial or Liberation Serif; else DejaVu Sans.",
    )
    size = float(st.number_input("Size of the font in points", 4.0, 24.0, 8.0, 0.5, key="analysis-print-font-size"))
    forms: tuple[Format, ...] = ("svg", "pdf", "png")
    form: Format = (
        st.segmented_control("Format", forms, default="pdf", required=True, key="analysis-print-format") or "pdf"
    )
    values = looked.values
    # By convention the prediction of a vector is the length of its reference and the length of its error.
    prediction = values.reference + values.error
    st.download_button(
        "Figure for print",
        lambda: paper_figure(
            kind,
            Pairs(values.reference, prediction, values.structure.astype(np.int64), values.atom.astype(np.int64)),
            looked.unit,
            looked.title,
            Print(width=wide, height=min(0.88 * wide, 120.0), font=font.strip() or "DejaVu Sans", font_size=size),
            form,
        ),
        file_name=f"{opened.stored.id}-{kind}.{form}",
        icon=":material/print:",
        on_click="ignore",
        key="analysis-print-file",
    )


def downloads(opened: Opened, selection: Selection) -> None:
    """Files are made only when they are asked for, of what is chosen then: nothing here changes with a choice."""
    analysis = opened.analysis

    def rows() -> Rows:
        return np.sort(selection.rows) if len(selection.rows) else np.arange(len(analysis))

    with st.popover("Save structures", icon=":material/download:"):
        told = count(len(analysis), "structure")
        st.caption(f"Those that are chosen; all of {told} as long as none is.")
        st.download_button(
            "Extended xyz",
            lambda: "".join(extxyz(analysis, rows().tolist())),
            file_name=f"{opened.stored.id}.extxyz",
            mime="text/plain",
            icon=":material/deployed_code:",
            on_click="ignore",
            key="analysis-extxyz",
            help="Structures with reference, prediction and error of every label, as ASE reads them.",
        )
        if len(analysis) > MOST_EXPLORED:
            st.caption(f"A file for chemiscope holds the first {MOST_EXPLORED:,} of them.".replace(",", "\u202f"))
        st.download_button(
            "For chemiscope",
            lambda: chemiscope_file(analysis, rows()[:MOST_EXPLORED], opened.stored.title),
            file_name=f"{opened.stored.id}.chemiscope.json.gz",
            mime="application/gzip",
            icon=":material/bubble_chart:",
            on_click="ignore",
            key="analysis-chemiscope",
            help="The map, the errors and the structures with both forces, for chemiscope.org or a notebook.",
        )
        st.download_button(
            "Table of errors (CSV)",
            lambda: table_csv(analysis, rows()),
            file_name=f"{opened.stored.id}.csv",
            mime="text/csv",
            icon=":material/table:",
            on_click="ignore",
            key="analysis-csv",
            help="A line a structure, with its errors.",
        )
        st.download_button(
            "Report of everything (HTML)",
            lambda: html_report(analysis),
            file_name=f"{opened.stored.id}.html",
            mime="text/html",
            icon=":material/description:",
            on_click="ignore",
            key="analysis-report",
            help="All errors, tables and figures as one file, not only of what is chosen.",
        )
