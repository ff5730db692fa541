"""The work of one analysis folder: read the model and the data, predict, write the result. Nothing heavy is imported
before it has said that it lives."""

import shutil
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from mace_app.jobs import AnalysisFolder, AnalysisProgress, JobsError, RunFolder
from mace_app.jobs.analysis_folder import RESULT, AnalysisPhase

if TYPE_CHECKING:
    from mace_app.analysis import Analysis
    from mace_app.tasks.analyse import Material
    from mace_app.tasks.sources import ModelSource

DONE, FAILED, CANCELLED = 0, 1, 2
INTERVAL_SECONDS = 0.5
# How far the bar of the whole job is when a phase begins.
_BEGINS: dict[AnalysisPhase, float] = {"waiting": 0.0, "reading": 0.0, "predicting": 0.2, "saving": 0.97, "done": 1.0}
_NEXT: dict[AnalysisPhase, AnalysisPhase] = {"reading": "predicting", "predicting": "saving", "saving": "done"}


class Cancelled(Exception):
    """Somebody asked for the end."""


class Watch:
    """Tells how far the job is and looks whether it shall end, each about twice a second."""

    def __init__(self, folder: AnalysisFolder) -> None:
        self.folder = folder
        self._phase: AnalysisPhase = "waiting"
        self._message = ""
        self._begun = self._told = time.monotonic()

    def begin(self, phase: AnalysisPhase, message: str) -> None:
        self._phase, self._message, self._begun = phase, message, time.monotonic()
        self._tell(None, None)

    def count(self, done: float, total: float, message: str | None = None) -> None:
        if message is not None:
            self._message = message
        if time.monotonic() - self._told >= INTERVAL_SECONDS:
            self._tell(done, total)

    def _tell(self, done: float | None, total: float | None) -> None:
        self._told = time.monotonic()
        begins = _BEGINS[self._phase]
        share = min(done / total, 1.0) if done and total else 0.0
        fraction = begins + share * (_BEGINS[_NEXT.get(self._phase, "done")] - begins)
        # Reading says nothing of how fast the model is.
        counts = self._phase == "predicting" and share > 0
        left = (self._told - self._begun) * (1 - share) / share if counts else None
        self.folder.write_progress(AnalysisProgress(self._phase, self._message, done, total, fraction, left))
        if self.folder.cancelled():
            raise Cancelled


def work_analysis(folder: AnalysisFolder) -> int:
    """Do what was requested and write down how it ended. 0, 1 on failure, 2 when cancelled."""
    folder.set_state("running")
    _tidy(folder)
    watch = Watch(folder)
    try:
        watch.begin("reading", "Starting")
        _work(folder, watch)
    except Cancelled:
        folder.set_state("cancelled")
        return CANCELLED
    except KeyboardInterrupt:
        folder.set_state("failed", "The analysis was interrupted. Ask for it again.")
        return FAILED
    except JobsError as error:
        folder.set_state("failed", str(error))
        return FAILED
    except Exception as error:  # noqa: BLE001 — whatever it is, the page must be told
        folder.set_state("failed", _sentence(error, folder))
        return FAILED
    finally:
        shutil.rmtree(folder.data_path, ignore_errors=True)
        folder.forget_weights()
    folder.set_state("done")
    return DONE


def _tidy(folder: AnalysisFolder) -> None:
    """What a process that was killed left."""
    shutil.rmtree(folder.data_path, ignore_errors=True)
    for path in folder.path.glob(f".{RESULT}-*"):
        shutil.rmtree(path, ignore_errors=True)


def _work(folder: AnalysisFolder, watch: Watch) -> None:
    from mace_app.analysis import write_analysis

    request = folder.request()
    watch.begin("reading", f"Opening {request.model['name']}")
    source = _model(folder, request.model)
    watch.begin("reading", "Reading the structures")
    material = _data(folder, request.model, request.data, source, watch)
    watch.begin("predicting", f"Predicting {material.structures} structures")
    analysis = _predicted(source, request.model, material, watch)
    watch.begin("saving", "Writing the result")
    write_analysis(folder.result_path, analysis)


