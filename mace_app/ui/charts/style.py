"""What all charts share: colours, spacing, and units a person reads easily."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mace_app.options.units import readable as readable
from mace_app.ui.charts.chart import Chart

# The light theme's colours of .streamlit/config.toml. live_plotly puts the current theme's in their place.
PALETTE = (
    "#2f5fd0",
    "#d4581c",
    "#07875a",
    "#8b4fd8",
    "#a87400",
    "#cc3d4b",
    "#2088b0",
    "#6c7a2c",
    "#b34b8e",
    "#6b7280",
)
NEUTRAL = PALETTE[-1]
TRAINING, VALIDATION = PALETTE[1], PALETTE[0]
# From few to many: visible on white and on near-black, and ordered in lightness for the colour-blind.
DENSITY_SCALE = ((0.0, "#3f63c8"), (0.35, "#8a56c2"), (0.65, "#d9597a"), (1.0, "#f0a531"))


def colour(index: int) -> str:
    """A colour for the ``index``-th thing; the last one, grey, is kept for what is neutral."""
    return PALETTE[index % (len(PALETTE) - 1)]


@dataclass(frozen=True)
class DisplayUnit:
    """``factor`` turns a value of the file into one of ``text``; ``text`` is empty for a number without a unit."""

    text: str
    factor: float

    def in_brackets(self) -> str:
        return f" ({self.text})" if self.text else ""


def display_unit(unit: str, values: Iterable[float | None]) -> DisplayUnit:
    """How to show values given in ``unit``.

    Electronvolts become meV where that reads better: when the smallest of ``values`` is below 0.1 in the given unit.
    """
    sizes = [abs(value) for value in values if value is not None and isfinite(value)]
    if sizes and min(sizes) < 0.1 and (unit == "eV" or unit.startswith("eV/")):
        return DisplayUnit(f"m{readable(unit)}", 1000.0)
    return DisplayUnit(readable(unit), 1.0)


def smallest(*columns: NDArray[np.float64]) -> list[float]:
    """The smallest size in long columns, for ``display_unit``; nothing where there is no number."""
    sizes = [abs(column[np.isfinite(column)]) for column in columns]
    return [float(size.min()) for size in sizes if len(size)]


def three_digits(value: float | None) -> str:
    """Three significant digits, without an exponent for everyday sizes: 0.0123, 4.56, 1234."""
    if value is None or not isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - floor(log10(abs(value))))}f}"


def r_squared(value: float | None) -> str:
    """Four decimals where the model explains anything; far below zero the size is all that counts."""
    return "–" if value is None else f"{value:.4f}" if value > -1 else three_digits(value)


def title_of(label: str) -> str:
    """``energy.forces`` as "Forces", ``energy/pbe.forces`` as "Forces (energy/pbe)", ``mtt::dipole`` as "Dipole"."""
    target, dot, part = label.rpartition(".")
    if dot and part in ("forces", "stress", "virial"):
        return part.capitalize() + ("" if target == "energy" else f" ({target})")
    plain = label.removeprefix("mtt::").removeprefix("aux::").replace("_", " ")
    return plain[:1].upper() + plain[1:]


def plain_text(text: str) -> str:
    """Text of a file for plotly, which reads a few HTML tags: none of it is a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def base_figure(x_title: str, y_title: str, height: int = 360) -> Chart:
    """An empty figure with our margins, above the plot its legend, and the chart's buttons above that."""
    figure = Chart()
    axis: dict[str, Any] = {"showline": False, "ticks": "", "automargin": True, "zeroline": False}
    figure.update_layout(
        height=height,
        margin={"l": 56, "r": 12, "t": 54, "b": 44},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
        dragmode="zoom",
        xaxis={**axis, "title": {"text": plain_text(x_title), "standoff": 8}},
        yaxis={**axis, "title": {"text": plain_text(y_title), "standoff": 8}},
    )
    return figure


def empty_figure(message: str, height: int = 340) -> Chart:
    """A frame that says what will appear here."""
    figure = base_figure("", "", height)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=message, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, opacity=0.75)
    return figure
