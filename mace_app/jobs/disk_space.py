"""Room on the disk: looked for before a training starts, while it runs, and in what an error says."""

import errno
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from mace_app.jobs.errors import JobsError
from mace_app.jobs.settings import WorkspaceSettings

if TYPE_CHECKING:
    from mace_app.jobs.queue import Job
    from mace_app.jobs.workspace import Workspace

MB = 1_000_000
# A worker ends in order while there is room for two more checkpoints and this.
WORKER_NEEDS_MB = 20.0


def free_mb(folder: Path) -> float | None:
    """10⁶ bytes that may still be written; None where the system doesn't say."""
    try:
        return shutil.disk_usage(folder).free / MB
    except OSError:
        return None


def nearly_full(folder: Path) -> bool:
    """Whether hardly a file can be written any more."""
    free = free_mb(folder)
    return free is not None and free < 0.1


def checkpoint_mb(run: Path) -> float:
    """Of the last checkpoint; 0 before there is one."""
    try:
        return (run / "checkpoints" / "last.safetensors").stat().st_size / MB
    except OSError:
        return 0.0


def disk_is_full(error: BaseException | None) -> bool:
    """Whether that is what an error, or one it came from, says."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


class DiskSpace:
    """Whether there is room to start trainings; ``refused`` tells of those for which there was not."""

    def __init__(self, workspace: "Workspace") -> None:
        self.workspace = workspace
        self.refused: dict[str, str] = {}
        try:
            least = workspace.settings().least_free_mb
        except JobsError:
            least = WorkspaceSettings().least_free_mb
        self._least = least
        self._free = free_mb(workspace.root)

    def suffices(self, job: "Job") -> bool:
        if job.light or self._free is None:
            return True
        needed = self._least + 3 * checkpoint_mb(self.workspace.root / job.folder)
        if self._free >= needed:
            return True
        self.refused[job.folder] = (
            f"It waits for room on the disk of {self.workspace.root}: {needed:.0f} MB are needed. Free some; then it "
            "starts by itself."
        )
        return False
