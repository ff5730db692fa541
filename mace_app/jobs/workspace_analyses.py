"""Models of the workspace asked about data: the same question finds the answer that is there."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mace_app.jobs.analysis_choices import data_asked, model_asked
from mace_app.jobs.analysis_folder import (
    FOLDER_NAME,
    WEIGHTS,
    AnalysisFolder,
    AnalysisRequest,
    DataChoice,
    ModelChoice,
)
from mace_app.jobs.dataset_folder import DatasetFolder
from mace_app.jobs.errors import JobsError, QueueError, WorkspaceError
from mace_app.jobs.folders import building_folder, delete_folder, listed
from mace_app.jobs.names import is_folder_name
from mace_app.jobs.workspace_foundations import END_PATIENCE_SECONDS, WorkspaceFoundations


class WorkspaceAnalyses(WorkspaceFoundations):
    """Analyses lie with their model, in ``runs/<id>/analyses`` or ``foundations/<id>/analyses``, and those of other
    files in ``analyses``; their names are different throughout a workspace."""

    def dataset(self, identifier: str) -> DatasetFolder:
        raise NotImplementedError

    def analyses(self) -> list[AnalysisFolder]:
        """Of everything, those asked for last first."""
        found = [AnalysisFolder(path) for parent in self.analysis_parents() for path in _inside(parent)]
        return sorted(found, key=lambda folder: (folder.requested_at(), folder.id), reverse=True)

    def analysis(self, identifier: str) -> AnalysisFolder:
        if is_folder_name(identifier):
            for parent in self.analysis_parents():
                if (parent / identifier).is_dir():
                    return AnalysisFolder(parent / identifier)
        raise WorkspaceError(f"There is no analysis {identifier!r}. It may have been deleted; ask for it again.")

    def request_analysis(self, model: ModelChoice, data: DataChoice | None = None) -> AnalysisFolder:
        """The analysis of this model on these data, as it is if it is there or at work; else queued, to be followed by
        ``ensure_supervisor``. WorkspaceError for what can't be compared. Without data: the run's own structures."""
        asked = model_asked(self, model)
        about = data_asked(self, asked, data or DataChoice())
        try:
            asked.parent.mkdir(exist_ok=True)
            building = building_folder(asked.parent)
            try:
                if asked.checkpoint is not None:
                    _keep(asked.checkpoint, building / WEIGHTS)
                    asked = asked.with_weights(building / WEIGHTS)
                request = AnalysisRequest(asked.about, about)
                AnalysisFolder(building).write_request(request)
                folder = AnalysisFolder(asked.parent / _key(request, asked.identity))
                if self._there(folder):
                    return folder
                _put(building, folder.path)
            finally:
                shutil.rmtree(building, ignore_errors=True)
        except OSError as error:
            raise WorkspaceError(
                f"The analysis could not be stored: {error.strerror or error}. Is the disk full?"
            ) from error
        with suppress(QueueError):  # somebody asked the same at the same moment
            self.queue.enqueue("analyse", self._job(folder), then=folder.begin)
        return folder

    def cancel_analysis(self, folder: AnalysisFolder) -> None:
        """End a waiting job at once, a running one within about a second."""
        folder.cancel()
        if self.queue.cancel(self._job(folder), then=lambda: folder.set_state("cancelled")):
            folder.forget_weights()

    def delete_analysis(self, identifier: str) -> None:
        """Delete an analysis that is not at work, with its result."""
        folder = self.analysis(identifier)
        if self.queue.active_job(self._job(folder)) is not None:
            raise WorkspaceError(f"The analysis {identifier} is at work. Cancel it, then delete it.")
        delete_folder(folder.path)

    def unfinished_analyses(self) -> Iterator[AnalysisFolder]:
        """Those that wait or are at work by their own account; only these have a ``progress.json``."""
        for parent in self.analysis_parents():
            for path in _inside(parent):
                folder = AnalysisFolder(path)
                with suppress(JobsError, OSError):
                    if (path / "progress.json").exists() and folder.at_work():
                        yield folder

    def refuse_if_compared(self, dataset: DatasetFolder) -> None:
        """WorkspaceError if an analysis that waits or is at work needs the dataset."""
        for folder in self.unfinished_analyses():
            if folder.request().data.get("id") == dataset.id:
                raise WorkspaceError(
                    f"The dataset {dataset.id} is being compared with a model. Cancel the analysis {folder.id} first."
                )

    def _job(self, folder: AnalysisFolder) -> str:
        return folder.path.relative_to(self.root).as_posix()

    def analysis_parents(self) -> Iterator[Path]:
        """The folders of analyses that there are."""
        yield from (path for path in (self.root / FOLDER_NAME,) if path.is_dir())
        for parent in (self.runs_path, self.foundations_path):
            for path in sorted(parent.iterdir()):
                if listed(path) and (path / FOLDER_NAME).is_dir():
                    yield path / FOLDER_NAME

    def _there(self, folder: AnalysisFolder) -> bool:
        """Whether nothing has to be done. Waits for a process that has said how it ended and is not gone yet."""
        if not folder.path.is_dir():
            return False
        if folder.answered():
            return True
        job = self._job(folder)
        deadline = time.monotonic() + END_PATIENCE_SECONDS
        while self.queue.active_job(job) is not None:
            if folder.at_work():
                return True
            if time.monotonic() > deadline:
                raise WorkspaceError(f"The process of the analysis {folder.id} is still ending. Try again soon.")
            time.sleep(0.05)
        return folder.answered()


def _inside(parent: Path) -> Iterator[Path]:
    return (path for path in parent.iterdir() if listed(path))


def _keep(checkpoint: Path, destination: Path) -> None:
    """The file as it is now, whatever replaces it later: checkpoints are renamed into place, never written into."""
    try:
        os.link(checkpoint, destination)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(checkpoint, destination)


def _put(building: Path, destination: Path) -> None:
    """In place of what an earlier job, which failed or was cancelled, was asked."""
    if not destination.is_dir():
        with suppress(OSError):
            building.rename(destination)
            return
    for path in building.iterdir():
        os.replace(path, destination / path.name)


def _key(request: AnalysisRequest, identity: Any) -> str:
    """``best-12-splits-`` or ``data-set-`` and a checksum of all that the result depends on."""
    model, data = request.model, request.data
    about = [model["kind"], model["id"], model.get("which"), model.get("head"), identity]
    about += [{key: value for key, value in data.items() if key != "name"}]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    words: list[Any] = []
    if model["kind"] != "foundation":
        words = [model["which"], model["epoch"]] if model["kind"] == "run" else ["file"]
    words.append("splits" if data["kind"] == "splits" else data["id"][:50])
    return "-".join(map(str, [*words, digest]))
