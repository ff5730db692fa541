"""A run or a checkpoint as a metatomic file, or as a file of mace-torch's own format."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mace_app.data import load_prepared
from mace_app.export import (
    ExportMetadata,
    ExportRefused,
    ExportReport,
    NativeReport,
    export_metatomic,
    export_native,
    native_target,
)
from mace_app.jobs import RunFolder
from mace_app.model import GraphSource, MaceModel
from mace_app.tasks.errors import TaskError
from mace_app.tasks.sources import ModelSource, datasets_of, open_model, prepared_for


def export_model(path: Path, output: Path, structures: Path | None = None) -> ExportReport | NativeReport:
    """Export the best weights, compared on ``structures`` or on the run's own held-out ones.

    ``output`` decides on the format: ``.pt`` is metatomic's, ``.model`` mace-torch's.
    """
    if not output.parent.is_dir():
        raise TaskError(f"There is no folder {output.parent} to write {output.name} into. Make it first.")
    if output.suffix not in (".pt", ".model"):
        raise TaskError(
            f"`{output.name}` does not say which format to write: end it in `.pt` (metatomic) or `.model` (mace-torch)."
        )
    source = open_model(path)
    if output.suffix == ".model":
        native_target(source.model, source.length_unit)  # before the data are read
    with _held_out(source, structures) as graphs:
        if output.suffix == ".model":
            return export_native(source.model, output, graphs, source.length_unit)
        metadata = ExportMetadata(
            name=RunFolder(source.run).info().name if source.run is not None else path.stem,
            description="MACE trained with MACE Studio",
            length_unit=source.length_unit or "angstrom",
        )
        return export_metatomic(source.model, output, metadata, graphs, uncertainties=source.uncertainties)


def native_beside(model: MaceModel, run: RunFolder, structures: GraphSource, length_unit: str) -> dict[str, Any] | None:
    """The ``.model`` file of a finished run, as ``report.json`` tells of it; None where MACE's own readouts are not
    used. What can't be carried is no failure of the run: its reason stands under ``refused``."""
    if model.config.internal_target is None:
        return None
    try:
        return export_native(model, run.native_file, structures, length_unit).to_json()
    except ExportRefused as error:
        run.native_file.unlink(missing_ok=True)  # one of an earlier end of this run would be taken for this one's
        return {"refused": error.message}


@contextmanager
def _held_out(source: ModelSource, structures: Path | None) -> Iterator[GraphSource]:
    """Structures to compare on: those of the file, or the run's own, best those it did not learn from."""
    if structures is None and source.run is not None:
        prepared = load_prepared(source.run / "data")
        if prepared is not None:
            yield next(s for s in (prepared.test, prepared.validation, prepared.training) if len(s))
            return
    datasets = _datasets(source, structures)
    may_lack = [] if structures is None else [structures]
    with prepared_for(source.model, datasets, source.length_unit, may_lack) as prepared:
        yield prepared.training


def _datasets(source: ModelSource, structures: Path | None) -> list[dict]:
    if structures is not None:
        return datasets_of(source, [structures])
    if source.options is None:
        raise TaskError(
            "An export is compared with the model on real structures, and this checkpoint has no run beside it. Name a "
            "file with --structures."
        )
    return [dataset.model_dump() for dataset in source.options.training_datasets]
