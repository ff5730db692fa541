"""A plotly chart that takes new data without losing zoom, legend or selection, and follows the theme.

``st.plotly_chart`` mounts a new chart at every change of data; this component (``live_plotly.js``) hands the new figure
to ``Plotly.react`` instead. plotly.js comes from the installed plotly package through a route of our own.
"""

from pathlib import Path
from typing import Any

import streamlit as st

from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.style import PALETTE
from mace_app.ui.routes import PLOTLY_MOUNT

_component = st.components.v2.component(
    "mace_live_plotly",
    html='<div class="live-plotly" role="group" style="width: 100%"></div>',
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    # plotly.js puts its styles into the document, where a shadow root would not see them.
    isolate_styles=False,
)


def live_plotly(figure: Chart, key: str, label: str, selectable: bool = False) -> list[Any]:
    """Draw ``figure``; returns the ``customdata`` of the points that were clicked, boxed or lassoed, last choice only.

    ``label`` says to a screen reader what is drawn. Zoom is kept as long as the figure's ``uirevision`` (by default the
    key) stays. Colours of ``PALETTE`` in the figure stand for the theme's. Height is the figure's, 340 pixels if unset.
    """
    if "uirevision" not in figure.arrangement:
        figure.update_layout(uirevision=key)
    height = int(figure.arrangement.get("height", 340))
    result = _component(
        key=key,
        data={
            "figure": figure.to_json(),
            "palette": list(PALETTE),
            "url": f"{PLOTLY_MOUNT}/plotly.min.js",
            "name": key,
            "label": label,
            "height": height,
            "selectable": selectable,
        },
        on_selection_change=_keep,
    )
    return list(result.selection or [])


def _keep() -> None:
    """Streamlit wants a callback for a state that is read."""
