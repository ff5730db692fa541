"""Files to labelled structures to packed graphs. No torch."""

from mace_app.data.errors import Cancelled, DataError
from mace_app.data.graphs import GraphSet
from mace_app.data.inspection import (
    CellSummary,
    Composition,
    Contact,
    ElementCount,
    EnergySummary,
    FileSummary,
    Finding,
    ForceSummary,
    Histogram,
    Inspection,
    IsolatedAtom,
    KeySummary,
)
from mace_app.data.prepare import prepare
from mace_app.data.prepared import PreparedData, load_prepared
from mace_app.data.reading import frame_of, iter_frames
from mace_app.data.suggestion import suggest_mapping
from mace_app.data.survey import inspect_files

__all__ = [
    "Cancelled",
    "CellSummary",
    "Composition",
    "Contact",
    "DataError",
    "ElementCount",
    "EnergySummary",
    "FileSummary",
    "Finding",
    "ForceSummary",
    "GraphSet",
    "Histogram",
    "Inspection",
    "IsolatedAtom",
    "KeySummary",
    "PreparedData",
    "frame_of",
    "inspect_files",
    "iter_frames",
    "load_prepared",
    "prepare",
    "suggest_mapping",
]
