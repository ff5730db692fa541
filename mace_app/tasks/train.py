"""A training from options to an exported model, inside one run folder."""

import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from mace_app.data import GraphSet, PreparedData, prepare
from mace_app.evaluation import Evaluation, evaluate
from mace_app.export import ExportMetadata, ExportRefused, ExportReport, check_exportable, export_metatomic
from mace_app.jobs import Failure, JobsError, RunFolder, RunFolderError
from mace_app.jobs.disk_space import disk_is_full
from mace_app.jobs.errors import DiskFull
from mace_app.model import EnergyUncertainty, MaceModel, ModelConfig, add_asked_corrections
from mace_app.options import OptionsError, RunOptions, dump_options
from mace_app.published import published_as
from mace_app.tasks.errors import Stopped, TaskError
from mace_app.tasks.export import native_beside
from mace_app.tasks.failures import End, Outcome, disk_full_sentence, end_of, lower_rate
from mace_app.tasks.group import call_others, join, make_trainer
from mace_app.tasks.launching import Place
from mace_app.tasks.loggers import check_loggers, write_wandb
from mace_app.tasks.normalisation import normalise
from mace_app.tasks.outliers import far_label
from mace_app.tasks.recorder import Listener, RunRecorder
from mace_app.tasks.setting import choose_device, device_name, set_seed, set_threads, versions
from mace_app.tasks.starting import DTYPES, Start, file_energies, options_for
from mace_app.tasks.statistics import label_statistics
from mace_app.tasks.uncertainty import find_uncertainties, to_json
from mace_app.training import ProcessLost, TrainingResult, load_model, reported_labels


def train_run(
    run: RunFolder,
    listener: Listener | None = None,
    threads: int | None = None,
    command: Sequence[str] | None = None,
    place: Place | None = None,
) -> Outcome:
    """Do what ``options.yaml`` of the folder asks; go on from ``checkpoints/last`` where there is one.

    Whatever happens is written into the folder: the state and, on failure, one sentence in ``run.json``, the traceback
    in ``log.txt``. SIGTERM, Ctrl-C and a stop request end the training and keep the best epoch. What can't be written
    down any more is raised: RunFolderError where the folder was deleted, DiskFull where not even this had room.
    ``place``: this is the first of several processes, which wait for it (``group.follow``).
    """
    set_threads(threads)
    recorder = RunRecorder(run, listener)
    launcher = None if place is None or place.launcher is None else place.launcher.pid
    run.start(pid=launcher, versions=versions())
    if command is not None:
        run.update(command=list(command))
    try:
        with recorder.signals(), _warnings_to(recorder):
            if place is not None:
                join(place)
                recorder.log(f"The training has {place.size} processes.")
            end = _train(run, recorder)
    except Stopped:
        end = End("stopped", "Stopped while the data were being prepared; nothing was trained yet.")
        if recorder.disk_is_low:
            end = _disk_full(run)
    except KeyboardInterrupt:
        run.set_state("interrupted", "Interrupted at the keyboard. Resume continues from the last checkpoint.")
        raise
    except Exception as error:  # noqa: BLE001 - written down where its reader looks, whatever it is
        _ensure_folder(run)
        state = run.info().state
        if isinstance(error, ProcessLost) and (state == "failed" or state == "interrupted"):
            return state  # the other one wrote down why
        end = end_of(error, _options_if_readable(run), _hope(run))
        with suppress(OSError):
            run.append_log(traceback.format_exc())
    finally:
        recorder.close_event_files()
    _write_end(run, recorder, end)
    if end.outcome in ("finished", "stopped") and recorder.stop_mode() != "now":
        _write_for_wandb(run, recorder)
    return end.outcome


def _write_for_wandb(run: RunFolder, recorder: RunRecorder) -> None:
    options = _options_if_readable(run)
    if options is None or options.wandb is None or not run.metrics().count:
        return
    try:
        folder = write_wandb(run)
    except (TaskError, OSError) as error:
        with suppress(OSError):
            recorder.log(f"Warning: {error}")
    else:
        recorder.log(f"For Weights & Biases: wandb sync {folder}")


def _write_end(run: RunFolder, recorder: RunRecorder, end: End) -> None:
    """On a full disk the log may lack it; for ``run.json`` there is room that was kept."""
    word = end.outcome.capitalize()
    try:
        recorder.log(f"{word}: {end.reason}" if end.reason else f"{word}.")
        recorder.flush()
    except OSError as error:
        _ensure_folder(run)
        if not disk_is_full(error):
            raise
    try:
        run.set_state(end.outcome, end.reason, end.failure)
    except OSError as error:
        if disk_is_full(error):
            raise DiskFull(disk_full_sentence(_hope(run))) from error
        raise


