"""What folders of added files have in common: a file stored or named, a name that is shown, small files of JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from mace_app.files import atomic_open, write_json
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.names import display_name

CHUNK_BYTES = 1 << 20


class SourceFolder:
    """A folder that begins with a file of the user's. Making this object reads nothing."""

    thing: ClassVar[str]

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

    def store(
        self, stream: BinaryIO, original: str, progress: Callable[[int], None] | None = None, below: str = "source"
    ) -> Path:
        """Copy a stream to disk in pieces, as the safe name ``original``; ``progress`` is told the bytes so far."""
        destination = self.path / below / original
        destination.parent.mkdir(exist_ok=True)
        written = 0
        with atomic_open(destination) as file:
            while block := stream.read(CHUNK_BYTES):
                file.write(block)
                written += len(block)
                if progress is not None:
                    progress(written)
        return destination

    def rename(self, name: str) -> None:
        """Change the name that is shown; the folder, which runs refer to, stays."""
        value = self._read_object("source.json")
        if value is None:
            raise WorkspaceError(f"There is no {self.thing} {self.id} any more.")
        write_json(self.path / "source.json", {**value, "name": display_name(name, self.id)})

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
