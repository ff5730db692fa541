"""How far an unfinished preparation has come, so that the next one of the same files and options goes on from there."""

import time
from pathlib import Path
from typing import Any

from mace_app.files import read_json, sync_folder, write_json

FORMAT = 1
EVERY_SECONDS = 5.0


class Journal:
    """Notes on one role of a prepared folder. They are plain values: a folder may come from a stranger."""

    def __init__(self, folder: Path, role: str, fingerprint: str) -> None:
        self.file = folder / f"unfinished_{role}.json"
        self.fingerprint = fingerprint
        self._written = time.monotonic()

    def read(self) -> Any:
        """The last note of a preparation with the same fingerprint; None if there is none."""
        try:
            value = read_json(self.file)
            if (value["format"], value["fingerprint"]) == (FORMAT, self.fingerprint):
                return value["note"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._written >= EVERY_SECONDS

    def write(self, note: Any) -> None:
        """What ``note`` speaks of must be on disk."""
        write_json(self.file, {"format": FORMAT, "fingerprint": self.fingerprint, "note": note})
        self._written = time.monotonic()

    def remove(self) -> None:
        """Before anything else is written into the files it speaks of."""
        if self.file.exists():
            self.file.unlink()
            sync_folder(self.file.parent)


def remove_notes(folder: Path) -> None:
    """Of all roles, also of preparations that nobody will take up."""
    for file in folder.glob("unfinished_*.json"):
        file.unlink(missing_ok=True)
