"""A foundation model is a folder: where its file lies or comes from, what is in it, and what was exported of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mace_app.files import write_json
from mace_app.jobs.errors import WorkspaceError
from mace_app.jobs.job_state import JobFolder
from mace_app.jobs.names import safe_file_name, slug, utc_now
from mace_app.jobs.source_folder import SourceFolder
from mace_app.published import DOWNLOADABLE, Published

FoundationPhase = Literal["waiting", "downloading", "reading", "rebuilding", "building", "saving", "comparing", "done"]
Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class FoundationInfo:
    """The content of ``source.json``. ``path`` is absolute, and None for one that has not been downloaded yet.

    ``uploaded`` says it lies in the workspace; ``published`` is the key of one that is downloaded, ``licence_accepted``
    the licence a person agreed to and when.
    """

    name: str
    path: Path | None
    original: str
    uploaded: bool
    added: str
    sha256: str | None = None
    published: str | None = None
    licence_accepted: dict[str, str] | None = None


@dataclass(frozen=True)
class FoundationRequest:
    """What the next job shall do. ``heads``: names; none, to look into the file only; None, to export at once if there
    is a single head. ``structures``: a file whose structures are compared on as well. ``precision`` None: the file's.
    """

    heads: tuple[str, ...] | None = None
    structures: str | None = None
    precision: Precision | None = None


@dataclass(frozen=True)
class FoundationProgress:
    """``done`` of ``total`` is of the phase (bytes of a download, structures of a comparison), None where nothing is
    counted; ``fraction``, 0 to 1, and ``eta_seconds`` are of the whole job as far as that can be known."""

    phase: FoundationPhase = "waiting"
    message: str = ""
    head: str | None = None
    done: float | None = None
    total: float | None = None
    fraction: float = 0.0
    eta_seconds: float | None = None
    updated: float = 0.0


@dataclass(frozen=True)
class FoundationExport:
    """One exported head: ``path`` of the metatomic file, ``name`` for a download, ``report`` as docs/architecture.md
    tells. ``refused`` is the sentence why there is no file; then the report still has what was compared."""

    head: str
    path: Path | None
    name: str
    report: dict[str, Any]
    refused: str | None


class FoundationFolder(SourceFolder, JobFolder):
    """The folder of one foundation model. Making this object reads nothing."""

    thing = "foundation model"

    # The file itself

    def write_source(self, name: str, original: str, path: Path | None = None, published: str | None = None) -> None:
        """``path`` of a file that stays where it is; None for one that ``store`` put here as ``original``, or for one
        that is ``published`` and still has to be downloaded."""
        stored = str(path.resolve()) if path is not None else None if published else f"source/{original}"
        value: dict[str, Any] = {"format": 1, "name": name, "path": stored, "original": original, "added": utc_now()}
        if published is not None:
            value |= {"published": published}
            if DOWNLOADABLE[published].needs_consent:
                value |= {"licence_accepted": {"licence": DOWNLOADABLE[published].licence, "at": utc_now()}}
        write_json(self.path / "source.json", value)

    def note_source(self, path: Path, sha256: str) -> None:
        """Where the file lies, now that it has been fetched, and its checksum."""
        value = self._read_object("source.json") or {}
        where = value.get("path") or str(path.resolve())
        write_json(self.path / "source.json", {**value, "path": where, "sha256": sha256})

    def info(self) -> FoundationInfo:
        value = self._read_object("source.json")
        if value is None or not all(isinstance(value.get(key), str) for key in ("name", "original", "added")):
            raise WorkspaceError(
                f"{self.path / 'source.json'} is missing or damaged. Delete the foundation model and add it again."
            )
        stored = Path(value["path"]) if isinstance(value.get("path"), str) else None
        return FoundationInfo(
            name=value["name"],
            path=stored if stored is None or stored.is_absolute() else self.path.resolve() / stored,
            original=value["original"],
            uploaded=stored is not None and not stored.is_absolute(),
            added=value["added"],
            sha256=value.get("sha256"),
            published=value.get("published"),
            licence_accepted=value.get("licence_accepted"),
        )

    @property
    def name(self) -> str:
        return self.info().name

    @property
    def published(self) -> Published | None:
        """The entry of the catalogue for one that is downloaded."""
        key = self.info().published
        if key is not None and key not in DOWNLOADABLE:
            raise WorkspaceError(f"{self.id} names the published model {key!r}, which is not known. Delete it.")
        return None if key is None else DOWNLOADABLE[key]

    @property
    def source_path(self) -> Path:
        """The absolute path of the file; WorkspaceError if it is gone or not downloaded yet."""
        path = self.info().path
        if path is None:
            raise WorkspaceError(f"The file of {self.id} has not been downloaded yet. Start the download.")
        if not path.is_file():
            raise WorkspaceError(f"The file of {self.id}, {path}, is gone. Put it back or delete the foundation model.")
        return path

    # What is in it

    def facts(self) -> dict[str, Any] | None:
        """What reading the file found, ``facts.json``; None before."""
        return self._read_object("facts.json")

    def write_facts(self, facts: dict[str, Any]) -> None:
        write_json(self.path / "facts.json", facts)

    # What shall be done

    def request_export(
        self,
        heads: Sequence[str] | None = None,
        structures: Path | str | None = None,
        precision: Precision | None = None,
    ) -> None:
        """Write down what the next job shall do, see FoundationRequest; then ``Workspace.start_foundation``."""
        facts = self.facts()
        if facts is not None:
            for head in heads or ():
                if head not in facts["heads"]:
                    listed = ", ".join(f"`{name}`" for name in facts["heads"])
                    raise WorkspaceError(f"{self.id} has no head `{head}`; it has {listed}.")
        if precision is not None and precision not in get_args(Precision):
            raise WorkspaceError(f"A precision is `float32` or `float64`, not {precision!r}.")
        write_json(
            self.path / "request.json",
            {
                "format": 1,
                "heads": None if heads is None else list(heads),
                "structures": None if structures is None else str(structures),
                "precision": precision,
            },
        )

    def request(self) -> FoundationRequest:
        value = self._read_object("request.json") or {}
        heads = value.get("heads")
        return FoundationRequest(
            heads=None if heads is None else tuple(map(str, heads)),
            structures=value.get("structures"),
            precision=value.get("precision"),
        )

    # The state of the job

    def begin(self) -> None:
        """Mark a new job as waiting."""
        self._remove("cancel")
        self.write_progress(FoundationProgress(message="Waiting"))
        self.set_state("queued")

    def progress(self) -> FoundationProgress:
        value = self._read_object("progress.json") or {}
        if value.get("phase", "waiting") not in get_args(FoundationPhase):
            raise WorkspaceError(f"{self.path / 'progress.json'} is damaged. It is written anew once the job goes on.")
        known = {item.name for item in fields(FoundationProgress)}
        return FoundationProgress(**{key: entry for key, entry in value.items() if key in known})

    def write_progress(self, progress: FoundationProgress) -> None:
        values = {item.name: getattr(progress, item.name) for item in fields(progress)}
        write_json(self.path / "progress.json", values | {"updated": time.time()})

    # What was exported

    def export_folder(self, head: str) -> Path:
        """Where one head's export lies: its number in the file and what of its name may be a folder's."""
        facts = self.facts()
        if facts is None or head not in facts["heads"]:
            raise WorkspaceError(f"{self.id} has no head `{head}`.")
        return self.path / "exports" / f"{facts['heads'].index(head)}-{slug(head, 'head')}"

    def write_export(self, head: str, report: dict[str, Any]) -> None:
        """Beside ``model.pt``, which is there already unless the export was refused."""
        write_json(self.export_folder(head) / "report.json", report)

    def exports(self) -> list[FoundationExport]:
        """In the order of the heads."""
        facts = self.facts()
        found = []
        for head in [] if facts is None else facts["heads"]:
            folder = self.export_folder(head)
            report = self._read_object(str((folder / "report.json").relative_to(self.path)))
            if report is None:
                continue
            file = folder / "model.pt"
            stem = safe_file_name(Path(self.info().original).stem, "model")
            suffix = f"-{slug(head, 'head')}" if len(facts["heads"]) > 1 else ""  # type: ignore[index]
            found.append(
                FoundationExport(
                    head=head,
                    path=file if file.is_file() and report.get("refused") is None else None,
                    name=f"{stem}{suffix}.pt",
                    report=report,
                    refused=report.get("refused"),
                )
            )
        return found

    def forget(self) -> None:
        """Facts and exports belong to a file with another content; they go."""
        for path in sorted(self.path.glob("exports/*/*")):
            path.unlink()
        self._remove("facts.json")
