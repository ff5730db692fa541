"""Curves of a training, made from a metrics file as the training writes it."""

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from mace_app.jobs.metrics_file import append_header, append_metrics
from mace_app.jobs.metrics_history import MetricsHistory
from mace_app.ui.charts import (
    HistoryView,
    best_epoch,
    error_figure,
    error_unit,
    gradient_norm_figure,
    headline,
    learning_rate_figure,
    loss_figure,
    loss_share_figure,
    measures,
    seconds_figure,
    stage_two_epoch,
    throughput_figure,
)
from mace_app.ui.charts.chart import Chart
from mace_app.ui.charts.series import drawable, smooth, thin
from mace_app.ui.charts.style import DisplayUnit, display_unit, plain_text, three_digits, title_of


def history_of(folder: Path, records: list[dict[str, object]], units: dict[str, str] | None = None) -> MetricsHistory:
    units = units or {"energy": "eV/atom", "energy.forces": "eV/Å"}
    append_header(folder / "metrics.jsonl", units, list(units))
    for record in records:
        append_metrics(folder / "metrics.jsonl", record)
    history = MetricsHistory(folder / "metrics.jsonl")
    history.refresh()
    return history


@pytest.fixture
def history(tmp_path: Path) -> MetricsHistory:
    return history_of(
        tmp_path,
        [
            {
                "epoch": epoch,
                "learning_rate": 0.01,
                "seconds": 2.0,
                "structures_per_second": None if epoch == 0 else 100.0,
                "train/loss": 2.0 / (epoch + 1),
                "validation/loss": 3.0 / (epoch + 1),
                "train/energy/mae": 0.05,
                "validation/energy/mae": 0.08 / (epoch + 1),
                "validation/energy.forces/mae": 0.9,
                "loss_share/energy": 0.25,
                "loss_share/energy.forces": 0.75,
                "best": epoch in (0, 2),
            }
            for epoch in range(4)
        ],
    )


def traces(figure: Chart) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.checked().data}


def test_the_loss_is_drawn_for_both_splits_with_the_best_epoch_marked(history: MetricsHistory) -> None:
    drawn = traces(loss_figure(history, HistoryView()))
    assert list(drawn["Training"].y) == [2.0, 1.0, 2 / 3, 0.5]
    assert list(drawn["Validation"].x) == [0, 1, 2, 3]
    assert (drawn["Best: epoch 2"].x[0], drawn["Best: epoch 2"].y[0]) == (2, 1.0)


def test_the_untrained_epoch_is_never_marked_best(tmp_path: Path) -> None:
    history = history_of(tmp_path, [{"epoch": 0, "validation/loss": 1.0, "best": True}])
    assert best_epoch(history) is None
    assert list(traces(loss_figure(history, HistoryView()))) == ["Validation"]


def test_small_energies_are_shown_in_mev_and_large_forces_in_ev(history: MetricsHistory) -> None:
    energy = error_figure(history, "energy", HistoryView())
    assert energy.checked().layout.yaxis.title.text == "Energy MAE (meV/atom)"
    assert list(traces(energy)["Validation"].y) == pytest.approx([80, 40, 80 / 3, 20])
    assert (
        error_figure(history, "energy.forces", HistoryView()).checked().layout.yaxis.title.text == "Forces MAE (eV/Å)"
    )


def test_a_change_of_unit_or_axis_forgets_the_zoom_and_new_epochs_do_not(tmp_path: Path) -> None:
    first = {"epoch": 1, "validation/energy/mae": 0.5}
    history = history_of(tmp_path, [first])
    before = error_figure(history, "energy", HistoryView()).checked().layout.uirevision
    append_metrics(history.path, {"epoch": 2, "validation/energy/mae": 0.4})
    history.refresh()
    assert error_figure(history, "energy", HistoryView()).checked().layout.uirevision == before
    append_metrics(history.path, {"epoch": 3, "validation/energy/mae": 0.04})
    history.refresh()
    in_mev = error_figure(history, "energy", HistoryView()).checked().layout.uirevision
    assert in_mev != before
    assert error_figure(history, "energy", HistoryView(logarithmic=False)).checked().layout.uirevision != in_mev


def test_smoothing_draws_the_measured_curve_pale_behind(history: MetricsHistory) -> None:
    drawn = traces(loss_figure(history, HistoryView(smoothing=0.5)))
    assert drawn["Training, as measured"].opacity < 0.5 and not drawn["Training, as measured"].showlegend
    assert list(drawn["Training"].y) == pytest.approx(smooth([2.0, 1.0, 2 / 3, 0.5], 0.5))


def test_a_logarithmic_axis_leaves_gaps_where_there_is_no_logarithm(tmp_path: Path) -> None:
    records = [{"epoch": n, "train/loss": value} for n, value in enumerate([1.0, 0.0, float("nan"), 0.5], 1)]
    history = history_of(tmp_path, records)
    assert list(traces(loss_figure(history, HistoryView()))["Training"].y) == [1.0, None, None, 0.5]
    assert list(traces(loss_figure(history, HistoryView(logarithmic=False)))["Training"].y) == [1.0, 0.0, None, 0.5]


