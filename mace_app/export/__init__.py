"""A trained model as a file that simulation programs can use. The only user of metatomic."""

from mace_app.export.check import ExportCheck
from mace_app.export.errors import ExportRefused
from mace_app.export.metatomic_file import (
    ExportMetadata,
    ExportReport,
    build_atomistic_model,
    check_exportable,
    export_metatomic,
)

__all__ = [
    "ExportCheck",
    "ExportMetadata",
    "ExportRefused",
    "ExportReport",
    "build_atomistic_model",
    "check_exportable",
    "export_metatomic",
]
