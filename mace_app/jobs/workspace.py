"""The workspace: one folder that holds the datasets, the foundation models, the runs and the queue."""

import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mace_app.files import read_json
from mace_app.jobs import processes
from mace_app.jobs.data_roots import allowed_path, readable_file
from mace_app.jobs.dataset_folder import DatasetFolder
from mace_app.jobs.errors import RunFolderError, WorkspaceError
from mace_app.jobs.foundation_folder import FoundationFolder
from mace_app.jobs.names import display_name, is_folder_name, run_id, safe_file_name, slug
from mace_app.jobs.queue import JobQueue
from mace_app.jobs.run_folder import RunFolder
from mace_app.jobs.run_state import ACTIVE_STATES, RESUMABLE_STATES, StopMode
from mace_app.jobs.source_folder import SourceFolder
from mace_app.published import DOWNLOADABLE

if TYPE_CHECKING:
    from mace_app.options import Problem, RunOptions

ENVIRONMENT_VARIABLE = "MACE_APP_WORKSPACE"
MOST_ATTEMPTS = 1000
# A run says how it ended a moment before its process is gone and its job is off the queue.
RESUME_PATIENCE_SECONDS = 5.0


class Workspace:
    """Datasets, foundation models, runs and the queue under ``root``, made if absent (default: MACE_APP_WORKSPACE, else
    ``./workspace``).

    Methods that put a job in the queue do not start it: call ``ensure_supervisor`` after them.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        chosen = root if root is not None else os.environ.get(ENVIRONMENT_VARIABLE) or "workspace"
        self.root = Path(chosen).expanduser().resolve()
        try:
            for folder in (self.datasets_path, self.foundations_path, self.runs_path):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(
                f"The workspace {self.root} cannot be made: {error.strerror}. "
                f"Choose another folder with {ENVIRONMENT_VARIABLE}."
            ) from error
        self.queue = JobQueue(self.root / "queue.sqlite")

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    @property
    def datasets_path(self) -> Path:
        return self.root / "datasets"

    @property
    def foundations_path(self) -> Path:
        return self.root / "foundations"

    @property
    def runs_path(self) -> Path:
        return self.root / "runs"

    # Datasets

    def datasets(self) -> list[DatasetFolder]:
        """In the order of their folders' names."""
        return [DatasetFolder(path) for path in sorted(self.datasets_path.iterdir()) if _listed(path)]

    def dataset(self, identifier: str) -> DatasetFolder:
        path = self.datasets_path / identifier
        if not is_folder_name(identifier) or not path.is_dir():
            raise WorkspaceError(f"There is no dataset {identifier!r}. It may have been deleted.")
        return DatasetFolder(path)

    def add_dataset(
        self,
        name: str,
        source: Path | str | BinaryIO,
        original: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> DatasetFolder:
        """Add a file of this machine by its path, not copied, or an upload, written to disk in pieces.

        ``original`` is the uploaded file's own name; ``progress`` is told the bytes written so far.
        """
        building = _building_folder(self.datasets_path)
        folder = DatasetFolder(building)
        try:
            if isinstance(source, Path | str):
                path = readable_file(source, self.root)
                shown = display_name(name, path.stem)
                folder.write_source(shown, path.name, path)
            else:
                given = original or str(getattr(source, "name", ""))
                file_name = safe_file_name(given, "structures.xyz")
                shown = display_name(name, Path(file_name).stem)
                folder.store(source, file_name, progress)
                folder.write_source(shown, file_name)
            base = slug(shown, "dataset")
            return DatasetFolder(
                _move_into_place(building, self.datasets_path, lambda n: base if n == 1 else f"{base}-{n}")
            )
        except OSError as error:
            raise WorkspaceError(f"The dataset {name!r} could not be stored: {error}. Is the disk full?") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def delete_dataset(self, identifier: str) -> None:
        """Delete what the workspace holds of it; a file outside stays. Refused while an unfinished run needs it."""
        folder = self.dataset(identifier)
        if self.queue.active_job(f"datasets/{identifier}") is not None:
            raise WorkspaceError(f"The dataset {identifier} is being inspected. Cancel the inspection, then delete it.")
        self._refuse_if_needed(folder)
        _delete(folder.path)

    def _refuse_if_needed(self, folder: SourceFolder) -> None:
        """WorkspaceError if a run that is not over works with a file in ``folder``."""
        for run in self.runs():
            try:
                needed = run.info().state in ACTIVE_STATES and str(folder.path) in run.options_text()
            except RunFolderError:
                continue
            if needed:
                raise WorkspaceError(
                    f"The run {run.id} still works with the {folder.thing} {folder.id}. Stop the run first."
                )

    def start_inspection(self, dataset: DatasetFolder) -> None:
        """Queue an inspection; an earlier result is forgotten."""
        job = f"datasets/{dataset.id}"
        if self.queue.active_job(job) is not None:
            raise WorkspaceError(f"The dataset {dataset.id} is already being inspected. Wait, or cancel it first.")
        dataset.begin_inspection()
        self.queue.enqueue("inspect", job)

    def cancel_inspection(self, dataset: DatasetFolder) -> None:
        """End a waiting inspection at once, a running one within about a second."""
        dataset.cancel_inspection()
        if self.queue.cancel(f"datasets/{dataset.id}"):
            dataset.end_cancelled_inspection()

    # Foundation models

    def foundations(self) -> list[FoundationFolder]:
        """In the order of their folders' names."""
        return [FoundationFolder(path) for path in sorted(self.foundations_path.iterdir()) if _listed(path)]

    def foundation(self, identifier: str) -> FoundationFolder:
        path = self.foundations_path / identifier
        if not is_folder_name(identifier) or not path.is_dir():
            raise WorkspaceError(f"There is no foundation model {identifier!r}. It may have been deleted.")
        return FoundationFolder(path)

    def add_foundation(
        self,
        name: str,
        source: Path | str | BinaryIO,
        original: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> FoundationFolder:
        """Add a ``.model`` file of this machine by its path, not copied, or an upload, written to disk in pieces.

        ``original`` is the uploaded file's own name; ``progress`` is told the bytes written so far.
        """

        def fill(folder: FoundationFolder) -> str:
            if isinstance(source, Path | str):
                path = readable_file(source, self.root, "the `.model` file")
                shown = display_name(name, path.stem)
                folder.write_source(shown, path.name, path)
                return shown
            file_name = safe_file_name(original or str(getattr(source, "name", "")), "foundation.model")
            shown = display_name(name, Path(file_name).stem)
            folder.store(source, file_name, progress)
            folder.write_source(shown, file_name)
            return shown

        return self._add_foundation(name, fill)

    def add_published(self, key: str, licence_accepted: bool = False, name: str = "") -> FoundationFolder:
        """Add a model of ``mace_app.published.DOWNLOADABLE``; its job fetches the file first. WorkspaceError if its
        licence restricts the use and was not accepted."""
        model = DOWNLOADABLE.get(key)
        if model is None:
            raise WorkspaceError(f"There is no published model {key!r}; there are {', '.join(DOWNLOADABLE)}.")
        if model.needs_consent and not licence_accepted:
            raise WorkspaceError(f"{model.title} is under the {model.licence}. Accept the licence to download it.")

        def fill(folder: FoundationFolder) -> str:
            shown = display_name(name, model.title)
            folder.write_source(shown, f"{model.file}.model", published=key)
            return shown

        return self._add_foundation(name or model.title, fill)

    def _add_foundation(self, name: str, fill: Callable[[FoundationFolder], str]) -> FoundationFolder:
        building = _building_folder(self.foundations_path)
        try:
            base = slug(fill(FoundationFolder(building)), "model")
            return FoundationFolder(
                _move_into_place(building, self.foundations_path, lambda n: base if n == 1 else f"{base}-{n}")
            )
        except OSError as error:
            raise WorkspaceError(
                f"The foundation model {name!r} could not be stored: {error}. Is the disk full?"
            ) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def rename_foundation(self, identifier: str, name: str) -> None:
        """Change the name that is shown; the folder stays."""
        self.foundation(identifier).rename(name)

    def delete_foundation(self, identifier: str) -> None:
        """Delete what the workspace holds of it, exports included; a file outside stays. Refused while it is at work or
        an unfinished run needs it."""
        folder = self.foundation(identifier)
        if self.queue.active_job(f"foundations/{identifier}") is not None:
            raise WorkspaceError(f"The foundation model {identifier} is being worked on. Cancel that, then delete it.")
        self._refuse_if_needed(folder)
        _delete(folder.path)

    def start_foundation(self, foundation: FoundationFolder) -> None:
        """Queue what was requested last: fetch the file if it has to be, read it, export the heads."""
        job = f"foundations/{foundation.id}"
        deadline = time.monotonic() + RESUME_PATIENCE_SECONDS
        while self.queue.active_job(job) is not None:
            if foundation.state() in ("queued", "running") or time.monotonic() > deadline:
                raise WorkspaceError(
                    f"The foundation model {foundation.id} is being worked on. Wait, or cancel it first."
                )
            time.sleep(0.05)
        foundation.begin()
        self.queue.enqueue("foundation", job)

    def cancel_foundation(self, foundation: FoundationFolder) -> None:
        """End a waiting job at once, a running one within about a second."""
        foundation.cancel()
        if self.queue.cancel(f"foundations/{foundation.id}"):
            foundation.set_state("cancelled")

    # Runs

    def runs(self) -> list[RunFolder]:
        """Newest first; damaged ones too, so that they can be shown and deleted."""
        return [RunFolder(path) for path in sorted(self.runs_path.iterdir(), reverse=True) if _listed(path)]

    def run(self, identifier: str) -> RunFolder:
        path = self.runs_path / identifier
        if not is_folder_name(identifier) or not path.is_dir():
            raise WorkspaceError(f"There is no run {identifier!r}. It may have been deleted.")
        return RunFolder(path)

    def create_run(self, options: "RunOptions | Mapping[str, Any] | str", name: str) -> RunFolder:
        """Make a run and queue it. Options as an object, a mapping or YAML; OptionsError if they do not hold.

        The stored options are complete: every default is written out, and every path is absolute. WorkspaceError for a
        file outside the data roots (`data_roots`).
        """
        from mace_app.options import (
            RunOptions,
            dump_options,
            named_files,
            parse_options,
            parse_yaml,
            with_absolute_paths,
        )

        if isinstance(options, str):
            options = parse_yaml(options)
        if not isinstance(options, RunOptions):
            options = parse_options(options)
        options = with_absolute_paths(options)
        for _, path in named_files(options):
            allowed_path(path, self.root)
        return self._create_run(dump_options(options), name, options.device, options.seed)

    def file_problems(self, options: "RunOptions") -> "list[Problem]":
        """The files that options name and that may not be read, or are not there."""
        from mace_app.options import Problem, missing_files, named_files

        refused = {}
        for place, path in named_files(options):
            try:
                allowed_path(path, self.root)
            except WorkspaceError as error:
                refused[place] = Problem(place, str(error))
        missing = [problem for problem in missing_files(options) if problem.loc not in refused]
        return [*refused.values(), *missing]

    def _create_run(self, text: str, name: str, device: str | None, seed: int | None) -> RunFolder:
        building = _building_folder(self.runs_path)
        shown = display_name(name, "Run")

        def identify(attempt: int) -> str:
            # The folder's name is the run's: it is written inside before the folder appears under it.
            identifier = run_id(shown, attempt)
            (building / "run.json").unlink(missing_ok=True)
            RunFolder.create(building, text, shown, identifier=identifier, device=device, seed=seed)
            return identifier

        try:
            run = RunFolder(_move_into_place(building, self.runs_path, identify))
        except OSError as error:
            raise WorkspaceError(f"The run {name!r} could not be stored: {error}. Is the disk full?") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        self.queue.enqueue("train", f"runs/{run.id}", device)
        return run

    def rename_run(self, identifier: str, name: str) -> None:
        """Change the name that is shown; the folder stays."""
        run = self.run(identifier)
        run.update(name=display_name(name, identifier))

    def stop_run(self, identifier: str, mode: StopMode = "best") -> None:
        """A waiting run stops at once; a running one finishes its step, saves and exports (``best``) or ends soon."""
        run = self.run(identifier)
        if self.queue.cancel(f"runs/{identifier}"):
            run.set_state("stopped", "Stopped before it began.")
            return
        state = run.info().state
        if state not in ACTIVE_STATES:
            raise WorkspaceError(f"The run {identifier} is already {state}; there is nothing to stop.")
        if state == "queued" and self.queue.active_job(f"runs/{identifier}") is None:
            run.set_state("stopped", "Stopped before it began.")  # its place in the queue was lost
            return
        run.request_stop(mode)

    def resume_run(self, identifier: str) -> None:
        """Queue a stopped, failed or interrupted run again; it goes on from its last checkpoint."""
        run = self.run(identifier)
        state = run.info().state
        job = f"runs/{identifier}"
        if state not in RESUMABLE_STATES and (state != "queued" or self.queue.active_job(job) is not None):
            raise WorkspaceError(
                f"The run {identifier} is {state}; only stopped, failed or interrupted runs can be resumed."
            )
        deadline = time.monotonic() + RESUME_PATIENCE_SECONDS
        while self.queue.active_job(job) is not None or run.worker_alive():
            if time.monotonic() > deadline:
                raise WorkspaceError(f"The process of run {identifier} is still ending. Try again in a few seconds.")
            time.sleep(0.05)
        run.requeue()
        self.queue.enqueue("train", job, run.requested_device())

    def delete_run(self, identifier: str) -> None:
        """Delete a run that is over, with its models and checkpoints; damaged ones too."""
        run = self.run(identifier)
        try:
            active = run.info().state in ACTIVE_STATES or run.worker_alive()
        except RunFolderError:
            active = False
        if active or self.queue.active_job(f"runs/{identifier}") is not None:
            raise WorkspaceError(f"The run {identifier} is not over. Stop it first, then delete it.")
        _delete(run.path)

    # The supervisor

    @property
    def supervisor_file(self) -> Path:
        return self.root / "supervisor.json"

    def supervisor(self) -> processes.ProcessIdentity | None:
        """The living supervisor of this workspace, if there is one."""
        try:
            value = read_json(self.supervisor_file)
            identity = processes.ProcessIdentity(int(value["pid"]), float(value["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return identity if identity.alive() else None

    def ensure_supervisor(self) -> None:
        """Start a supervisor, detached, if none is alive. Of two started at once one ends again."""
        if self.supervisor() is None:
            command = processes.python_command("-m", "mace_app.jobs.supervisor", str(self.root))
            processes.reap_in_background(processes.start_detached(command, self.root / "supervisor.log"))

    def end_supervisor(self, patience: float = 10.0) -> bool:
        """Ask the supervisor to end and wait; workers go on. False if it still lives after ``patience`` seconds."""
        supervisor = self.supervisor()
        if supervisor is None:
            return True
        supervisor.signal(signal.SIGTERM)
        return supervisor.wait(patience)


def _listed(path: Path) -> bool:
    return path.is_dir() and is_folder_name(path.name)


def _building_folder(parent: Path) -> Path:
    """A hidden folder to fill before it is renamed, so that no reader meets half of one."""
    path = parent / f".new-{uuid.uuid4().hex}"
    path.mkdir()
    return path


def _move_into_place(building: Path, parent: Path, name_of: Callable[[int], str]) -> Path:
    """Rename to the first name that is free."""
    for attempt in range(1, MOST_ATTEMPTS):
        destination = parent / name_of(attempt)
        if destination.exists():
            continue
        try:
            building.rename(destination)
        except OSError:
            if not destination.exists():
                raise
            continue
        return destination
    raise WorkspaceError(f"{parent} holds {MOST_ATTEMPTS} entries of this name. Choose another name.")


def _delete(path: Path) -> None:
    """Out of sight first, so that what is half deleted is never listed."""
    hidden = path.with_name(f".deleted-{uuid.uuid4().hex}")
    try:
        path.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise WorkspaceError(f"{path} could not be deleted: {error}. Check its permissions.") from error
