"""Prediction against reference."""

import numpy as np
import pytest

from mace_app.jobs import ParityLabel
from mace_app.ui.charts import parity_errors, parity_figure
from mace_app.ui.charts.crowd import MOST_POINTS
from mace_app.ui.charts.parity import DENSITY_FROM


def label_of(reference: np.ndarray, prediction: np.ndarray, atoms: bool = False) -> ParityLabel:
    rows = np.arange(len(reference))
    return ParityLabel(reference, prediction, rows, rows % 7 if atoms else None)


def test_errors_in_the_corner_are_those_of_all_values_in_a_readable_unit() -> None:
    data = label_of(np.array([1.0, 2.0, 3.0]), np.array([1.03, 1.96, 3.0]))
    errors = parity_errors(data)
    assert errors is not None
    assert (errors.mae, errors.rmse, errors.count) == (pytest.approx(0.07 / 3), pytest.approx((25e-4 / 3) ** 0.5), 3)
    text = parity_figure("energy", data, "eV/atom").checked().layout.annotations[0].text
    assert "<b>MAE</b> 23.3 meV/atom" in text and "<b>RMSE</b> 28.9 meV/atom" in text


def test_both_axes_span_the_same_range_and_the_diagonal_crosses_it() -> None:
    figure = parity_figure("energy", label_of(np.array([0.0, 1.0]), np.array([-1.0, 3.0])), "eV/atom")
    assert list(figure.checked().layout.xaxis.range) == list(figure.checked().layout.yaxis.range)
    diagonal = figure.checked().data[0]
    assert list(diagonal.x) == list(diagonal.y) == list(figure.checked().layout.xaxis.range)


def test_a_point_knows_its_structure_its_atom_and_the_number_in_the_data_set() -> None:
    forces = ParityLabel(np.zeros((2, 3)), np.ones((2, 3)), np.array([0, 1]), np.array([4, 5]))
    points = parity_figure("energy.forces", forces, "eV/Å", numbers=[600, 601]).checked().data[1]
    assert sorted(map(tuple, points.customdata)) == [(600, 0, 4)] * 3 + [(601, 1, 5)] * 3
    assert "structure %{customdata[0]}, atom %{customdata[2]}" in points.hovertemplate
    unnumbered = parity_figure("energy.forces", forces, "eV/Å").checked().data[1]
    assert sorted(map(tuple, unnumbered.customdata))[-1] == (1, 1, 5)


def test_of_many_points_the_crowd_is_thinned_and_every_outlier_drawn() -> None:
    random = np.random.default_rng(1)
    reference = random.normal(size=150_000)
    prediction = reference + random.normal(scale=0.01, size=len(reference))
    prediction[[10, 20, 30]] += [3.0, -2.5, 4.0]
    points = parity_figure("energy.forces", label_of(reference, prediction, atoms=True), "eV/Å").checked().data[1]
    assert len(points.x) <= MOST_POINTS
    drawn = {row[1] for row in points.customdata}
    assert {10, 20, 30, int(np.argmin(reference)), int(np.argmax(reference))} <= drawn


def test_density_colours_only_a_crowd_and_draws_the_densest_on_top() -> None:
    few = np.linspace(0, 1, DENSITY_FROM - 1)
    assert isinstance(parity_figure("energy", label_of(few, few), "eV").checked().data[1].marker.color, str)
    many = np.r_[np.zeros(500), np.linspace(0, 1, 500)]
    colours = parity_figure("energy", label_of(many, many), "eV").checked().data[1].marker.color
    assert list(colours) == sorted(colours) and colours[-1] > colours[0]


def test_missing_labels_are_left_out_and_none_at_all_is_said() -> None:
    nan = float("nan")
    data = label_of(np.array([1.0, nan, 3.0]), np.array([1.0, 2.0, nan]))
    assert len(parity_figure("energy", data, "eV").checked().data[1].x) == 1
    nothing = parity_figure("energy", label_of(np.array([nan]), np.array([1.0])), "eV")
    assert not nothing.checked().data and "No labels" in nothing.checked().layout.annotations[0].text
    assert parity_errors(label_of(np.empty(0), np.empty(0))) is None


def test_equal_references_have_no_r2_and_still_a_picture() -> None:
    data = label_of(np.ones(3), np.ones(3))
    errors = parity_errors(data)
    assert errors is not None and errors.r2 is None
    assert "R²" not in parity_figure("energy", data, "eV").checked().layout.annotations[0].text
