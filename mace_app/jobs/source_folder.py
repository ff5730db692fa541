"""What folders of added files have in common: a file stored or named, and a name that is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mace_app.files import atomic_open, write_json
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.job_state import PlainFolder
from mace_app.jobs.names import display_name

CHUNK_BYTES = 1 << 20


class SourceFolder(PlainFolder):
    """A folder that begins with a file of the user's. Making this object reads nothing."""

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
