"""Figures: pure functions from data to ``plotly.graph_objects.Figure``, tested without a browser."""

from mace_app.ui.charts.history import (
    HistoryView,
    best_epoch,
    error_figure,
    error_unit,
    headline,
    learning_rate_figure,
    loss_figure,
    loss_share_figure,
    measures,
    seconds_figure,
    throughput_figure,
)
from mace_app.ui.charts.parity import parity_errors, parity_figure
from mace_app.ui.charts.style import DisplayUnit, display_unit, readable, three_digits, title_of

__all__ = [
    "DisplayUnit",
    "HistoryView",
    "best_epoch",
    "display_unit",
    "error_figure",
    "error_unit",
    "headline",
    "learning_rate_figure",
    "loss_figure",
    "loss_share_figure",
    "measures",
    "parity_errors",
    "parity_figure",
    "readable",
    "seconds_figure",
    "three_digits",
    "throughput_figure",
    "title_of",
]
