"""Folders in which a process of their own works: small files of JSON, how the last job went, a request to end it."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

from mace_app.files import write_json
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.names import utc_now

FolderState = Literal["new", "queued", "running", "done", "failed", "cancelled"]


class PlainFolder:
    """A folder of the workspace. Making this object reads nothing."""

    thing: ClassVar[str] = "folder"

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def output_file(self) -> Path:
        """What the process at work prints."""
        return self.path / "output.txt"

    def _remove(self, *names: str) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def _touch(self, name: str) -> None:
        with open(self.path / name, "w"):
            pass

    def _time_of(self, name: str) -> float | None:
        """When the file was written, in seconds since 1970; None without it."""
        try:
            return (self.path / name).stat().st_mtime
        except FileNotFoundError:
            return None

    def _read_object(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"{path} cannot be read ({error}). Delete the file, or the {self.thing}.") from error
        if not isinstance(value, dict):
            raise WorkspaceError(f"{path} is damaged: it holds no JSON object. Delete the file, or the {self.thing}.")
        return value


class JobFolder(PlainFolder):
    """One with ``state.json``, ``progress.json`` while a job waits or runs, and ``cancel`` once it shall end."""

    def state(self) -> FolderState:
        """``new``: no job yet. ``failed`` and ``cancelled`` are of the last job; what an earlier one made may be there
        all the same."""
        value = self._read_object("state.json")
        found = "new" if value is None else value.get("state")
        if found not in get_args(FolderState):
            raise WorkspaceError(f"{self.path / 'state.json'} names the unknown state {found!r}. Delete the file.")
        return cast(FolderState, found)

    def error(self) -> str | None:
        """The sentence why the last job failed."""
        value = self._read_object("state.json") or {}
        return value.get("error")

    def set_state(self, state: FolderState, error: str | None = None) -> None:
        """A job that is over leaves neither progress nor a request to cancel it."""
        write_json(self.path / "state.json", {"state": state, "error": error, "at": utc_now()})
        if state not in ("queued", "running"):
            self._remove("progress.json", "cancel")

    def at_work(self) -> bool:
        """Whether a job waits or runs, by the folder's own account."""
        return self.state() in ("queued", "running")

    def cancel(self) -> None:
        """Ask the process at work to end; it looks about twice a second."""
        self._touch("cancel")

    def cancelled(self) -> bool:
        return self.cancelled_at() is not None

    def cancelled_at(self) -> float | None:
        """When the end was asked for, in seconds since 1970."""
        return self._time_of("cancel")
