"""A run folder from elsewhere, taken over as data.

Nothing in it is executed and no name in it is followed: of a fixed list of files those that are plain files of a sane
size are copied, and what they say is checked as far as this program builds on it. Exported models are left out: a
TorchScript or a pickle is a program, and an export made here from the checkpoint says the same.
"""

import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mace_app.files import atomic_open, write_json
from mace_app.jobs.checkpoint_files import NoCheckpoint, checkpoint_header
from mace_app.jobs.data_roots import allowed_path
from mace_app.jobs.errors import RunFolderError, WorkspaceError
from mace_app.jobs.names import display_name, plain_text
from mace_app.jobs.run_folder import FOUNDATION_FILE, RunFolder
from mace_app.jobs.run_state import ACTIVE_STATES, RunInfo

MB = 1_000_000
# The files that are taken over, with the largest size that makes sense.
FILES = {
    "options.yaml": 10 * MB,
    "run.json": 10 * MB,
    "log.txt": 1000 * MB,
    "output.txt": 1000 * MB,
    "metrics.jsonl": 4000 * MB,
    "splits.json": 1000 * MB,
    "report.json": 100 * MB,
    FOUNDATION_FILE: MB,
    "parity/validation.npz": 4000 * MB,
}
NEEDED = ("options.yaml", "run.json")
CHECKPOINT = re.compile(r"(last|best|stage_one|epoch_\d{1,9})\.safetensors")
CHECKPOINT_SIZE = 50_000 * MB
MOST_CHECKPOINTS = 10_000
PROGRAMS = ("model.pt", "model.model")
CHUNK = 1 << 20


@dataclass(frozen=True)
class Imported:
    """The new run, and a sentence for each thing that was left out."""

    run: RunFolder
    left_out: list[str]


@dataclass(frozen=True)
class Draft:
    name: str
    left_out: list[str]


def import_into(building: Path, source: Path, workspace: Path, name: str | None) -> Draft:
    """Fill ``building`` from the run folder ``source``; WorkspaceError where that is no run or not to be trusted."""
    source = allowed_path(source, workspace)
    try:
        is_folder = source.is_dir()
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"The path {str(source)!r} cannot be used: {error}.") from error
    if not is_folder:
        raise WorkspaceError(f"{source} is no folder. Name the folder of a run, the one that holds run.json.")
    if source.is_relative_to(workspace / "runs") or workspace.is_relative_to(source):
        raise WorkspaceError(f"{source} belongs to this workspace already. Name a run folder from elsewhere.")
    left_out: list[str] = []
    for relative, limit in FILES.items():
        if not _copy(source / relative, building / relative, limit, left_out) and relative in NEEDED:
            raise WorkspaceError(f"{source} is no run folder: it holds no {relative}. Name the one that does.")
    for path in _checkpoints(source / "checkpoints", left_out):
        _take_checkpoint(path, building / "checkpoints" / path.name, left_out)
    for program in PROGRAMS:
        if (source / program).exists():
            left_out.append(
                f"{program} was left out, because an exported model is a program. Export the model again from its "
                "checkpoint."
            )
    _check_json(building / "splits.json", left_out)
    _check_json(building / "report.json", left_out)
    _check_foundation(building / FOUNDATION_FILE, left_out)
    _check_parity(building / "parity" / "validation.npz", left_out)
    _check_options(building / "options.yaml", source)
    return Draft(_rewrite(building, source, name), left_out)


