"""A dataset is a folder: where its file lies, what the inspection found, and how a person mapped keys to targets."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mace_app.files import sha256_of, write_json
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.names import utc_now
from mace_app.jobs.source_folder import SourceFolder

if TYPE_CHECKING:
    from mace_app.data import Inspection

InspectionState = Literal["none", "queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class DatasetInfo:
    """The content of ``source.json``. ``path`` is absolute; ``uploaded`` says it lies in the workspace."""

    name: str
    path: Path
    original: str
    uploaded: bool
    added: str


class DatasetFolder(SourceFolder):
    """The folder of one dataset. Making this object reads nothing."""

    thing = "dataset"

    # The file itself

    def write_source(self, name: str, original: str, path: Path | None = None) -> None:
        """``path`` of a file that stays where it is; None for one that ``store`` put here as ``original``."""
        stored = str(path.resolve()) if path is not None else f"source/{original}"
        write_json(
            self.path / "source.json",
            {"format": 1, "name": name, "path": stored, "original": original, "added": utc_now()},
        )

    def info(self) -> DatasetInfo:
        value = self._read_object("source.json")
        if value is None or not all(isinstance(value.get(key), str) for key in ("name", "path", "original", "added")):
            raise WorkspaceError(
                f"{self.path / 'source.json'} is missing or damaged. Delete the dataset and add it again."
            )
        stored = Path(value["path"])
        return DatasetInfo(
            name=value["name"],
            path=stored if stored.is_absolute() else self.path.resolve() / stored,
            original=value["original"],
            uploaded=not stored.is_absolute(),
            added=value["added"],
        )

    @property
    def name(self) -> str:
        return self.info().name

    @property
    def source_path(self) -> Path:
        """The absolute path of the structures, as options refer to it; WorkspaceError if the file is gone."""
        path = self.info().path
        if not path.is_file():
            raise WorkspaceError(f"The file of dataset {self.id}, {path}, is gone. Put it back or delete the dataset.")
        return path

    def sha256(self) -> str:
        """Checksum of the file, computed again when its size or time has changed."""
        path = self.source_path
        status = path.stat()
        signature = [str(path), status.st_size, status.st_mtime_ns]
        known = self._read_object("sha256.json") or {}
        if known.get("signature") != signature:
            known = {"signature": signature, "sha256": sha256_of(path)}
            write_json(self.path / "sha256.json", known)
        return str(known["sha256"])

    # The mapping of keys to targets

    def mapping(self) -> dict[str, Any] | None:
        """What ``write_mapping`` stored; None before a person decided."""
        return self._read_object("mapping.json")

    def write_mapping(self, mapping: Mapping[str, Any]) -> None:
        write_json(self.path / "mapping.json", dict(mapping))

    # The inspection

    def inspection(self) -> "Inspection | None":
        """What the inspection found; None if there is none (yet)."""
        from mace_app.data import Inspection

        value = self._read_object("inspection.json")
        if value is None:
            return None
        try:
            return Inspection.from_json(value)
        except (KeyError, TypeError, ValueError) as error:
            raise WorkspaceError(
                f"{self.path / 'inspection.json'} is damaged ({error}). Inspect the dataset again."
            ) from error

    def write_inspection(self, inspection: "Inspection") -> None:
        write_json(self.path / "inspection.json", inspection.to_json())
        self._remove("inspection_progress.json", "inspection_error.json", "inspection.cancel")

    def write_inspection_error(self, message: str) -> None:
        write_json(self.path / "inspection_error.json", {"message": message})
        self._remove("inspection_progress.json", "inspection.cancel")

    def inspection_error(self) -> str | None:
        """The sentence why the last inspection failed."""
        value = self._read_object("inspection_error.json")
        return None if value is None else str(value.get("message", "The inspection failed."))

    def begin_inspection(self) -> None:
        """Forget an earlier inspection and mark a new one as waiting."""
        self._remove("inspection.json", "inspection_error.json", "inspection.cancel")
        self.write_inspection_progress("queued", 0.0, "Waiting")

    def write_inspection_progress(
        self, state: Literal["queued", "running"], fraction: float, message: str = ""
    ) -> None:
        write_json(
            self.path / "inspection_progress.json",
            {"state": state, "fraction": fraction, "message": message, "updated": time.time()},
        )

    def inspection_progress(self) -> tuple[float, str]:
        """The done fraction, between 0 and 1, and what is being done."""
        value = self._read_object("inspection_progress.json") or {}
        return float(value.get("fraction", 0.0)), str(value.get("message", ""))

    def inspection_state(self) -> InspectionState:
        """``cancelled`` is also what follows a cancelled inspection, until the next one."""
        if (self.path / "inspection.json").exists():
            return "done"
        if (self.path / "inspection_error.json").exists():
            return "failed"
        value = self._read_object("inspection_progress.json")
        if value is not None:
            return "queued" if value.get("state") == "queued" else "running"
        return "cancelled" if self.inspection_cancelled() else "none"

    def cancel_inspection(self) -> None:
        """Ask the process at work to end; it looks about once a second."""
        self._touch("inspection.cancel")

    def inspection_cancelled(self) -> bool:
        return self.inspection_cancelled_at() is not None

    def inspection_cancelled_at(self) -> float | None:
        """When the end was asked for, in seconds since 1970."""
        return self._time_of("inspection.cancel")

    def end_cancelled_inspection(self) -> None:
        self._remove("inspection_progress.json")
