"""A model compared with labelled structures, stored as an analysis."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mace_app.analysis import Analysis, AnalysisInfo, write_analysis
from mace_app.analysis.store import INFO
from mace_app.data import PreparedData, load_prepared, prepare
from mace_app.evaluation import Compared, Part, compare
from mace_app.files import sha256_of
from mace_app.jobs import RunFolder
from mace_app.jobs.exported_files import ExportedFile, about_export, exported_file
from mace_app.jobs.names import utc_now
from mace_app.model import MaceModel
from mace_app.options import RunOptions
from mace_app.tasks.errors import TaskError
from mace_app.tasks.setting import choose_device, set_threads
from mace_app.tasks.sources import ModelSource, Which, datasets_of, open_model, open_weights, prepared_for
from mace_app.tasks.starting import options_for
from mace_app.tasks.tables import error_table

Reading = Callable[[int, int, str], None]
SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Material:
    """Structures to compare a model with, and what they were read from."""

    parts: list[Part]
    files: list[dict[str, Any]]
    warnings: list[str]

    @property
    def structures(self) -> int:
        return sum(len(part.graphs) for part in self.parts)


def own_structures(run: RunFolder, source: ModelSource, scratch: Path, progress: Reading | None = None) -> Material:
    """The training, validation and test structures of a run: as it has packed them, else built anew in ``scratch``.
    TaskError where its files are no longer those it was trained on."""
    options = source.options if source.options is not None else run.options()
    config = source.model.config
    if config.architecture is not None:
        options = options_for(options, config.cutoff, config.atomic_types)
    splits, files = run.splits(), run.info().data
    prepared = load_prepared(run.data_path)
    if prepared is None or prepared.splits != splits or prepared.files != files:
        prepared = prepare(options, scratch, progress)
    if splits is not None and prepared.splits != splits:
        raise TaskError(
            f"The files that the run {run.id} was trained on have changed since, so its training, validation and test "
            "structures can't be told apart any more. Put the files back, or compare with a dataset."
        )
    sets = (prepared.training, prepared.validation, prepared.test)
    parts = [
        Part(name, graphs, _files_of(options, name)) for name, graphs in zip(SPLITS, sets, strict=True) if len(graphs)
    ]
    return Material(parts, prepared.files, prepared.warnings)


def _files_of(options: RunOptions, split: str) -> list[str]:
    """The paths of the data sets that ``structure_ids`` of a split counts."""
    own = {"validation": options.validation, "test": options.test}.get(split)
    datasets = own if isinstance(own, list) else options.training_datasets
    return [dataset.systems.read_from for dataset in datasets]


def other_structures(prepared: PreparedData, datasets: Sequence[dict[str, Any]]) -> Material:
    """What ``prepare_for`` made of ``datasets``, all in one part without a split."""
    systems = [entry["systems"] for entry in datasets]
    paths = [entry if isinstance(entry, str) else str(entry["read_from"]) for entry in systems]
    return Material([Part("", prepared.training, paths)], prepared.files, prepared.warnings)


def analysed(
    source: ModelSource,
    about: dict[str, Any],
    material: Material,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda structures: None,
) -> tuple[Analysis, Compared]:
    """``about`` is the ``model`` of ``AnalysisInfo``; one of the kind ``file`` is an export of ``source``, and is run:
    see ``jobs.exported_files``."""
    if material.structures == 0:
        raise TaskError("There are no structures to compare with. Name other files.")
    begun = time.monotonic()
    model: MaceModel = source.model.to(device)
    predict = None
    if about["kind"] == "file":
        from mace_app.export.exported import LoadedExport

        predict = LoadedExport(Path(about["path"]), model.config.targets, source.length_unit)
    found = compare(model, material.parts, source.length_unit, on_batch, predict=predict)
    info = AnalysisInfo(
        model=about,
        data=[{"name": Path(file["path"]).name, **file} for file in material.files],
        targets=dict(model.config.targets),
        length_unit=source.length_unit,
        created=utc_now(),
        seconds=round(time.monotonic() - begun, 3),
        map=found.map,
        uncertainty=found.uncertainty,
        warnings=list(material.warnings),
    )
    return Analysis(info, found.structures, found.numbers, found.positions, found.labels), found


def analyse_model(
    path: Path,
    data: Sequence[Path],
    output: Path,
    which: Which = "best",
    head: str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> str:
    """Compare, write the result to ``output``, and give the text to show. Without ``data``: with the structures of the
    run itself."""
    if output.exists() and not (output / INFO).is_file():
        raise TaskError(f"{output} is there already and holds no analysis. Name another folder with `-o`.")
    set_threads(threads)
    exported = exported_file(path) if path.suffix == ".pt" else None
    source = open_model(path, head, which) if exported is None else source_of(exported)
    chosen = choose_device(device)
    about = _about(path, source, which, head) if exported is None else about_export(exported)
    if data:
        datasets = datasets_of(source, data)
        with prepared_for(source.model, datasets, source.length_unit, may_lack=data) as prepared:
            analysis, found = analysed(source, about, other_structures(prepared, datasets), chosen)
    else:
        if source.run is None:
            raise TaskError(f"{path} has no structures of its own. Name the files to compare it with.")
        with tempfile.TemporaryDirectory(prefix="mace-studio-") as scratch:
            material = own_structures(RunFolder(source.run), source, Path(scratch))
            analysis, found = analysed(source, about, material, chosen)
    write_analysis(output, analysis)
    return _said(analysis, found, output)


def source_of(exported: ExportedFile, weights: Path | None = None) -> ModelSource:
    """The model an exported file was made from; ``weights`` is a copy of its checkpoint. TaskError where a run has come
    further since."""
    if exported.run is None:
        assert exported.foundation is not None
        original = exported.foundation.source_path
        if sha256_of(original) != exported.source_sha256:
            raise TaskError(f"{original} is no longer the file that {exported.path} was made from. Export it again.")
        return open_model(original, exported.head)
    source = open_weights(weights or exported.run.checkpoint_path("best"), exported.run.path)
    if source.epoch != exported.epoch:
        raise TaskError(
            f"{exported.path} was made from epoch {exported.epoch}, and the best of the run is epoch {source.epoch} by "
            "now. Export the model again, or analyse the run."
        )
    return source


def _about(path: Path, source: ModelSource, which: Which, head: str | None) -> dict[str, Any]:
    if path.suffix == ".model":
        return {
            "kind": "foundation",
            "id": path.stem,
            "name": path.name,
            "head": head,
            "path": str(path.resolve()),
            "sha256": sha256_of(path),
        }
    run = path if source.run is None else source.run
    return {
        "kind": "run",
        "id": run.resolve().name,
        "name": RunFolder(run).info().name if (run / "run.json").is_file() else path.name,
        "which": which,
        "path": str(path.resolve()),
        "epoch": source.epoch,
    }


def _said(analysis: Analysis, found: Compared, output: Path) -> str:
    lines = [f"Warning: {warning}" for warning in analysis.info.warnings]
    atoms = int(analysis.structures.n_atoms.sum())
    for split, errors in found.errors.items():
        count = int((analysis.structures.split == split).sum())
        lines.append(f"{split or 'All'}: {count} structures" + ("" if split else f", {atoms} atoms"))
        lines.append(error_table(errors) if errors else "There are no labels to compare with.")
    lines.append(f"Analysis: {output}")
    return "\n".join(lines)