def _copy(source: Path, destination: Path, limit: int, left_out: list[str]) -> bool:
    """Copy a plain file; False if there is none. What is no plain file or is too large counts as none, and is told."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        left_out.append(f"{source.name} was left out, because it can't be opened or is a link.")
        return False
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            left_out.append(f"{source.name} was left out, because it is no plain file.")
            return False
        if source.parent.is_symlink():
            left_out.append(f"{source.name} was left out, because its folder is a link.")
            return False
        if status.st_size > limit:
            left_out.append(
                f"{source.name} was left out, because it is larger than {limit / MB:.0f} MB, as no run writes it."
            )
            return False
        destination.parent.mkdir(parents=True, exist_ok=True)
        copied = 0
        with atomic_open(destination) as target:
            while block := stream.read(CHUNK):
                copied += len(block)
                if copied > limit:
                    raise WorkspaceError(f"{source} grows while it is read. Import the run when it is over.")
                target.write(block)
    return True


def _checkpoints(folder: Path, left_out: list[str]) -> Iterator[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return
    found = [path for path in sorted(folder.iterdir()) if CHECKPOINT.fullmatch(path.name)]
    if len(found) > MOST_CHECKPOINTS:
        left_out.append(f"Of {len(found)} checkpoints the first {MOST_CHECKPOINTS} were taken.")
    yield from found[:MOST_CHECKPOINTS]


def _take_checkpoint(source: Path, destination: Path, left_out: list[str]) -> None:
    if not _copy(source, destination, CHECKPOINT_SIZE, left_out):
        return
    try:
        checkpoint_header(destination)
    except NoCheckpoint as error:
        destination.unlink()
        left_out.append(f"{source.name} was left out, because {error}.")


def _check_json(path: Path, left_out: list[str]) -> None:
    if not path.exists():
        return
    try:
        if isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
            return
    except (ValueError, RecursionError):
        pass
    path.unlink()
    left_out.append(f"{path.name} was left out, because it holds no JSON object.")


def _check_foundation(path: Path, left_out: list[str]) -> None:
    """Words only, which are shown: of the file that the run began with."""
    _check_json(path, left_out)
    if not path.exists():
        return
    value = json.loads(path.read_text(encoding="utf-8"))
    words = {key: _text(value.get(key)) for key in ("file", "sha256", "title", "licence")}
    write_json(path, {**words, "heads": _texts(value.get("heads"))})


def _check_parity(path: Path, left_out: list[str]) -> None:
    if not path.exists():
        return
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [entry.file_size for entry in archive.infolist()]
            sane = sum(sizes) <= FILES["parity/validation.npz"] and len(sizes) < 10_000
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        sane = False
    if not sane:
        path.unlink()
        left_out.append(f"{path.name} was left out, because it is no archive of arrays, or a far too large one.")


def _check_options(path: Path, source: Path) -> None:
    """YAML of plain values; whether the options hold is asked when the run is resumed or cloned."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise WorkspaceError(f"options.yaml of {source} is not valid YAML: {error}. Correct it first.") from error
    if not isinstance(value, dict):
        raise WorkspaceError(f"options.yaml of {source} holds no options. Name another folder.")


def _rewrite(building: Path, source: Path, name: str | None) -> str:
    """``run.json`` anew from what can be believed; gives the run's name."""
    path = building / "run.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        info = RunInfo.from_json(raw, f"run.json of {source}")
    except (ValueError, RecursionError) as error:
        raise WorkspaceError(f"run.json of {source} is damaged ({error}). Name another folder.") from error
    except RunFolderError as error:
        raise WorkspaceError(str(error)) from error
    shown = display_name(name or info.name, "Imported run")
    reason = None if info.reason is None else plain_text(str(info.reason))[:2000]
    state = info.state
    if state in ACTIVE_STATES:
        state, reason = (
            "interrupted",
            f"It was {state} when it was imported. Resume continues from the last checkpoint.",
        )
    clean = RunInfo(
        id=building.name,
        name=shown,
        state=state,
        reason=reason,
        created=display_name(info.created, ""),
        started=_text(info.started),
        ended=_text(info.ended),
        device=_text(info.device),
        seed=_whole(info.seed),
        best_epoch=_whole(info.best_epoch),
        parameters=_whole(info.parameters),
        versions=_texts(info.versions),
        data=_data(info.data),
        tags=[display_name(tag, "") for tag in info.tags[:20]] if _are_texts(info.tags) else [],
        note=plain_text(info.note)[:20_000] if isinstance(info.note, str) else "",
        imported={"from": str(source), "id": display_name(info.id, "")},
    )
    write_json(path, clean.to_json())
    return shown


def _text(value: Any) -> str | None:
    return display_name(value, "") if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {display_name(str(key), ""): display_name(str(entry), "") for key, entry in list(value.items())[:100]}


def _data(value: Any) -> list[dict[str, Any]]:
    """Which files the run learned from: path, hash, number of structures."""
    if not isinstance(value, list):
        return []
    found = []
    for entry in value[:10_000]:
        if isinstance(entry, dict) and isinstance(entry.get("path"), str) and isinstance(entry.get("sha256"), str):
            found.append(
                {"path": entry["path"], "sha256": entry["sha256"], "structures": _whole(entry.get("structures")) or 0}
            )
    return found
