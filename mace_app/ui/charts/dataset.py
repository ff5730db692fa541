"""Figures of an inspected dataset."""

from collections.abc import Iterable, Mapping

from mace_app.data.inspection import Composition, ElementCount, Histogram
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.style import PALETTE, base_figure, plain_text
from mace_app.ui.elements import symbol

HEIGHT = 280


def _figure(x_title: str, y_title: str, height: int) -> Chart:
    figure = base_figure(x_title, y_title, height)
    figure.update_layout(margin={"t": 30}, showlegend=False)
    return figure


def histogram_figure(histogram: Histogram, x_title: str, what: str, logarithmic: bool = False) -> Chart:
    """Bars of a histogram; values beyond its ends are told of in the title of the axis."""
    left, right = histogram.edges[:-1], histogram.edges[1:]
    outside = [
        f"{amount} {words}" for amount, words in ((histogram.below, "below"), (histogram.above, "above")) if amount
    ]
    figure = _figure(x_title + (f" · {' and '.join(outside)}" if outside else ""), what, HEIGHT)
    figure.add_bar(
        x=[(a + b) / 2 for a, b in zip(left, right, strict=True)],
        y=histogram.counts,
        width=[b - a for a, b in zip(left, right, strict=True)],
        customdata=list(zip(left, right, strict=True)),
        marker={"color": PALETTE[0]},
        hovertemplate="%{customdata[0]:.4g} to %{customdata[1]:.4g}: %{y}<extra></extra>",
    )
    figure.update_layout(bargap=0.04)
    if logarithmic:
        figure.update_yaxes(type="log")
    return figure


def elements_figure(elements: Mapping[int, ElementCount]) -> Chart:
    """Atoms of each element."""
    figure = _figure("", "Atoms", HEIGHT)
    numbers = sorted(elements)
    figure.add_bar(
        x=[symbol(z) for z in numbers],
        y=[elements[z].atoms for z in numbers],
        width=0.7 if len(numbers) > 3 else 0.35,
        customdata=[elements[z].structures for z in numbers],
        marker={"color": PALETTE[0]},
        hovertemplate="%{x}: %{y} atoms in %{customdata} structures<extra></extra>",
    )
    figure.update_layout(bargap=0.3)
    figure.update_xaxes(type="category")
    return figure


def compositions_figure(compositions: Iterable[Composition], most: int = 15) -> Chart:
    """The commonest compositions, the most frequent on top."""
    shown = list(compositions)[:most][::-1]
    figure = _figure("Structures", "", max(HEIGHT, 60 + 22 * len(shown)))
    figure.add_bar(
        y=[plain_text(entry.formula) for entry in shown],
        x=[entry.structures for entry in shown],
        orientation="h",
        marker={"color": PALETTE[0]},
        hovertemplate="%{y}: %{x} structures<extra></extra>",
    )
    figure.update_layout(bargap=0.3)
    figure.update_yaxes(type="category", ticksuffix=" ")
    return figure
