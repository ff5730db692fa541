"""A trained model as a file that simulation programs can use: metatomic's, and mace-torch's own. The only user of
metatomic."""

from mace_app.export.check import ExportCheck
from mace_app.export.errors import ExportRefused
from mace_app.export.metatomic_file import (
    ExportMetadata,
    ExportReport,
    build_atomistic_model,
    check_exportable,
    export_metatomic,
)
from mace_app.export.names import uncertainty_name
from mace_app.export.native import NativeReport, export_native, native_target

__all__ = [
    "ExportCheck",
    "ExportMetadata",
    "ExportRefused",
    "ExportReport",
    "NativeReport",
    "build_atomistic_model",
    "check_exportable",
    "export_metatomic",
    "export_native",
    "native_target",
    "uncertainty_name",
]
