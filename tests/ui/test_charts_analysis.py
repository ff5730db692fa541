"""Figures of an analysis, and what of them is drawn."""

import numpy as np
import pytest

from mace_app.ui.charts.analysis_points import (
    MOST_MARKED,
    MOST_POINTS,
    OUTLIERS,
    Cloud,
    Names,
    points_figure,
    points_overlay,
    ring_overlay,
    rows_of,
)
from mace_app.ui.charts.analysis_spread import (
    cumulative_figure,
    cumulative_overlay,
    curves_figure,
    error_histogram_figure,
    group_bars_figure,
    histogram_overlay,
)
from mace_app.ui.charts.crowd import crowding, thinned

HOSTILE = '<img src=x onerror=alert(1)> & "x"'


def cloud(count: int = 100_000, **how: bool) -> Cloud:
    """Forces of ``count // 100`` structures, three of them far off."""
    random = np.random.default_rng(0)
    x = random.normal(size=count)
    error = 0.02 * random.normal(size=count)
    error[[5, 500, count - 1]] = [2.0, -3.0, 4.0]
    structure = (np.arange(count) // 100).astype(np.int32)
    return Cloud(x, x + error, structure, (np.arange(count) % 100).astype(np.int32), np.abs(error), **how)


def names(count: int, formula: str = "H2O") -> Names:
    return Names(np.arange(count) + 1000, np.full(count, formula))


def test_of_many_points_few_are_drawn_and_every_outlier_among_them() -> None:
    points = cloud()
    assert len(points.rows) <= MOST_POINTS + OUTLIERS
    assert {5, 500, 99_999} <= set(points.rows.tolist())
    assert {int(points.x.argmin()), int(points.x.argmax())} <= set(points.rows.tolist())
    figure = points_figure(points, names(1000), "Reference", "Prediction", "Forces", line="diagonal").checked()
    drawn = figure.data[1]
    assert len(drawn.x) == len(points.rows) and figure.layout.dragmode == "lasso"
    assert list(figure.layout.xaxis.range) == list(figure.layout.yaxis.range)
    assert sorted(drawn.marker.color) == list(drawn.marker.color), "the densest lie on top"


def test_a_point_knows_structure_atom_and_number_in_the_data_set() -> None:
    x = np.array([1.0, 2.0])
    points = Cloud(x, x, np.array([1, 2], np.int32), np.array([7, 8], np.int32), np.zeros(2))
    drawn = points_figure(points, names(3), "", "", "").checked().data[0]
    assert [tuple(row) for row in drawn.customdata] == [(1, 7, 1001), (2, 8, 1002)]
    assert "structure %{customdata[2]}" in drawn.hovertemplate and "atom %{customdata[1]}" in drawn.hovertemplate


def test_names_of_files_are_never_markup() -> None:
    x = np.array([1.0, 2.0])
    points = Cloud(x, x, np.array([0, 1], np.int32), np.full(2, -1, np.int32), np.zeros(2))
    figure = points_figure(points, names(2, HOSTILE), HOSTILE, HOSTILE, HOSTILE).checked()
    bars = group_bars_figure([(HOSTILE, 1.0, 2.0)], HOSTILE, HOSTILE).checked()
    curves = curves_figure({HOSTILE: np.ones(9)}, HOSTILE, HOSTILE).checked()
    for drawn in (figure, bars, curves):
        drawn.layout.uirevision = None  # which is compared and never shown
        assert "<img" not in drawn.to_json().replace("\\u003c", "<")


def test_logarithmic_axes_leave_out_what_has_no_place_on_them() -> None:
    points = Cloud(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.0, 3.0]), np.arange(3, dtype=np.int32),
                   np.full(3, -1, np.int32), np.ones(3), log_x=True, log_y=True)  # fmt: skip
    assert points.rows.tolist() == [2]
    figure = points_figure(points, names(3), "", "", "").checked()
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"


def test_errors_colour_a_map_up_to_nearly_the_largest() -> None:
    points = cloud(5000, coloured_by_error=True)
    figure = points_figure(points, names(50), "", "", "Map", colour_title="Error (eV)").checked()
    assert figure.data[0].marker.showscale and 0 < figure.data[0].marker.cmax < 4.0


def test_what_is_chosen_is_shown_with_its_largest_errors_and_bounded() -> None:
    points = cloud()
    assert points_overlay(points, np.empty(0, np.int64)) is None
    one = points_overlay(points, np.array([5]))
    assert one is not None and len(one["points"]["x"]) == 100
    many = points_overlay(points, np.arange(1000))
    assert many is not None and len(many["points"]["x"]) <= MOST_MARKED + 1
    for row in (5, 500, 99_999):
        assert any(np.isclose(points.x[row], many["points"]["x"], rtol=1e-4))
    assert len(ring_overlay(points, 999)["rings"]["x"]) == 100


