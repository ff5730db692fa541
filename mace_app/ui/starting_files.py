"""The foundation files of the workspace as starting points, with what is known of them. Nothing here draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mace_app.jobs import FoundationFolder, JobsError, Workspace
from mace_app.published import published_as


@dataclass(frozen=True)
class StartingFile:
    """A ``.model`` file at ``path``; ``facts`` are None as long as it has not been read, ``folder`` where the workspace
    does not know it."""

    path: str
    facts: Mapping[str, Any] | None = None
    folder: FoundationFolder | None = None
    name: str = ""

    @property
    def title(self) -> str:
        """Of a published file its title, otherwise the name a person gave it, or that of the file."""
        known = published_as(Path(self.path).name)
        title = (self.facts or {}).get("title") or (known.title if known else None)
        return str(title or self.name or Path(self.path).name)

    @property
    def licence(self) -> str | None:
        """As far as the name of the file tells it."""
        known = published_as(Path(self.path).name)
        licence = (self.facts or {}).get("licence") or (known.licence if known else None)
        return None if licence is None else str(licence)

    @property
    def heads(self) -> list[str]:
        return [str(head) for head in self.facts["heads"]] if self.facts is not None else []


def starting_files(workspace: Workspace) -> list[StartingFile]:
    """All whose file is there, newest first."""
    found = []
    for folder in workspace.foundations():
        try:
            info = folder.info()
            if info.path is not None and info.path.is_file():
                found.append((info.added, StartingFile(str(info.path), folder.facts(), folder, info.name)))
        except JobsError:
            continue
    return [file for _, file in sorted(found, key=lambda entry: entry[0], reverse=True)]


def find_file(files: Sequence[StartingFile], path: str | None) -> StartingFile | None:
    """The file that a draft or a run names, known or not; None for a start from random weights or an open choice.

    Of several additions of the same file the one that has been read counts.
    """
    if not path:
        return None
    same = [file for file in files if _same(file.path, path)]
    return next((file for file in same if file.facts is not None), same[0] if same else StartingFile(path))


def _same(one: str, other: str) -> bool:
    return one == other or Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def read_only(workspace: Workspace, path: str) -> StartingFile:
    """Add a file by its path and have it read, without an export. Raises JobsError if there is none."""
    folder = workspace.add_foundation("", path)
    folder.request_export(heads=[])
    workspace.start_foundation(folder)
    workspace.ensure_supervisor()
    return StartingFile(str(folder.source_path), None, folder, folder.name)
