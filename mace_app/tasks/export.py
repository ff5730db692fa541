"""A run or a checkpoint as a metatomic file."""

from pathlib import Path

from mace_app.data import load_prepared
from mace_app.export import ExportMetadata, ExportReport, export_metatomic
from mace_app.jobs import RunFolder
from mace_app.tasks.errors import TaskError
from mace_app.tasks.sources import ModelSource, datasets_of, open_model, prepared_for


def export_model(path: Path, output: Path, structures: Path | None = None) -> ExportReport:
    """Export the best weights, compared on ``structures`` or on the run's own held-out ones."""
    if not output.parent.is_dir():
        raise TaskError(f"There is no folder {output.parent} to write {output.name} into. Make it first.")
    source = open_model(path)
    metadata = ExportMetadata(
        name=RunFolder(source.run).info().name if source.run is not None else path.stem,
        description="MACE trained with MACE Studio",
        length_unit=source.length_unit or "angstrom",
    )
    if structures is None and source.run is not None:
        prepared = load_prepared(source.run / "data")
        if prepared is not None:
            held_out = next(s for s in (prepared.test, prepared.validation, prepared.training) if len(s))
            return export_metatomic(source.model, output, metadata, held_out)
    datasets = _datasets(source, structures)
    with prepared_for(source.model, datasets, source.length_unit) as prepared:
        return export_metatomic(source.model, output, metadata, prepared.training)


def _datasets(source: ModelSource, structures: Path | None) -> list[dict]:
    if structures is not None:
        return datasets_of(source, [structures])
    if source.options is None:
        raise TaskError(
            "An export is compared with the model on real structures, and this checkpoint has no run beside it. Name a "
            "file with --structures."
        )
    return [dataset.model_dump() for dataset in source.options.training_datasets]