def _model(folder: AnalysisFolder, about: dict[str, Any]) -> "ModelSource":
    from pathlib import Path

    from mace_app.files import sha256_of
    from mace_app.jobs.exported_files import exported_file
    from mace_app.tasks.analyse import source_of
    from mace_app.tasks.errors import TaskError
    from mace_app.tasks.sources import open_model, open_weights

    path = Path(about["path"])
    if about["kind"] == "file":
        return source_of(exported_file(path), folder.weights_file if folder.weights_file.exists() else None)
    if about["kind"] == "run":
        about["sha256"] = sha256_of(folder.weights_file)
        return open_weights(folder.weights_file, path, about["which"])
    if sha256_of(path) != about["sha256"]:
        raise TaskError(f"{path} is no longer the file that was asked about. Read the foundation model again.")
    return open_model(path, about["head"])


def _data(
    folder: AnalysisFolder, model: dict[str, Any], data: dict[str, Any], source: "ModelSource", watch: Watch
) -> "Material":
    from pathlib import Path

    from mace_app.options.datasets import ANGSTROM_PER_UNIT
    from mace_app.tasks.analyse import other_structures, own_structures
    from mace_app.tasks.errors import TaskError
    from mace_app.tasks.sources import prepare_for

    if data["kind"] == "splits":
        path = Path(model["path"])
        run = RunFolder(path.parent if model["kind"] == "file" else path)
        return own_structures(run, source, folder.data_path, watch.count)
    if ANGSTROM_PER_UNIT[data["length_unit"]] != ANGSTROM_PER_UNIT[source.length_unit]:
        raise TaskError(
            f"Lengths in {data['name']} are in `{data['length_unit'] or 'angstrom'}`, but in "
            f"`{source.length_unit or 'angstrom'}` in the model, so they can't be compared. Convert the file."
        )
    systems = {"read_from": data["path"], "length_unit": source.length_unit}
    datasets = [{"systems": systems, "targets": data["targets"]}]
    path = Path(data["path"])
    prepared = prepare_for(source.model, datasets, source.length_unit, folder.data_path, [path], watch.count)
    if prepared.files[0]["sha256"] != data["sha256"]:
        raise TaskError(f"{path} has changed since the analysis was asked for. Ask for it again.")
    return other_structures(prepared, datasets)


def _predicted(source: "ModelSource", about: dict[str, Any], material: "Material", watch: Watch) -> "Analysis":
    """On the first GPU there is; on the processor where its memory, which a training may use, is not enough. Half of
    the threads: beside a training that uses all cores, threads that wait for each other make both many times slower."""
    import torch

    from mace_app.export.fresh import half_the_threads
    from mace_app.tasks.analyse import analysed
    from mace_app.tasks.setting import choose_device

    def attempt(device: torch.device) -> "Analysis":
        done = 0

        def on_batch(structures: int) -> None:
            nonlocal done
            done += structures
            watch.count(done, material.structures)

        return analysed(source, about, material, device, on_batch)[0]

    device = choose_device("auto")
    with half_the_threads():
        try:
            return attempt(device)
        except torch.OutOfMemoryError:
            if device.type == "cpu":
                raise
            print(f"The memory of {device} is not enough; going on with the processor.", flush=True)
        return attempt(torch.device("cpu"))


def _sentence(error: Exception, folder: AnalysisFolder) -> str:
    from mace_app.tasks.errors import EXPECTED, out_of_memory, sentence

    if out_of_memory(error):
        return "The memory of the machine is not enough for the analysis. Close other programs, then ask again."
    if not isinstance(error, EXPECTED):
        traceback.print_exc(file=sys.stderr)
    return sentence(error, folder.output_file.name)
