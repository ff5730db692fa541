"""Imports and looks for what the pages need while the server starts, so that the first visitor doesn't wait for it."""

import importlib

from mace_app.ui.device_choice import look_for_devices

MODULES = (
    "mace_app.data",
    "mace_app.options",
    "mace_app.ui.charts",
    "mace_app.ui.dataset_view",
    "mace_app.ui.foundation_page",
    "mace_app.ui.home_page",
    "mace_app.ui.model_page",
    "mace_app.ui.run_page",
    "mace_app.ui.train_data",
    "mace_app.ui.train_page",
    "mace_app.ui.train_review",
    "pandas",
    "plotly.graph_objects",
    "pyarrow",
)


def preload() -> None:
    look_for_devices()
    for module in MODULES:
        importlib.import_module(module)