def test_rows_of_structures_are_found_without_looking_at_all_of_them() -> None:
    random = np.random.default_rng(0)
    owners = np.sort(random.integers(0, 50, 700)).astype(np.int32)
    for wanted in (np.array([7]), np.array([49, 3, 3, 0]), np.arange(60), np.array([99]), np.empty(0, np.int64)):
        assert rows_of(owners, wanted).tolist() == np.flatnonzero(np.isin(owners, wanted)).tolist()
    assert len(rows_of(owners[:0], np.array([1]))) == 0


def test_marks_are_told_by_five_digits_of_any_size() -> None:
    values = np.array([0.0, -1.23456789e-7, 123.456789, -98765.4321, 1.23456789e9])
    points = Cloud(values, values, np.zeros(5, np.int32), np.arange(5, dtype=np.int32), np.zeros(5))
    told = ring_overlay(points, 0)["rings"]["x"]
    assert told == pytest.approx([float(f"{value:.5g}") for value in values], rel=1e-12)


@pytest.mark.parametrize("count", [1, 3, 200_000])
def test_a_histogram_counts_every_error_and_the_chosen_in_the_same_bars(count: int) -> None:
    error = np.random.default_rng(0).normal(size=count)
    figure = error_histogram_figure(error, "meV/Å", "Errors").checked()
    bars = figure.data[0]
    assert sum(bars.y) == count and figure.layout.yaxis.type == "log"
    overlay = histogram_overlay(error, error[:2])
    assert overlay is not None
    assert sum(overlay["bars"]["heights"]) == len(error[:2])
    assert overlay["bars"]["edges"][0] == pytest.approx(bars.customdata[0][0])
    assert histogram_overlay(error, error[:0]) is None


def test_errors_that_are_all_alike_are_one_bar() -> None:
    for error in (np.zeros(10), np.full(10, 3.0), 0.01 + 1e-17 * np.arange(10)):
        bars = error_histogram_figure(error, "eV", "Errors").checked().data[0]
        assert list(bars.y) == [10]


def test_the_ghost_of_another_model_is_drawn_in_the_same_chart() -> None:
    error = np.random.default_rng(0).normal(size=1000)
    assert len(error_histogram_figure(error, "eV", "", 2 * error).checked().data) == 2
    assert len(cumulative_figure(abs(error), "eV", "", 2 * abs(error)).checked().data) == 2
    points = cloud(1000)
    assert len(points_figure(points, names(10), "", "", "", ghost=points).checked().data) == 2


def test_the_cumulative_curve_ends_at_the_largest_error() -> None:
    size = np.abs(np.random.default_rng(0).normal(size=100_000))
    curve = cumulative_figure(size, "eV", "").checked().data[0]
    assert curve.x[-1] == size.max() and curve.y[-1] == 100 and len(curve.x) < 400
    assert np.interp(50, curve.y, curve.x) == pytest.approx(np.median(size), rel=0.02)
    assert cumulative_overlay(size[:0]) is None and cumulative_overlay(size[:5]) is not None


def test_without_labels_the_figures_say_so() -> None:
    nothing = np.empty(0)
    empty = Cloud(nothing, nothing, nothing.astype(np.int32), nothing.astype(np.int32), nothing)
    figures = [
        points_figure(empty, names(0), "", "", ""),
        error_histogram_figure(nothing, "", ""),
        cumulative_figure(nothing, "", ""),
        group_bars_figure([], "", ""),
        curves_figure({"Reference": np.full(9, np.nan)}, "", ""),
    ]
    assert all("no labels" in figure.checked().layout.annotations[0].text for figure in figures)


def test_curves_leave_gaps_where_values_are_missing() -> None:
    reference = np.arange(10.0)
    reference[4] = np.nan
    figure = curves_figure({"Reference": reference, "Prediction": np.arange(10.0)}, "Dos", "Structure 3").checked()
    assert figure.data[0].y[4] is None and list(figure.data[0].x) == list(range(1, 11))


def test_thinning_keeps_sparse_places_and_what_is_asked_for() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 300_000))
    x[0], y[0] = 40.0, 40.0
    always = np.array([17, 18])
    rows = thinned(x, y, 1000, always)
    assert len(rows) <= 1002 and {0, 17, 18} <= set(rows.tolist())
    assert crowding(x, y)[0] == 1
    assert thinned(np.zeros(5000), np.zeros(5000), 1000).size == 1000
