"""What the folders know of the queue: enough to make it anew, and to notice what it lost."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from mace_app.jobs.analysis_folder import AnalysisFolder
from mace_app.jobs.errors import JobsError
from mace_app.jobs.queue import KnownJob
from mace_app.jobs.run_folder import RunFolder
from mace_app.jobs.run_state import FINAL_STATES, RunInfo

if TYPE_CHECKING:
    from mace_app.jobs.workspace import Workspace


class FolderWatch:
    """Reads the states of all runs again and again; those that are over are read anew only when they changed."""

    def __init__(self, workspace: "Workspace") -> None:
        self.workspace = workspace
        self._over: dict[str, tuple[int, int]] = {}

    def unfinished(self) -> Iterator[tuple[RunFolder, RunInfo]]:
        """Runs that wait or are at work by their own account, oldest first; damaged ones are passed over."""
        for run in reversed(self.workspace.runs()):
            try:
                status = run.run_file.stat()
                signature = (status.st_mtime_ns, status.st_size)
                if self._over.get(run.id) == signature:
                    continue
                info = run.info()
            except (JobsError, OSError):
                continue
            if info.state in FINAL_STATES:
                self._over[run.id] = signature
            else:
                yield run, info

    def jobs(self) -> Iterator[KnownJob]:
        """The jobs that these runs, datasets being inspected, foundation models and analyses must have."""
        for run, info in self.unfinished():
            if info.state == "queued" and info.process is None:
                device = _requested_device(run)
                yield KnownJob("train", f"runs/{run.id}", device)
            elif info.state != "queued" and info.slot is not None and info.process is not None:
                yield KnownJob("train", f"runs/{run.id}", _requested_device(run), info.slot, info.process)
        for dataset in self.workspace.datasets():
            with suppress(JobsError):
                inspection = dataset.inspection_state()
                if inspection in ("queued", "running"):
                    yield KnownJob("inspect", f"datasets/{dataset.id}", nameless=inspection == "running")
        for foundation in self.workspace.foundations():
            with suppress(JobsError):
                state = foundation.state()
                if state in ("queued", "running"):
                    yield KnownJob("foundation", f"foundations/{foundation.id}", nameless=state == "running")
        for analysis in self.workspace.unfinished_analyses():
            with suppress(JobsError):
                folder = analysis.path.relative_to(self.workspace.root).as_posix()
                yield KnownJob("analyse", folder, nameless=analysis.state() == "running")

    def still_needed(self, job: KnownJob) -> bool:
        """Asked again when the queue is locked: the folder may have been changed since it was read."""
        name = job.folder.partition("/")[2]
        try:
            if job.kind == "inspect":
                return self.workspace.dataset(name).inspection_state() in ("queued", "running")
            if job.kind == "foundation":
                return self.workspace.foundation(name).at_work()
            if job.kind == "analyse":
                return AnalysisFolder(self.workspace.root / job.folder).at_work()
            info = self.workspace.run(name).info()
        except (JobsError, OSError):
            return False
        return info.state not in FINAL_STATES and info.process == job.process

    def add_missing_jobs(self) -> list[str]:
        return self.workspace.queue.add_missing(list(self.jobs()), self.still_needed)


def _requested_device(run: RunFolder) -> str | None:
    try:
        return run.requested_device()
    except JobsError:
        return None
