"""Figures of an analysis for print: SVG, PDF or PNG of a chosen size and font, drawn by matplotlib.

Each takes the pairs of one label in its unit and the unit's name. Where there are more than ``MOST_VECTORS`` points the
cloud is a density of hexagons, so that a file stays small and opens everywhere.
"""

import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mace_app.analysis.errors import Pairs, statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("svg", "pdf", "png")
Format = Literal["svg", "pdf", "png"]
MOST_VECTORS = 3000
MILLIMETRES = 25.4
_ONE_AT_A_TIME = threading.Lock()  # matplotlib's settings are those of the process
INK, LINE = "#1b2130", "#2f5fd0"


@dataclass(frozen=True)
class Print:
    """Width and height in mm, as journals give them; ``font_size`` in points; ``dots`` per inch of a PNG."""

    width: float = 85.0
    height: float = 75.0
    font: str = "DejaVu Sans"
    font_size: float = 8.0
    dots: int = 300
    title: str = ""


def fonts() -> list[str]:
    """Names of the fonts that this machine has."""
    from matplotlib import font_manager

    return sorted({font.name for font in font_manager.fontManager.ttflist})


def paper_figure(kind: str, found: Pairs, unit: str, quantity: str, how: Print, form: Format = "pdf") -> bytes:
    """One of ``KINDS`` as a file. ValueError if there is nothing to draw or the kind or form is unknown."""
    if kind not in KINDS or form not in FORMATS:
        raise ValueError(f"There is no figure {kind} as {form}; there are {', '.join(KINDS)} as {', '.join(FORMATS)}.")
    if not len(found):
        raise ValueError("There are no labels to draw.")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: dict[str, Any] = {
        "font.family": [how.font, "DejaVu Sans"],
        "font.size": how.font_size,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "svg.hashsalt": "mace-studio",
    }
    with _ONE_AT_A_TIME, matplotlib.rc_context(settings):
        figure = Figure(figsize=(how.width / MILLIMETRES, how.height / MILLIMETRES), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        KINDS[kind](axes, found, f" ({unit})" if unit else "", quantity)
        if how.title:
            axes.set_title(_plain(how.title), fontsize=how.font_size)
        axes.tick_params(colors=INK)
        stream = io.BytesIO()
        # No date and no program in the file, so that the same figure is the same bytes.
        about = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None, "Creator": None}}.get(form)
        figure.savefig(stream, format=form, dpi=how.dots, metadata=about)
    return stream.getvalue()


def _plain(text: str) -> str:
    """matplotlib reads dollar signs as mathematics."""
    return text.replace("$", r"\$")


def _cloud(axes: "Axes", x: Any, y: Any) -> None:
    if len(x) > MOST_VECTORS:
        axes.hexbin(x, y, gridsize=90, bins="log", mincnt=1, cmap="viridis", linewidths=0)
    else:
        axes.scatter(x, y, s=6, color=LINE, alpha=0.6, linewidths=0)


def _parity(axes: "Axes", found: Pairs, unit: str, quantity: str) -> None:
    low = float(min(found.reference.min(), found.prediction.min()))
    high = float(max(found.reference.max(), found.prediction.max()))
    margin = 0.03 * (high - low) or 0.5
    ends = [low - margin, high + margin]
    _cloud(axes, found.reference, found.prediction)
    axes.plot(ends, ends, color=INK, linewidth=0.6, linestyle="--")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel(_plain(f"Reference {quantity}{unit}"))
    axes.set_ylabel(_plain(f"Predicted {quantity}{unit}"))
    told = statistics(found)
    assert told is not None
    lines = [f"RMSE {told.rmse:.3g}", f"MAE {told.mae:.3g}", *([] if told.r2 is None else [f"R² {told.r2:.4f}"])]
    axes.text(0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top", color=INK)


def _residuals(axes: "Axes", found: Pairs, unit: str, quantity: str) -> None:
    _cloud(axes, found.reference, found.error)
    axes.axhline(0, color=INK, linewidth=0.6, linestyle="--")
    axes.set_xlabel(_plain(f"Reference {quantity}{unit}"))
    axes.set_ylabel(_plain(f"Predicted − reference{unit}"))


def _histogram(axes: "Axes", found: Pairs, unit: str, quantity: str) -> None:
    axes.hist(found.error, bins=80, color=LINE, log=True)
    axes.set_xlabel(_plain(f"Error of {quantity}{unit}"))
    axes.set_ylabel("Count")


def _cumulative(axes: "Axes", found: Pairs, unit: str, quantity: str) -> None:
    sizes = np.sort(np.abs(found.error))
    sizes = sizes[sizes > 0]
    if len(sizes):
        places = np.unique(np.linspace(0, len(sizes) - 1, 2000).astype(int))
        axes.plot(sizes[places], 100 * (places + 1) / len(sizes), color=LINE, linewidth=1.0)
        axes.set_xscale("log")
    axes.set_xlabel(_plain(f"Absolute error of {quantity}{unit}"))
    axes.set_ylabel("Values with at most this error (%)")
    axes.set_ylim(0, 100)


KINDS: Mapping[str, Callable[["Axes", Pairs, str, str], None]] = {
    "parity": _parity,
    "residuals": _residuals,
    "histogram": _histogram,
    "cumulative": _cumulative,
}
