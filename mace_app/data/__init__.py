"""Files to labelled structures to packed graphs. No torch."""

from mace_app.data.errors import Cancelled, DataError
from mace_app.data.graphs import GraphSet
from mace_app.data.prepare import prepare
from mace_app.data.prepared import PreparedData, load_prepared
from mace_app.data.reading import frame_of, iter_frames

__all__ = [
    "Cancelled",
    "DataError",
    "GraphSet",
    "PreparedData",
    "frame_of",
    "iter_frames",
    "load_prepared",
    "prepare",
]
