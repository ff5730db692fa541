"""Figures: pure functions from data to ``plotly.graph_objects.Figure``, tested without a browser."""

from mace_app.ui.charts.comparison import Course, comparison_figure, wall_time
from mace_app.ui.charts.components import ALL, Component, components
from mace_app.ui.charts.history import (
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
from mace_app.ui.charts.parity import parity_errors, parity_figure
from mace_app.ui.charts.spectrum import is_spectrum, spectrum_figure, typical_row
from mace_app.ui.charts.style import DisplayUnit, display_unit, r_squared, readable, three_digits, title_of

__all__ = [
    "ALL",
    "Component",
    "Course",
    "DisplayUnit",
    "HistoryView",
    "best_epoch",
    "comparison_figure",
    "components",
    "display_unit",
    "error_figure",
    "error_unit",
    "gradient_norm_figure",
    "headline",
    "is_spectrum",
    "learning_rate_figure",
    "loss_figure",
    "loss_share_figure",
    "measures",
    "parity_errors",
    "parity_figure",
    "r_squared",
    "readable",
    "seconds_figure",
    "spectrum_figure",
    "stage_two_epoch",
    "three_digits",
    "throughput_figure",
    "title_of",
    "typical_row",
    "wall_time",
]
