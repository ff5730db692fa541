"""Which files of this machine a page may name: any, or those below certain folders.

``MACE_APP_DATA_ROOTS`` lists folders, separated as in ``PATH``. Unset, every file that the app's own user may read can
be named; set, also to nothing, only files below these folders and the workspace. The command line is not confined:
who types there can read the files anyway.
"""

import os
import stat
from pathlib import Path

from mace_app.jobs.errors import WorkspaceError

DATA_ROOTS_VARIABLE = "MACE_APP_DATA_ROOTS"
# Of the system, not of anybody's data; some look like regular files, and hold secrets of processes or never end.
_OF_THE_SYSTEM = tuple(Path(folder) for folder in ("/proc", "/sys", "/dev"))


def data_roots(workspace: Path) -> tuple[Path, ...] | None:
    """The folders whose files may be named, the workspace first; None where all may."""
    listed = os.environ.get(DATA_ROOTS_VARIABLE)
    if listed is None:
        return None
    folders = [Path(part).expanduser().resolve() for part in listed.split(os.pathsep) if part.strip()]
    return (workspace.resolve(), *folders)


def resolved(path: Path | str) -> Path:
    """The absolute path without ``..`` and symbolic links; WorkspaceError if there can't be one."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkspaceError(f"The path {str(path)!r} cannot be used: {error}.") from error


def allowed_path(path: Path | str, workspace: Path) -> Path:
    """``resolved(path)`` if a page may name it, whether or not there is something; WorkspaceError otherwise."""
    found = resolved(path)
    if any(found.is_relative_to(folder) for folder in _OF_THE_SYSTEM):
        raise WorkspaceError(f"{found} belongs to the operating system and holds no structures. Name a file with data.")
    roots = data_roots(workspace)
    # Refused before anything is said of the file: who may not read it need not learn whether it is there.
    if roots is not None and not any(found.is_relative_to(root) for root in roots):
        folders = " or ".join(str(root) for root in roots[1:])
        where = f"Name a file below {folders}, or upload it." if folders else "Upload the file instead."
        raise WorkspaceError(f"{found} lies outside the folders that this server reads data from. {where}")
    return found


def readable_file(path: Path | str, workspace: Path, what: str = "the file with the structures") -> Path:
    """A path on this machine that a person named, made absolute; WorkspaceError if ``what`` can't be read there."""
    found = allowed_path(path, workspace)
    try:
        if not found.exists():
            raise WorkspaceError(f"There is no file {found}. Check the path; it is one of the machine the app runs on.")
        if not stat.S_ISREG(found.stat().st_mode):
            raise WorkspaceError(f"{found} is not a file. Name {what}.")
        if not os.access(found, os.R_OK):
            raise WorkspaceError(f"The app may not read {found}. Change the file's permissions.")
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"The path {str(path)!r} cannot be used: {error}.") from error
    return found
