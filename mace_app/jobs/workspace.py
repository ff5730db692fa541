"""The workspace: one folder that holds the datasets, the foundation models, the runs, the analyses and the queue."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mace_app.files import read_json
from mace_app.jobs import processes
from mace_app.jobs.data_roots import readable_file
from mace_app.jobs.dataset_folder import DatasetFolder
from mace_app.jobs.devices import without_restriction
from mace_app.jobs.errors import JobsError, WorkspaceError
from mace_app.jobs.folders import building_folder, delete_folder, listed, move_into_place
from mace_app.jobs.names import display_name, is_folder_name, safe_file_name, slug
from mace_app.jobs.queue import JobQueue
from mace_app.jobs.recovery import FolderWatch
from mace_app.jobs.settings import WorkspaceSettings, read_settings, write_settings
from mace_app.jobs.workspace_analyses import WorkspaceAnalyses

ENVIRONMENT_VARIABLE = "MACE_APP_WORKSPACE"


class Workspace(WorkspaceAnalyses):
    """Datasets, foundation models, runs, analyses and the queue under ``root``, made if absent (default:
    MACE_APP_WORKSPACE, else ``./workspace``).

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
        for folder in (self.root, self.datasets_path, self.foundations_path, self.runs_path):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise WorkspaceError(
                    f"The workspace {self.root} can't be written to: {folder} is read-only. Change its permissions, or "
                    f"choose another folder with {ENVIRONMENT_VARIABLE}."
                )
        self.queue = JobQueue(self.root / "queue.sqlite", FolderWatch(self).jobs)

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    @property
    def datasets_path(self) -> Path:
        return self.root / "datasets"

    # Settings

    def settings(self) -> WorkspaceSettings:
        """WorkspaceError where somebody wrote something else into ``settings.json``."""
        return read_settings(self.root / "settings.json")

    def write_settings(self, settings: WorkspaceSettings) -> None:
        write_settings(self.root / "settings.json", settings)

    # Datasets

    def datasets(self) -> list[DatasetFolder]:
        """In the order of their folders' names."""
        return [DatasetFolder(path) for path in sorted(self.datasets_path.iterdir()) if listed(path)]

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
        building = building_folder(self.datasets_path)
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
                move_into_place(building, self.datasets_path, lambda n: base if n == 1 else f"{base}-{n}")
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
        self.refuse_if_compared(folder)
        delete_folder(folder.path)

    def start_inspection(self, dataset: DatasetFolder) -> None:
        """Queue an inspection; an earlier result is forgotten."""
        job = f"datasets/{dataset.id}"
        if self.queue.active_job(job) is not None:
            raise WorkspaceError(f"The dataset {dataset.id} is already being inspected. Wait, or cancel it first.")
        self.queue.enqueue("inspect", job, then=dataset.begin_inspection)

    def cancel_inspection(self, dataset: DatasetFolder) -> None:
        """End a waiting inspection at once, a running one within about a second."""
        dataset.cancel_inspection()
        self.queue.cancel(f"datasets/{dataset.id}", then=dataset.end_cancelled_inspection)

    # The supervisor

    @property
    def supervisor_file(self) -> Path:
        return self.root / "supervisor.json"

    def supervisor(self) -> processes.ProcessIdentity | None:
        """The living supervisor of this workspace, if there is one."""
        try:
            value = read_json(self.supervisor_file)
        except (OSError, ValueError):
            return None
        identity = processes.ProcessIdentity.from_json(value)
        return identity if identity is not None and identity.alive() else None

    def ensure_supervisor(self) -> None:
        """Start a supervisor, detached, if none is alive. Of two started at once one ends again."""
        if self.supervisor() is None:
            command = processes.python_command("-m", "mace_app.jobs.supervisor", str(self.root))
            log = self.root / "supervisor.log"
            processes.reap_in_background(processes.start_detached(command, log, base=without_restriction(os.environ)))

    def look_after_jobs(self, besides: str | None = None) -> bool:
        """Start a supervisor if none is alive although there is work; for whoever comes by: a page, a worker's end.

        ``besides``: a folder whose own job is none to start one for. True if there was work that nobody looked after.
        """
        if self.supervisor() is not None or not self.has_work(besides):
            return False
        self.ensure_supervisor()
        return True

    def has_work(self, besides: str | None = None) -> bool:
        """Whether a supervisor has anything to do: a job at work, or a waiting one that may start without a person."""
        jobs = [job for job in self.queue.active() if job.folder != besides]
        return any(job.state == "running" or job.light for job in jobs) or (
            any(not job.held for job in jobs) and not self.queue.paused
        )

    def end_supervisor(self, patience: float = 10.0) -> bool:
        """Ask the supervisor to end and wait; workers go on. False if it still lives after ``patience`` seconds."""
        supervisor = self.supervisor()
        if supervisor is None:
            return True
        supervisor.signal(signal.SIGTERM)
        return supervisor.wait(patience)


def look_after_neighbours(worked_on: Path) -> None:
    """At the end of a worker: what waits behind it starts even if the supervisor was killed meanwhile."""
    folder = worked_on.resolve()
    for root in list(folder.parents)[1:4]:
        if (root / "queue.sqlite").exists():
            with suppress(JobsError, OSError):
                Workspace(root).look_after_jobs(besides=folder.relative_to(root).as_posix())
            return
