"""A plotly chart that takes new data without losing zoom, legend or selection, and follows the theme.

``st.plotly_chart`` mounts a new chart at every change of data; this component (``live_plotly.js``) hands the new figure
to ``Plotly.react`` instead. plotly.js comes from the installed plotly package through a route of our own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.style import PALETTE
from mace_app.ui.regions import Region
from mace_app.ui.routes import PLOTLY_MOUNT

HOW = ("replace", "add", "remove")
_HERE = Path(__file__).parent


def _script(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


_component = st.components.v2.component(
    "mace_live_plotly",
    html='<div class="live-plotly" role="group" style="width: 100%"></div>',
    js=_script("lasso.js", "live_plotly.js"),
    # plotly.js puts its styles into the document, where a shadow root would not see them.
    isolate_styles=False,
)
_marks = st.components.v2.component("mace_live_marks", html="<span hidden></span>", js=_script("live_marks.js"))


def live_plotly(figure: Chart, key: str, label: str, selectable: bool = False) -> list[Any]:
    """Draw ``figure``; returns the ``customdata`` of the points that were clicked, boxed or lassoed, last choice only.

    ``label`` says to a screen reader what is drawn. Zoom is kept as long as the figure's ``uirevision`` (by default the
    key) stays. Colours of ``PALETTE`` in the figure stand for the theme's. Height is the figure's, 340 pixels if unset.
    """
    result = _component(
        key=key,
        data={**_data(figure, key, label), "selectable": selectable},
        on_selection_change=_keep,
    )
    return list(result.selection or [])


@dataclass(frozen=True)
class Picture:
    """Pixels of a downloaded picture; None: as large as on the screen. A PNG has ``scale`` times as many."""

    width: int | None = None
    height: int | None = None
    scale: int = 2


@dataclass(frozen=True)
class Pointed:
    """What a person chose in a chart: ``points``, the ``customdata`` of those that were clicked, or a ``region``; none
    of both: nothing any more. ``how``: "replace", "add" (with Shift) or "remove" (with Alt)."""

    points: tuple[Any, ...] = ()
    region: Region | None = None
    how: str = "replace"

    @staticmethod
    def read(value: object) -> "Pointed | None":
        """What a browser says; None if it is nothing of the kind."""
        if not isinstance(value, Mapping):
            return None
        points, how = value.get("points"), value.get("how")
        region = Region.read(value.get("region"))
        if not isinstance(points, list) or how not in HOW or (region is None and value.get("region") is not None):
            return None
        return Pointed(tuple(points), region, str(how))


def region_plotly(
    figure: Chart,
    key: str,
    label: str,
    on_pointed: Callable[[Pointed], None],
    picture: Picture | None = None,
) -> None:
    """Draw ``figure``; ``on_pointed`` is called before the script runs again, once for what was clicked or marked.

    A marked region is told as such, not by the points in it: the server tests all points, also those that are not
    drawn. What is chosen is shown by ``live_marks``. Pictures can be saved as SVG and PNG, in light colours and as
    zoomed.
    """

    def pointed() -> None:
        state = st.session_state.get(key) or {}
        found = Pointed.read(state.get("pointed"))
        if found is not None:
            on_pointed(found)

    _component(
        key=key,
        data={
            **_data(figure, key, label),
            "selectable": True,
            "regions": True,
            "picture": vars(picture or Picture()),
        },
        on_pointed_change=pointed,
    )


def live_marks(marks: Mapping[str, Mapping[str, Any] | None], answer: int, key: str) -> None:
    """What is chosen, above the paler figures of ``region_plotly`` with these keys: ``points`` and ``rings`` {x, y},
    ``bars`` {edges, heights}, ``line`` {x, y}, each of them if there; None: nothing.

    Figures are not sent or drawn again for it. ``answer`` differs after each call of ``on_pointed``, so that the
    outline goes although what is chosen may be as before. The element takes no room (``theme.py``): ``key`` ends with
    "-marks".
    """
    _marks(key=key, data={"marks": dict(marks), "answer": answer})


def _data(figure: Chart, key: str, label: str) -> dict[str, Any]:
    if "uirevision" not in figure.arrangement:
        figure.update_layout(uirevision=key)
    return {
        "figure": figure.to_json(),
        "palette": list(PALETTE),
        "url": f"{PLOTLY_MOUNT}/plotly.min.js",
        "name": key,
        "label": label,
        "height": int(figure.arrangement.get("height", 340)),
    }


def _keep() -> None:
    """Streamlit wants a callback for a state that is read."""
