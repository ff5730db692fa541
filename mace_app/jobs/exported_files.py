"""Exported metatomic files that may be run: those this program made, checked and left as they were.

TorchScript is a program. So a file is run, and only by a worker, where it lies at its place in a run or a foundation
model and has the checksum that the report of its export names; imported runs come without exports. For a folder from
elsewhere, named on the command line, whoever names it answers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mace_app.files import sha256_of
from mace_app.jobs.errors import JobsError, WorkspaceError
from mace_app.jobs.foundation_folder import FoundationFolder
from mace_app.jobs.run_folder import RunFolder


@dataclass(frozen=True)
class ExportedFile:
    """``run`` and the ``epoch`` it was made from, or ``foundation``, its ``head`` and the checksum of its file then."""

    path: Path
    sha256: str
    run: RunFolder | None = None
    epoch: int | None = None
    foundation: FoundationFolder | None = None
    head: str | None = None
    source_sha256: str | None = None


def exported_file(path: Path) -> ExportedFile:
    """WorkspaceError for every file but those exports; links are followed first."""
    try:
        found = _export_at(path.resolve())
    except (JobsError, OSError):
        found = None
    if found is None:
        raise WorkspaceError(
            f"{path} is no export of a run or a foundation model here. An exported file is a program, so only those "
            "that were made and checked here are run; name the run, the foundation model or a checkpoint instead."
        )
    if sha256_of(found.path) != found.sha256:
        raise WorkspaceError(f"{path} has changed since it was exported and checked. Export the model again.")
    return found


def _export_at(path: Path) -> ExportedFile | None:
    if not path.is_file() or path.name != "model.pt":
        return None
    if (path.parent / "run.json").is_file():
        run = RunFolder(path.parent)
        report = run.report() or {}
        sha256 = (report.get("export") or {}).get("sha256")
        if isinstance(sha256, str) and isinstance(report.get("best_epoch"), int):
            return ExportedFile(path, sha256, run, report["best_epoch"])
    elif path.parent.parent.name == "exports":
        foundation = FoundationFolder(path.parents[2])
        for export in foundation.exports():
            sha256 = export.report.get("sha256")
            if export.path is not None and export.path.resolve() == path and isinstance(sha256, str):
                source = export.report.get("source_sha256")
                return ExportedFile(path, sha256, None, None, foundation, export.head, source)
    return None


def about_export(exported: ExportedFile) -> dict[str, Any]:
    """The ``model`` of a request or of ``AnalysisInfo``."""
    about: dict[str, Any] = {"kind": "file", "path": str(exported.path), "sha256": exported.sha256}
    if exported.run is not None:
        return about | {
            "id": exported.run.id,
            "name": f"{exported.run.info().name}, exported",
            "epoch": exported.epoch,
        }
    assert exported.foundation is not None
    return about | {
        "id": exported.foundation.id,
        "name": f"{exported.foundation.name}, exported",
        "head": exported.head,
    }
