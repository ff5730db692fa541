"""The work of one foundation model's folder: fetch, read, export. Nothing heavy is imported before it has said that it
lives, and the file's checksum is computed meanwhile."""

import sys
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_app.files import sha256_of
from mace_app.jobs import FoundationFolder, FoundationRequest, JobsError
from mace_app.tasks.phases import HEAD_PHASES, Phases

if TYPE_CHECKING:
    from mace_app.model.foundation import Foundation
    from mace_app.tasks.foundation import Compared, ExportedHead, FoundationExports

DONE, FAILED, CANCELLED = 0, 1, 2


def work_foundation(folder: FoundationFolder) -> int:
    """Do what was requested and write down how it ended. 0, 1 on failure, 2 when cancelled."""
    folder.set_state("running")
    phases = Phases(folder.write_progress)
    try:
        with phases.told(folder.cancelled):
            refused = _work(folder, phases)
    except KeyboardInterrupt:
        if folder.cancelled():
            folder.set_state("cancelled")
            return CANCELLED
        folder.set_state("failed", "The work was interrupted. Try again.")
        return FAILED
    except JobsError as error:
        folder.set_state("failed", str(error))
        return FAILED
    except Exception as error:  # noqa: BLE001 — whatever it is, the page must be told
        folder.set_state("failed", _sentence(error, folder))
        return FAILED
    folder.set_state("failed" if refused else "done", " ".join(refused) or None)
    return FAILED if refused else DONE


def _work(folder: FoundationFolder, phases: Phases) -> list[str]:
    """Why heads were refused, a sentence each."""
    published, request = folder.published, folder.request()
    phases.plan(["rebuilding", *HEAD_PHASES] if request.heads is None else [])
    if published is not None:
        phases.begin("downloading", f"Downloading {published.title}")
        from mace_app.tasks.published_files import fetch_published

        fetched = fetch_published(published, phases)
        path, sha256, foundation = fetched.path, fetched.sha256, fetched.foundation
        folder.note_source(path, sha256)
    else:
        path = folder.source_path
        phases.begin("reading", f"Reading {folder.info().original}")
        with ThreadPoolExecutor(max_workers=1) as pool:
            hashing: Future[str] = pool.submit(sha256_of, path)
            from mace_app.model.foundation import open_foundation

            foundation = open_foundation(path)
            sha256 = hashing.result()
        folder.note_source(path, sha256)
    _note_facts(folder, foundation, path, sha256)
    heads = request.heads
    if heads is None:
        heads = tuple(foundation.heads) if len(foundation.heads) == 1 else ()
    phases.plan(["rebuilding", *HEAD_PHASES * len(heads)] if heads else [])
    if not heads:
        return []
    from mace_app.tasks.foundation import FoundationExports

    exports = FoundationExports(path, phases, foundation, sha256)
    return [sentence for head in heads if (sentence := _export(folder, exports, head, request)) is not None]


def _note_facts(folder: FoundationFolder, foundation: "Foundation", path: Path, sha256: str) -> None:
    from mace_app.tasks.foundation_facts import foundation_facts

    before = folder.facts()
    if before is not None and before.get("sha256") != sha256:
        folder.forget()
    facts = foundation_facts(foundation)
    folder.write_facts(facts | {"file": folder.info().original, "bytes": path.stat().st_size, "sha256": sha256})


def _export(
    folder: FoundationFolder, exports: "FoundationExports", head: str, request: FoundationRequest
) -> str | None:
    from mace_app.tasks.foundation import HeadRefused

    foundation = exports.foundation
    foundation.head_index(head)
    output = folder.export_folder(head) / "model.pt"
    output.parent.mkdir(parents=True, exist_ok=True)
    structures = None if request.structures is None else Path(request.structures)
    report: dict[str, Any] = {"format": 1, "head": head, "source_sha256": exports.sha256}
    precision = request.precision or str(foundation.dtype).removeprefix("torch.")
    try:
        exported = exports.head(head, output, structures, request.precision)
    except HeadRefused as refused:
        output.unlink(missing_ok=True)  # one of an earlier request would be taken for this one's
        checks = [check.to_json() for check in refused.checks]
        rows = [row.to_json() for row in refused.structures]
        folder.write_export(
            head, report | {"refused": refused.message, "precision": precision, "checks": checks, "structures": rows}
        )
        return refused.message
    folder.write_export(head, report | _told(exported, output) | {"precision": precision})
    return None


def _told(exported: "ExportedHead", output: Path) -> dict[str, Any]:
    rows: list[Compared] = exported.structures
    return exported.report.to_json() | {
        "bytes": output.stat().st_size,
        "seconds": round(exported.seconds, 2),
        "licence": exported.licence,
        "structures": [row.to_json() for row in rows],
    }


def _sentence(error: Exception, folder: FoundationFolder) -> str:
    from mace_app.tasks.errors import EXPECTED, out_of_memory, sentence

    if out_of_memory(error):
        name = ""
        with suppress(JobsError):
            name = f" for {folder.info().original}"
        return f"The memory of the machine is not enough{name}. Close other programs, or use a machine with more."
    if not isinstance(error, EXPECTED):
        traceback.print_exc(file=sys.stderr)
    return sentence(error, folder.output_file.name)
