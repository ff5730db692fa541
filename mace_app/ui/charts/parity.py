"""Prediction against reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mace_app.jobs import ParityLabel
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.crowd import crowding, thinned
from mace_app.ui.charts.style import (
    DENSITY_SCALE,
    NEUTRAL,
    VALIDATION,
    base_figure,
    display_unit,
    empty_figure,
    plain_text,
    r_squared,
    readable,
    three_digits,
    title_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DENSITY_FROM = 400


@dataclass(frozen=True)
class ParityErrors:
    """Over all values of the label, in its unit; ``r2`` is None where the references don't vary."""

    mae: float
    rmse: float
    r2: float | None
    count: int


def parity_errors(label: ParityLabel) -> ParityErrors | None:
    """None if there is no pair of finite values."""
    reference, prediction, _, _ = _pairs(label)
    if not len(reference):
        return None
    difference = prediction - reference
    spread = float(np.sum((reference - reference.mean()) ** 2))
    return ParityErrors(
        mae=float(np.mean(np.abs(difference))),
        rmse=float(np.sqrt(np.mean(difference**2))),
        r2=1.0 - float(np.sum(difference**2)) / spread if spread > 0 else None,
        count=len(reference),
    )


def parity_figure(
    label: str, data: ParityLabel, unit: str, numbers: Sequence[int] = (), height: int = 380, part: str = ""
) -> Chart:
    """Prediction against reference of one label with diagonal and errors; many points are coloured by density.

    Of more than ``crowd.MOST_POINTS`` points the crowded places are thinned, never the sparse ones, so every outlier is
    drawn. ``numbers`` gives the structures' numbers in their data set, in the order of the validation set. A point's
    ``customdata`` is [number, place in the validation set], of an atom [number, place, atom]. ``part`` names
    what of the label ``data`` holds.
    """
    errors = parity_errors(data)
    if errors is None:
        return empty_figure("No labels in the validation set", height)
    reference, prediction, structure, atom = _pairs(data)
    density = crowding(reference, prediction)
    shown = thinned(reference, prediction)
    error_unit = display_unit(unit, [errors.mae])
    unit = readable(unit)
    axis_unit = f" ({unit})" if unit else ""
    figure = base_figure(f"Reference{axis_unit}", f"Prediction{axis_unit}", height)
    low = float(min(reference.min(), prediction.min()))
    high = float(max(reference.max(), prediction.max()))
    margin = 0.03 * (high - low) or 0.5
    figure.add_scatter(
        x=[low - margin, high + margin],
        y=[low - margin, high + margin],
        mode="lines",
        line={"width": 1, "dash": "dash", "color": NEUTRAL},
        hoverinfo="skip",
    )
    per_atom = data.atom is not None
    crowded = len(reference) >= DENSITY_FROM
    order = shown[np.argsort(density[shown], kind="stable")]
    figure.add_scatter(
        x=reference[order],
        y=prediction[order],
        mode="markers",
        marker={
            "size": 5 if crowded else 6,
            "opacity": 0.85,
            "color": np.log10(density[order]) if crowded else VALIDATION,
            "colorscale": DENSITY_SCALE if crowded else None,
        },
        customdata=np.stack([_numbered(structure, numbers), structure, *([atom] if per_atom else [])], axis=1)[order],
        hovertemplate=_hover(per_atom, unit),
    )
    suffix = f" {plain_text(error_unit.text)}" if error_unit.text else ""
    lines = [
        f"<b>RMSE</b> {three_digits(errors.rmse * error_unit.factor)}{suffix}",
        f"<b>MAE</b> {three_digits(errors.mae * error_unit.factor)}{suffix}",
    ]
    if errors.r2 is not None:
        lines.append(f"<b>R²</b> {r_squared(errors.r2)}")
    figure.add_annotation(
        text="<br>".join(lines), x=0.02, y=0.98, xref="paper", yref="paper", xanchor="left", yanchor="top",
        align="left", showarrow=False,
    )  # fmt: skip
    figure.update_layout(
        showlegend=False,
        margin={"t": 30},
        title={
            "text": plain_text(title_of(label) + (f" · {part}" if part else "")),
            "x": 0,
            "xref": "paper",
            "font": {"size": 14},
            "y": 0.985,
        },
    )
    # A zoom into one component means nothing for another.
    figure.update_layout(uirevision=f"{label} {part}")
    figure.update_xaxes(range=[low - margin, high + margin], tickformat="~g")
    figure.update_yaxes(range=[low - margin, high + margin], tickformat="~g")
    return figure


def _pairs(label: ParityLabel) -> "tuple[NDArray, NDArray, NDArray, NDArray]":
    """Reference, prediction, structure and atom (-1 without one) of every pair of finite values, as flat arrays."""
    reference = np.asarray(label.reference, dtype=float)
    prediction = np.asarray(label.prediction, dtype=float)
    rows = len(reference)
    values = reference.size // rows if rows else 1
    structure = np.repeat(np.asarray(label.structure, dtype=int), values)
    atom = np.full(rows, -1) if label.atom is None else np.asarray(label.atom, dtype=int)
    atom = np.repeat(atom, values)
    flat_reference, flat_prediction = reference.reshape(-1), prediction.reshape(-1)
    finite = np.isfinite(flat_reference) & np.isfinite(flat_prediction)
    return flat_reference[finite], flat_prediction[finite], structure[finite], atom[finite]


def _numbered(structure: "NDArray", numbers: Sequence[int]) -> "NDArray":
    """The structures' numbers in their data set, or their places in the validation set where those are not known."""
    known = np.asarray(numbers, dtype=int)
    return known[structure] if len(known) > structure.max() else structure


def _hover(per_atom: bool, unit: str) -> str:
    who = "structure %{customdata[0]}" + (", atom %{customdata[2]}" if per_atom else "")
    what = "<br>reference %{x:.6~g}<br>predicted %{y:.6~g}"
    return who + what + (f" {plain_text(unit)}" if unit else "") + "<extra></extra>"