def _ensure_folder(run: RunFolder) -> None:
    if not run.path.is_dir():
        raise RunFolderError(f"The folder {run.path} was deleted while the training was at work in it; it ended.")


def _options_if_readable(run: RunFolder) -> RunOptions | None:
    try:
        return run.options()
    except (JobsError, OptionsError, OSError):
        return None


def _hope(run: RunFolder) -> str:
    epoch = run.last_epoch()
    return "Resume begins again." if epoch is None else f"Resume continues from epoch {epoch}."


def _disk_full(run: RunFolder) -> End:
    return End("interrupted", disk_full_sentence(_hope(run)), Failure("disk_full"))


def _train(run: RunFolder, recorder: RunRecorder) -> End:
    options = _with_seed(run)
    assert options.seed is not None
    check_loggers(options)
    device = choose_device(options.device)
    run.update(device=str(device), seed=options.seed)
    recorder.log(f"Training on {device_name(device)}, {options.base_precision} bit, seed {options.seed}.")
    resume = run.checkpoint_path("last")
    begun = resume.exists()
    model: MaceModel
    if begun:
        model = load_model(resume).to(device)
        if model.config.architecture is not None:
            seen = options_for(options, model.config.cutoff, model.config.atomic_types)
        else:
            seen = options
        prepared = _prepare(run, seen, recorder)
        set_seed(options.seed)
    else:
        start = Start.of(options)
        prepared = _prepare(run, options if start is None else start.options(options), recorder)
        set_seed(options.seed)
        model = make_model(options, prepared, start).to(device)
        fit_normalisation(model, options, prepared, recorder, start)
        if start is not None:
            run.write_foundation(start.to_json())
    parameters = sum(weight.numel() for weight in model.parameters())
    run.update(parameters=parameters)
    recorder.log(f"The model has {parameters} weights; an atom sees {model.config.avg_num_neighbors:.1f} neighbours.")
    kernels = model.backbone.kernels()
    recorder.log(f"Kernels: {kernels.name}. {kernels.reason}")
    check_exportable(model, _metadata(options, run))  # now rather than after hours of training

    training = options.architecture.training
    targets = model.config.trained_targets
    length_unit = options.training_datasets[0].systems.length_unit
    reported = reported_labels(targets, model.config.per_structure_targets, length_unit, training.log_separate_blocks)
    run.start_metrics({label: entry.unit for label, entry in reported.items()}, list(reported))
    if options.tensorboard:
        recorder.open_event_files(run.last_epoch() if begun else None)
    processes = call_others(run, model, device, begun)
    trainer = make_trainer(model, prepared, options, recorder, device, processes)
    result = trainer.run(resume if begun else None)
    run.update(best_epoch=result.best_epoch)
    return _finish(run, options, prepared, recorder, result, device)


def _with_seed(run: RunFolder) -> RunOptions:
    """The options; a seed that was left open is drawn and written into them, so that a resume repeats it."""
    options = run.options()
    if options.seed is not None:
        return options
    seed = run.info().seed
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    options = options.model_copy(update={"seed": seed})
    run.write_options(dump_options(options))
    return options


def _prepare(run: RunFolder, options: RunOptions, recorder: RunRecorder) -> PreparedData:
    def progress(done: int, total: int, message: str) -> None:
        if recorder.stop_requested():
            raise Stopped
        recorder.progress(phase="preparing", message=message, done=done, total=total)

    recorder.progress(phase="preparing", message="Reading the data")
    prepared = prepare(options, run.data_path, progress)
    run.write_splits(prepared.splits)
    run.update(data=prepared.files)
    for file in prepared.files:
        recorder.log(f"{file['path']}: {file['structures']} structures")
    sizes = (
        f"{len(prepared.training)} to train on, {len(prepared.validation)} to validate, {len(prepared.test)} to test"
    )
    recorder.log(f"Structures: {sizes}.")
    for warning in prepared.warnings:
        recorder.log(f"Warning: {warning}")
    count = len(prepared.training) + len(prepared.validation) + len(prepared.test)
    if options.print_stats is True or (options.print_stats == "auto" and count < 1_000_000):
        for line in label_statistics(prepared, list(_labels(prepared))):
            recorder.log(line)
    return prepared


