"""Predictions of a model beside the labels of data, stored, read, and made into numbers. No torch, no Streamlit."""

from mace_app.analysis.store import (
    Analysis,
    AnalysisError,
    AnalysisInfo,
    Label,
    Structures,
    formulas,
    read_analysis,
    read_info,
    write_analysis,
)

__all__ = [
    "Analysis",
    "AnalysisError",
    "AnalysisInfo",
    "Label",
    "Structures",
    "formulas",
    "read_analysis",
    "read_info",
    "write_analysis",
]