def test_shares_are_stacked_to_a_hundred_per_cent(history: MetricsHistory) -> None:
    figure = loss_share_figure(history)
    assert [trace.stackgroup for trace in figure.checked().data] == ["share", "share"]
    assert sum(trace.y[-1] for trace in figure.checked().data) == pytest.approx(100)


def test_every_figure_of_a_run_without_epochs_says_what_will_come(tmp_path: Path) -> None:
    history = history_of(tmp_path, [])
    figures = [
        loss_figure(history, HistoryView()),
        error_figure(history, "energy", HistoryView()),
        learning_rate_figure(history),
        throughput_figure(history),
        seconds_figure(history),
        loss_share_figure(history),
    ]
    for figure in figures:
        assert not figure.checked().data
        assert "first epoch" in figure.checked().layout.annotations[0].text


def test_without_mae_or_validation_the_error_that_exists_stands_for_the_label(tmp_path: Path) -> None:
    history = history_of(tmp_path, [{"epoch": 1, "train/energy/rmse": 0.2, "validation/energy.forces/rmse": 0.3}])
    assert headline(history, "energy") == ("train", "rmse")
    assert headline(history, "energy.forces") == ("validation", "rmse")
    assert headline(history, "energy.stress") is None
    assert measures(history) == ["rmse"]
    assert error_unit(history, "energy", "rmse").text == "eV/atom"


def test_thinning_keeps_the_ends_and_every_spike_of_a_long_history() -> None:
    values = list(np.random.default_rng(0).normal(size=100_000))
    values[34_567], values[71_234] = 50.0, -40.0
    x, y = thin(range(100_000), values, 800)
    assert len(x) <= 800
    assert (x[0], x[-1]) == (0, 99_999)
    assert max(value for value in y if value is not None) == 50.0
    assert min(value for value in y if value is not None) == -40.0
    assert x == sorted(x) and all(values[place] == value for place, value in zip(x, y, strict=True))


def test_thinning_leaves_a_gap_a_gap() -> None:
    values = [1.0] * 1000 + [None] * 1000 + [2.0] * 1000
    _, y = thin(range(3000), values, 100)
    assert None in y


def test_smoothing_begins_at_the_first_value_and_steps_over_missing_ones() -> None:
    gap = float("nan")
    np.testing.assert_allclose(smooth([4.0, gap, 4.0], 0.9), [4.0, gap, 4.0])
    np.testing.assert_allclose(smooth([0.0, 1.0], 0.5), [0.0, 2 / 3])
    np.testing.assert_array_equal(drawable([1.0, -1.0, gap], True), [1.0, gap, gap])
    np.testing.assert_array_equal(smooth([gap, gap], 0.5), [gap, gap])


def test_units_follow_the_size_of_the_numbers() -> None:
    assert display_unit("eV/Å", [0.05, 3.0]).text == "meV/Å"
    assert display_unit("eV/Å", [0.3]).text == "eV/Å"
    assert display_unit("kcal/mol", [0.001]).text == "kcal/mol"
    assert display_unit("eV", [None, float("nan")]).factor == 1.0
    assert display_unit("", [0.001]).in_brackets() == ""
    assert display_unit("e*angstrom/atom", [0.001]).text == "e·Å/atom"
    assert display_unit("eV/Angstrom^3", [0.001]) == DisplayUnit("meV/Å³", 1000.0)


def test_numbers_keep_three_digits() -> None:
    shown = [three_digits(value) for value in (0.001234, 0.0456, 1.234, 45.67, 1234.5, 2e-7, 0.0, None, float("nan"))]
    assert shown == ["0.00123", "0.0456", "1.23", "45.7", "1234", "2.00e-07", "0", "–", "–"]


def test_labels_get_titles_and_tags_in_names_stay_text() -> None:
    assert [title_of(label) for label in ("energy", "energy.forces", "energy/pbe.forces", "mtt::my_dipole")] == [
        "Energy",
        "Forces",
        "Forces (energy/pbe)",
        "My dipole",
    ]
    assert plain_text("<b>&") == "&lt;b&gt;&amp;"


def test_stage_two_is_marked_and_cuts_the_loss_whose_meaning_it_changes(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        {
            "epoch": epoch,
            "train/loss": 1.0 if epoch < 5 else 90.0,
            "gradient_norm": 0.1 * epoch,
            "loss_share/energy": 1.0,
            **({"stage": 2} if epoch >= 5 else {}),
        }
        for epoch in range(1, 9)
    ]
    history = history_of(tmp_path, records)
    assert stage_two_epoch(history) == 5
    loss = loss_figure(history, HistoryView())
    assert list(loss.checked().data[0].x) == [1, 2, 3, 4, 4.5, 5, 6, 7, 8] and loss.checked().data[0].y[4] is None
    for figure in (loss, gradient_norm_figure(history), loss_share_figure(history)):
        assert [note.text for note in figure.checked().layout.annotations] == ["stage two"]
    assert list(gradient_norm_figure(history).checked().data[0].y) == pytest.approx(
        [0.1 * epoch for epoch in range(1, 9)]
    )