def _labels(prepared: PreparedData) -> list[str]:
    return [label for target in prepared.targets.values() for label in target.labels()]


def make_model(options: RunOptions, prepared: PreparedData, start: Start | None = None) -> MaceModel:
    """From ``start``, or random weights from torch's global generator; baseline 0, scale 1."""
    if start is not None:
        model = start.model(options, prepared)
        add_asked_corrections(model, options.architecture.training)
        return model
    hypers = options.architecture.model
    neighbours = hypers.avg_num_neighbors
    config = ModelConfig(
        hypers=hypers,
        atomic_types=prepared.atomic_types,
        targets=prepared.targets,
        avg_num_neighbors=prepared.training.avg_num_neighbors() if neighbours == "auto" else neighbours,
        per_structure_targets=tuple(options.architecture.training.per_structure_targets),
    )
    model = MaceModel(config, DTYPES[options.base_precision])
    add_asked_corrections(model, options.architecture.training)
    return model


def fit_normalisation(
    model: MaceModel,
    options: RunOptions,
    prepared: PreparedData,
    recorder: RunRecorder,
    start: Start | None = None,
) -> None:
    recorder.progress(phase="preparing", message="Fitting baseline and scale")
    training = options.architecture.training
    energies = None
    if start is not None:
        for line in start.lines(model.config):
            recorder.log(line)

        def progress(done: int, total: int) -> None:
            if recorder.stop_requested():
                raise Stopped
            message = "Comparing the foundation file with the data"
            recorder.progress(phase="preparing", message=message, done=done, total=total)

        length_unit = options.training_datasets[0].systems.length_unit
        energies = file_energies(start, model, training, prepared, length_unit, progress)
    for line in normalise(model.config, model.baseline, model.scaler, training, prepared, energies).lines():
        recorder.log(line)


def _metadata(options: RunOptions, run: RunFolder) -> ExportMetadata:
    info = run.info()
    description = f"MACE trained with MACE Studio, run {info.id}"
    file = options.architecture.model.mace_model
    published = None if file is None else published_as(Path(file).name)
    if file is not None:
        known = f"{published.title}, licence {published.licence}" if published else Path(file).name
        description += f", from {known}"
    return ExportMetadata(
        name=info.name,
        description=description,
        references={"model": [published.reference]} if published else {},
        length_unit=options.training_datasets[0].systems.length_unit or "angstrom",
    )


def _finish(
    run: RunFolder,
    options: RunOptions,
    prepared: PreparedData,
    recorder: RunRecorder,
    result: TrainingResult,
    device: torch.device,
) -> End:
    """Export and evaluate the best epoch; then how the run ended."""
    failure = None
    if result.failure is not None:
        failure, result = _why_it_diverged(options, prepared, result)
    if recorder.disk_is_low and result.stopped:
        return _disk_full(run)
    if result.best_epoch is None:
        if result.failure is not None:
            return End("failed", result.failure, failure)
        return End("stopped", "Stopped before the first epoch was finished, so there is no model. Resume continues.")
    if recorder.stop_mode() == "now":
        told = f"Stopped after epoch {result.last_epoch}, at once and without an export. Resume continues."
        return End("stopped", told)
    model = load_model(run.checkpoint_path("best")).to(device)
    refused: ExportRefused | None = None
    exported: ExportReport | None = None
    recorder.progress(phase="exporting", message=f"Exporting epoch {result.best_epoch}", best_epoch=result.best_epoch)
    uncertainties = find_uncertainties(model, run, prepared, options.architecture.training.batch_size, recorder)
    try:
        exported = export_metatomic(
            model, run.model_file, _metadata(options, run), _held_out(prepared), uncertainties=uncertainties
        )
    except ExportRefused as error:
        refused = error
    length_unit = options.training_datasets[0].systems.length_unit
    native = native_beside(model, run, _held_out(prepared), length_unit)
    splits = _evaluate_splits(model, options, prepared, recorder) if options.final_eval else {}
    _write_report(run, recorder, result, splits, exported, native, uncertainties)
    _say_if_worse_than_the_file(run, recorder, result.best_epoch)
    recorder.progress(phase="done", message="Done", eta_seconds=0.0, best_epoch=result.best_epoch)
    if refused is not None:
        raise refused
    kept = f"epoch {result.best_epoch}, was exported as {run.model_file.name}"
    if result.failure is not None:
        return End("failed", f"{result.failure} The best so far, {kept}.", failure)
    if result.stopped:
        done = f"{result.last_epoch} of {options.architecture.training.num_epochs} epochs"
        return End("stopped", f"Stopped after {done}; the best, {kept}. Resume continues.")
    return End("finished", None if result.reason is None else f"{result.reason} The best, {kept}.")


