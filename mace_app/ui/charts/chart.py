"""A chart on its way to the browser: what plotly.js wants to know, as plain values.

``plotly.graph_objects`` would check and copy every value, which took ten times as long as all the rest of a live
update; here that happens only where somebody asks for it (``Chart.checked``), as the tests of all charts do.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Chart:
    """Traces and layout, by the names of plotly's reference. A value of None is left to plotly."""

    def __init__(self) -> None:
        self.traces: list[dict[str, Any]] = []
        self.arrangement: dict[str, Any] = {}
        self._json: str | None = None

    def add_scatter(self, **properties: Any) -> None:
        self._add("scatter", properties)

    def add_bar(self, **properties: Any) -> None:
        self._add("bar", properties)

    def _add(self, kind: str, properties: dict[str, Any]) -> None:
        self._json = None
        self.traces.append({"type": kind, **_known(properties)})

    def add_vline(self, x: float, line: dict[str, Any], text: str | None = None, **note: Any) -> None:
        """A line over the whole height, with ``text`` right of its upper end."""
        place = {"xref": "x", "yref": "y domain"}
        self.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, line=line, **place)
        if text is not None:
            self.add_annotation(
                text=text, x=x, y=1, xanchor="left", yanchor="top", showarrow=False, textangle=0, **place, **note
            )

    def add_shape(self, **properties: Any) -> None:
        self._append("shapes", properties)

    def add_annotation(self, **properties: Any) -> None:
        self._append("annotations", properties)

    def _append(self, name: str, properties: dict[str, Any]) -> None:
        self._json = None
        self.arrangement.setdefault(name, []).append(_known(properties))

    def update_layout(self, **properties: Any) -> None:
        """Values within a mapping that are not named stay as they were."""
        self._json = None
        _merge(self.arrangement, properties)

    def update_xaxes(self, **properties: Any) -> None:
        self.update_layout(xaxis=properties)

    def update_yaxes(self, **properties: Any) -> None:
        self.update_layout(yaxis=properties)

    def to_json(self) -> str:
        """Strict JSON: null for NaN. Made once and kept until something changes."""
        if self._json is None:
            value = {"data": self.traces, "layout": self.arrangement}
            self._json = orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        return self._json

    def checked(self) -> "go.Figure":
        """The same as a figure of plotly's own. ValueError if plotly does not know a name or value."""
        import plotly.graph_objects as go

        return go.Figure(orjson.loads(self.to_json()))


def _known(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _known(value) if isinstance(value, dict) else value
        for name, value in properties.items()
        if value is not None
    }


def _merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            _merge(old[name], value)
        elif value is None:
            old.pop(name, None)
        else:
            old[name] = _known(value) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    """What orjson does not know: an array that is no block in memory or holds objects, a numpy number."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} can't be drawn")
