"""A target of many values, such as a density of states, for one structure."""

from typing import TYPE_CHECKING

import numpy as np

from mace_app.jobs import ParityLabel
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.style import TRAINING, VALIDATION, base_figure, empty_figure, plain_text, readable, title_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST_VALUES = 8


def is_spectrum(data: ParityLabel) -> bool:
    """Whether the values of a row are many, and of one kind."""
    return data.reference.ndim == 2 and data.reference.shape[1] >= FEWEST_VALUES


def spectrum_figure(label: str, data: ParityLabel, unit: str, number: int | None = None, height: int = 380) -> Chart:
    """Reference and prediction against the number of the value, for the row whose error is the median.

    ``number`` is that row's structure in its data set, for the title; see ``typical_row``.
    """
    row = typical_row(data)
    if row is None:
        return empty_figure("No labels in the validation set", height)
    unit = readable(unit)
    figure = base_figure("Value", title_of(label) + (f" ({unit})" if unit else ""), height)
    places = np.arange(1, data.reference.shape[1] + 1)
    for values, name, colour in (
        (data.reference[row], "Reference", TRAINING),
        (data.prediction[row], "Prediction", VALIDATION),
    ):
        figure.add_scatter(
            x=places,
            y=_gaps(values),
            name=name,
            mode="lines",
            line={"width": 2, "color": colour},
            hovertemplate="value %{x}: %{y:.5~g}",
        )
    where = f"structure {number}, " if number is not None else ""
    figure.update_layout(
        title={
            "text": plain_text(f"{title_of(label)} · {where}median error"),
            "x": 0, "xref": "paper", "font": {"size": 14}, "y": 0.985,
        },
        margin={"t": 56},
    )  # fmt: skip
    return figure


def typical_row(data: ParityLabel) -> int | None:
    """The row whose mean absolute error is the median; None without labels."""
    difference = np.abs(np.asarray(data.prediction, dtype=float) - np.asarray(data.reference, dtype=float))
    known = np.flatnonzero(np.isfinite(difference).any(axis=1))
    if not len(known):
        return None
    errors = np.nanmean(difference[known], axis=1)
    return int(known[np.argsort(errors, kind="stable")[(len(known) - 1) // 2]])


def _gaps(values: "NDArray") -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
