"""Where uploads lie between the request that brought them and the page that takes them: files in the workspace.

Streamlit would keep them in memory. What it is given instead is a short note that says which file was stored, or why
none was; notes carry a secret of this process, so nobody can upload one.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from mace_app.jobs import JobsError, Workspace

KEPT_SECONDS = 24 * 3600
LEAST_FREE_BYTES = 256 << 20
_SECRET = secrets.token_hex(16)


class UploadRefused(JobsError):
    """An upload that was not stored, with the reason."""


@dataclass(frozen=True)
class Note:
    """``stored`` is the name of a file of the store, ``refused`` the sentence why there is none."""

    stored: str = ""
    refused: str = ""

    def to_bytes(self) -> bytes:
        return json.dumps({"secret": _SECRET, "stored": self.stored, "refused": self.refused}).encode()


class UploadStore:
    """The folder ``uploads`` of the workspace."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self.folder = (workspace or Workspace()).root / "uploads"

    def new(self) -> Path:
        """A name for one more upload. What was left by browsers that went away is deleted here, after a day."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - KEPT_SECONDS:
                    path.unlink()
        return self.folder / secrets.token_hex(16)

    def room(self) -> int:
        """Bytes that may still be written before the disk is too full; may be negative."""
        self.folder.mkdir(exist_ok=True)
        return shutil.disk_usage(self.folder).free - LEAST_FREE_BYTES


@contextmanager
def open_upload(upload: BinaryIO) -> Iterator[BinaryIO]:
    """The content of what ``st.file_uploader`` gave, read from disk. UploadRefused if it was not stored."""
    note = _note(upload)
    if note is None:  # nothing stood between the browser and Streamlit, as in tests of pages
        upload.seek(0)
        yield upload
        return
    if note.refused:
        raise UploadRefused(note.refused)
    path = UploadStore().folder / note.stored
    if not path.is_file():
        raise UploadRefused("The uploaded file is gone from the workspace. Upload it again.")
    with path.open("rb") as stream:
        yield stream


def discard(upload: BinaryIO) -> None:
    """Delete an upload that was taken."""
    note = _note(upload)
    if note is not None and note.stored:
        with suppress(OSError):
            os.unlink(UploadStore().folder / note.stored)


def _note(upload: BinaryIO) -> Note | None:
    """The note that stands in the place of the file; None if the file itself is there."""
    content = upload.getbuffer() if isinstance(upload, BytesIO) else b""
    if len(content) > 4096:
        return None
    try:
        value = json.loads(bytes(content))
    except ValueError:
        return None
    if not isinstance(value, dict) or not secrets.compare_digest(str(value.get("secret")).encode(), _SECRET.encode()):
        return None
    return Note(str(value.get("stored", "")), str(value.get("refused", "")))