def _say_if_worse_than_the_file(run: RunFolder, recorder: RunRecorder, best_epoch: int) -> None:
    if _worse_than_the_file(run, best_epoch):
        recorder.log(
            "Warning: No epoch was better on the validation set than the foundation file itself (epoch 0). Lower "
            "`learning_rate`, train less of it (`freeze`), or give more structures."
        )


def _worse_than_the_file(run: RunFolder, best_epoch: int) -> bool:
    if run.foundation() is None or best_epoch == 0:
        return False
    history = run.metrics()
    before, best = history.value("monitored", 0), history.value("monitored", best_epoch)
    return before is not None and best is not None and best > before


def _why_it_diverged(
    options: RunOptions, prepared: PreparedData, result: TrainingResult
) -> tuple[Failure, TrainingResult]:
    """A bad label, which is named then, or else the learning rate."""
    label = far_label(options, prepared)
    if label is None:
        return Failure("diverged", lower_rate(options.architecture.training)), result
    return Failure("bad_data"), replace(result, failure=f"{result.failure} {label}")


def _write_report(
    run: RunFolder,
    recorder: RunRecorder,
    result: TrainingResult,
    splits: dict[str, Evaluation],
    exported: ExportReport | None,
    native: dict[str, Any] | None,
    uncertainties: dict[str, EnergyUncertainty],
) -> None:
    report: dict[str, Any] = {
        "best_epoch": result.best_epoch,
        "splits": {name: evaluation.to_json() for name, evaluation in splits.items()},
    }
    if uncertainties:
        report["uncertainty"] = to_json(uncertainties)
    if exported is not None:
        report["export"] = exported.to_json()
        for check in exported.checks:
            recorder.log(f"Export, {check}")
    if native is not None:
        report["native"] = native
        recorder.log(_about_native(native))
    foundation = run.foundation()
    if foundation is not None:
        report["foundation"] = foundation
    run.write_report(report)


def _about_native(native: dict[str, Any]) -> str:
    if "refused" in native:
        return f"No file for mace-torch: {native['refused']}"
    left_out = f"; left out: {', '.join(native['left_out'])}" if native["left_out"] else ""
    return f"{native['file']} for mace-torch: {native['target']}, checked with its own calculator{left_out}."


def _held_out(prepared: PreparedData) -> GraphSet:
    """Structures the model did not learn from, where there are any."""
    return next(graphs for graphs in (prepared.test, prepared.validation, prepared.training) if len(graphs))


def _evaluate_splits(
    model: MaceModel, options: RunOptions, prepared: PreparedData, recorder: RunRecorder
) -> dict[str, Evaluation]:
    """Errors of the model on every split; what a stop cuts short is left out."""
    sets = {"training": prepared.training, "validation": prepared.validation, "test": prepared.test}
    total = sum(len(graphs) for graphs in sets.values())
    done = 0

    def on_batch(structures: int) -> None:
        nonlocal done
        done += structures
        recorder.progress(phase="evaluating", message="Errors of the exported model", done=done, total=total)
        if recorder.stop_mode() == "now":
            raise Stopped

    found = {}
    for name, graphs in sets.items():
        if len(graphs) == 0:
            continue
        try:
            found[name] = evaluate(
                model,
                graphs,
                options.architecture.training.batch_size,
                options.training_datasets[0].systems.length_unit,
                on_batch=on_batch,
                most_atoms=options.architecture.training.batch_atom_bounds[1],
                separate_blocks=options.architecture.training.log_separate_blocks,
            )
        except Stopped:
            break
        for label, errors in found[name].errors.items():
            recorder.log(f"{name}: {label} MAE {errors.mae:.5g}, RMSE {errors.rmse:.5g} {errors.unit}")
    return found


@contextmanager
def _warnings_to(recorder: RunRecorder) -> Iterator[None]:
    """Python warnings go to the log, once each, instead of between the lines of a progress bar."""
    seen: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = f"{category.__name__}: {str(message).splitlines()[0]} ({Path(filename).name}:{lineno})"
        if text not in seen:
            seen.add(text)
            recorder.run.append_log(text)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield
