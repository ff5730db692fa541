"""``settings.json`` of a workspace: what a person decided for all of its runs."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mace_app.files import read_json, write_json
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.failures import PASSING_CAUSES

ResumeAutomatically = Literal["never", "after_restart", "always"]
FORMAT = 1


@dataclass(frozen=True)
class WorkspaceSettings:
    """``resume_automatically``: which runs the supervisor resumes by itself, as the next ones of the queue.

    * ``after_restart`` (the default): those the machine's restart ended, and those a full disk ended, once there is
      room again. Neither says anything against the run, and the night goes on.
    * ``always``: also those whose process was killed, for instance by the system for want of memory.
    * ``never``: none.

    In no case more than three times without a new checkpoint in between.

    ``least_free_mb`` (10⁶ bytes): no training is started while the workspace's disk has less room, plus that for three
    of the run's checkpoints.
    """

    resume_automatically: ResumeAutomatically = "after_restart"
    least_free_mb: float = 500.0

    def resumes(self, cause: str) -> bool:
        if self.resume_automatically == "never":
            return False
        return cause in PASSING_CAUSES or (self.resume_automatically == "always" and cause == "killed")


def read_settings(path: Path) -> WorkspaceSettings:
    """The defaults where there is no file; WorkspaceError where one holds something else."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        return WorkspaceSettings()
    except (OSError, ValueError, RecursionError) as error:
        raise WorkspaceError(f"{path} cannot be read ({error}). Correct it, or delete it for the defaults.") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise WorkspaceError(f"{path} is not of format {FORMAT}. Correct it, or delete it for the defaults.")
    known = {item.name for item in fields(WorkspaceSettings)}
    return _checked({name: entry for name, entry in value.items() if name in known}, str(path))


def write_settings(path: Path, settings: WorkspaceSettings) -> None:
    _checked(asdict(settings), "The settings")
    write_json(path, {"format": FORMAT, **asdict(settings)})


def _checked(values: dict[str, Any], where: str) -> WorkspaceSettings:
    settings = WorkspaceSettings(**values)
    if settings.resume_automatically not in get_args(ResumeAutomatically):
        known = ", ".join(get_args(ResumeAutomatically))
        raise WorkspaceError(
            f"{where}: `resume_automatically` is {settings.resume_automatically!r}; it can be one of {known}."
        )
    free = settings.least_free_mb
    if isinstance(free, bool) or not isinstance(free, int | float) or not 0 <= free < 1e12:
        raise WorkspaceError(f"{where}: `least_free_mb` is {free!r}; it must be a number of megabytes, 0 or more.")
    return settings
