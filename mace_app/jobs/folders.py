"""Folders of the workspace: those that count, and how one appears and disappears as a whole."""

import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from mace_app.files import sync_folder
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.names import is_folder_name

MOST_ATTEMPTS = 1000
BUILDING, DELETED = ".new-", ".deleted-"


def listed(path: Path) -> bool:
    return path.is_dir() and is_folder_name(path.name)


def building_folder(parent: Path) -> Path:
    """A hidden folder to fill before it is renamed, so that no reader meets half of one."""
    path = parent / f"{BUILDING}{uuid.uuid4().hex}"
    path.mkdir()
    return path


def move_into_place(building: Path, parent: Path, name_of: Callable[[int], str]) -> Path:
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
        sync_folder(parent)
        return destination
    raise WorkspaceError(f"{parent} holds {MOST_ATTEMPTS} entries of this name. Choose another name.")


def delete_folder(path: Path) -> None:
    """Out of sight first, so that what is half deleted is never listed."""
    hidden = path.with_name(f"{DELETED}{uuid.uuid4().hex}")
    try:
        path.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise WorkspaceError(f"{path} could not be deleted: {error}. Check its permissions.") from error


def sweep(parent: Path, older_than_seconds: float) -> None:
    """Delete what was being deleted, and what was being made but left so for long, when somebody was killed."""
    for path in parent.iterdir():
        if path.name.startswith(DELETED) or (path.name.startswith(BUILDING) and _age(path) > older_than_seconds):
            shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """Seconds since the last change, by the file system's own clock being that of this machine."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
