"""A run is a folder. This class reads and writes every file in it, for pages, workers and the command line alike.

Readers never wait for writers: files are renamed into place whole or grow by whole lines. Only ``run.json`` has two
writers (page and worker), so it is changed under a lock, by read, change, write.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_app.files import write_json, write_text
from mace_app.jobs.errors import RunFolderError
from mace_app.jobs.locks import FileLock, locked
from mace_app.jobs.metrics_file import MetricsChunk, MetricsHistory, append_header, append_metrics, read_metrics
from mace_app.jobs.names import utc_now
from mace_app.jobs.parity_file import Parity, read_parity, write_parity
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.run_state import (
    ACTIVE_STATES,
    FINAL_STATES,
    PROGRESS_KEYS,
    RUN_KEYS,
    Progress,
    RunInfo,
    State,
    StopMode,
)

if TYPE_CHECKING:
    from mace_app.options import RunOptions

DOWNLOADS = {
    "model.pt": "Exported model",
    "model.model": "Model for mace-torch",
    "report.json": "Report",
    "options.yaml": "Options",
    "metrics.jsonl": "Metrics",
    "log.txt": "Log",
    "output.txt": "Output of the training process",
    "splits.json": "Splits",
    "run.json": "Run record",
    "parity/validation.npz": "Validation labels and predictions",
    "checkpoints/best.safetensors": "Best checkpoint",
    "checkpoints/last.safetensors": "Last checkpoint",
}
FOUNDATION_FILE = "foundation.json"
LOG_TAIL_BYTES = 1 << 18
# A killed worker's own children (data loaders) notice its end after a few seconds and hold its lock until then.
WORKER_LOCK_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Download:
    name: str
    title: str
    path: Path
    size: int


class RunFolder:
    """The folder of one run. Making this object reads nothing; a damaged file raises RunFolderError when asked for."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._worker_lock: FileLock | None = None

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def id(self) -> str:
        return self.path.name

    @classmethod
    def create(
        cls,
        path: Path | str,
        options_text: str,
        name: str,
        *,
        identifier: str | None = None,
        device: str | None = None,
        seed: int | None = None,
        command: list[str] | None = None,
    ) -> "RunFolder":
        """Make the folder with its options and a queued ``run.json``; refuses a folder that already is a run."""
        folder = cls(path)
        if folder.run_file.exists():
            raise RunFolderError(f"{folder.path} already holds a run. Choose another folder.")
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text(folder.options_file, options_text)
        info = RunInfo(
            id=identifier or folder.id,
            name=name,
            state="queued",
            created=utc_now(),
            device=device,
            seed=seed,
            command=command,
        )
        write_json(folder.run_file, info.to_json())
        return folder

    # Where things are

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def options_file(self) -> Path:
        return self.path / "options.yaml"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def output_file(self) -> Path:
        """What the worker process prints, warnings and crashes included."""
        return self.path / "output.txt"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def parity_file(self) -> Path:
        return self.path / "parity" / "validation.npz"

    @property
    def model_file(self) -> Path:
        """The exported metatomic model."""
        return self.path / "model.pt"

    @property
    def native_file(self) -> Path:
        """The part of it that mace-torch has, in mace-torch's own format; not every model has one."""
        return self.path / "model.model"

    @property
    def data_path(self) -> Path:
        return self.path / "data"

    def checkpoint_path(self, kind: str) -> Path:
        """``last``, ``best`` or the stem of a periodic one; the folder is made, the file need not exist."""
        if not kind.replace("_", "").isalnum():
            raise ValueError(f"not a kind of checkpoint: {kind!r}")
        folder = self.path / "checkpoints"
        folder.mkdir(exist_ok=True)
        return folder / f"{kind}.safetensors"

    # Options

    def options_text(self) -> str:
        return self._read_text(self.options_file)

    def options(self) -> "RunOptions":
        """The run's options; OptionsError if the file does not hold valid ones."""
        from mace_app.options import load_options

        return load_options(self.options_file)

    def write_options(self, text: str) -> None:
        write_text(self.options_file, text)

    def requested_device(self) -> str | None:
        """The device the options ask for; None where they leave the choice. Reads no more of them than that."""
        import yaml

        try:
            value = yaml.safe_load(self.options_text())
        except yaml.YAMLError as error:
            raise RunFolderError(f"{self.options_file} is not valid YAML: {error}. Correct it.") from error
        device = value.get("device") if isinstance(value, dict) else None
        return device if isinstance(device, str) else None

    # State

    def info(self) -> RunInfo:
        return RunInfo.from_json(self._read_json(self.run_file), str(self.run_file))

    def update(self, change: Callable[[RunInfo], RunInfo | None] | None = None, **values: Any) -> RunInfo:
        """Change ``run.json`` under its lock: by named values, by a function (None: leave it as it is), or both.

        Keys of other versions that the file holds are kept.
        """
        unknown = set(values) - RUN_KEYS
        if unknown:
            raise ValueError(f"run.json has no {', '.join(sorted(unknown))}")
        if not self.path.is_dir():
            raise RunFolderError(f"The run {self.id} is gone: there is no folder {self.path}.")
        with locked(self.path / ".run.lock"):
            raw = self._read_json(self.run_file)
            before = RunInfo.from_json(raw, str(self.run_file))
            after = replace(before, **values)
            if change is not None:
                after = change(after) or before
            if after != before:
                write_json(self.run_file, {**raw, **after.to_json()})
            return after

    def start(self, pid: int | None = None, **values: Any) -> RunInfo:
        """Called by a worker first: it becomes the only one at work here, until it ends or sets a final state.

        ``values`` are further entries of ``run.json`` (device, seed, command, versions). RunFolderError if another
        worker is alive in this folder.
        """
        self._hold()
        identity = ProcessIdentity.of(os.getpid() if pid is None else pid)
        if identity is None:
            raise RunFolderError(f"There is no process {pid} to work on the run {self.id}.")

        def begin(now: RunInfo) -> RunInfo:
            # Looked up under the lock: a stop asked at this very moment is seen here or marks the state after us.
            state: State = "running" if self.stop_requested() is None else "stopping"
            return replace(
                now,
                state=state,
                reason=None,
                started=utc_now(),
                ended=None,
                pid=identity.pid,
                pid_started=identity.started,
            )

        return self.update(begin, **values)

    def set_state(self, state: State, reason: str | None = None) -> RunInfo:
        """Enter a state; a final one records the time, forgets a stop request and lets other workers in."""
        info = self.update(
            lambda now: replace(now, state=state, reason=reason, ended=utc_now() if state in FINAL_STATES else None)
        )
        if state in FINAL_STATES:
            self.clear_stop()
            self.release()
        return info

    def requeue(self) -> None:
        """Forget how the last attempt ended; what it wrote stays, and the next worker goes on from there."""
        self.clear_stop()
        (self.path / "progress.json").unlink(missing_ok=True)
        self.update(state="queued", reason=None, ended=None, pid=None, pid_started=None)

    def conclude(self, state: State, reason: str, process: ProcessIdentity | None) -> bool:
        """Set a final state for a worker that ended without one; False if it set one, or another one took over."""
        done = False

        def change(now: RunInfo) -> RunInfo | None:
            nonlocal done
            taken_over = now.process is not None and now.process != process and now.process.alive()
            done = now.state in ACTIVE_STATES and not taken_over
            return replace(now, state=state, reason=reason, ended=utc_now()) if done else None

        self.update(change)
        if done:
            self.clear_stop()
        return done

    def worker_alive(self) -> bool:
        """Whether the process that ``run.json`` names is still the same and at work."""
        process = self.info().process
        return process is not None and process.alive()

    def _hold(self) -> None:
        if self._worker_lock is None:
            lock = FileLock(self.path / ".worker.lock")
            if not lock.acquire(WORKER_LOCK_PATIENCE_SECONDS):
                raise RunFolderError(f"Another process is at work on the run {self.id}. Wait for its end or stop it.")
            self._worker_lock = lock

    def release(self) -> None:
        if self._worker_lock is not None:
            self._worker_lock.release()
            self._worker_lock = None

    def last_epoch(self) -> int | None:
        """The epoch of the last checkpoint, from which the run would go on; None without a readable one."""
        from safetensors import SafetensorError, safe_open

        path = self.path / "checkpoints" / "last.safetensors"
        try:
            with safe_open(str(path), framework="numpy") as file:
                return int(json.loads((file.metadata() or {})["mace_studio"])["epoch"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    # Stop

    def request_stop(self, mode: StopMode = "best") -> None:
        """``best``: finish the step, save, export the best so far. ``now``: end soon, without an export."""
        write_text(self.path / "stop.request", mode + "\n")
        self.update(lambda now: replace(now, state="stopping") if now.state == "running" else None)

    def stop_requested(self) -> StopMode | None:
        try:
            text = (self.path / "stop.request").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        return "now" if text == "now" else "best"

    def stop_requested_at(self) -> float | None:
        """When the stop was asked, in seconds since 1970."""
        try:
            return (self.path / "stop.request").stat().st_mtime
        except FileNotFoundError:
            return None

    def clear_stop(self) -> None:
        (self.path / "stop.request").unlink(missing_ok=True)

    # Progress, log

    def progress(self) -> Progress | None:
        """None if nothing was written yet."""
        path = self.path / "progress.json"
        return Progress.from_json(self._read_json(path), str(path)) if path.exists() else None

    def write_progress(self, **fields: Any) -> None:
        """Replace ``progress.json``; what is not named is null. ProgressWriter keeps and throttles."""
        unknown = set(fields) - PROGRESS_KEYS
        if unknown:
            raise ValueError(f"progress.json has no {', '.join(sorted(unknown))}")
        write_json(self.path / "progress.json", asdict(Progress(**fields, updated=time.time())))

    def append_log(self, text: str) -> None:
        """Append a line, with the time in UTC."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        with open(self.log_file, "a", encoding="utf-8") as stream:
            stream.write("".join(f"{stamp}  {line}\n" for line in text.splitlines() or [""]))

    def log_tail(self, lines: int = 200) -> list[str]:
        return tail(self.log_file, lines)

    def output_tail(self, lines: int = 50) -> list[str]:
        return tail(self.output_file, lines)

    # Metrics, parity, splits, report

    def start_metrics(self, units: Mapping[str, str], labels: list[str]) -> None:
        append_header(self.metrics_file, units, labels)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        append_metrics(self.metrics_file, record)

    def read_metrics(self, offset: int = 0) -> MetricsChunk:
        return read_metrics(self.metrics_file, offset)

    def metrics(self) -> MetricsHistory:
        """Everything so far; keep the object and call its ``refresh`` for what is new."""
        history = MetricsHistory(self.metrics_file)
        history.refresh()
        return history

    def write_parity(self, arrays: Mapping[str, Any], epoch: int) -> None:
        write_parity(self.parity_file, arrays, epoch)

    def parity(self) -> Parity | None:
        return read_parity(self.parity_file)

    def write_splits(self, splits: Mapping[str, list[int]]) -> None:
        write_json(self.path / "splits.json", {key: [int(index) for index in value] for key, value in splits.items()})

    def splits(self) -> dict[str, list[int]] | None:
        return self._read_object("splits.json")

    def write_foundation(self, start: Mapping[str, Any]) -> None:
        """What a run started from, once it has read the file."""
        write_json(self.path / FOUNDATION_FILE, start)

    def write_report(self, report: Mapping[str, Any]) -> None:
        write_json(self.path / "report.json", {"format": 1, **report})

    def report(self) -> dict[str, Any] | None:
        return self._read_object("report.json")

    def foundation(self) -> dict[str, Any] | None:
        """The file that this run started from, ``foundation.json``; None for one from random weights, or before it has
        begun."""
        return self._read_object(FOUNDATION_FILE)

    # Downloads

    def downloads(self) -> list[Download]:
        """The files a person may fetch, of those that exist."""
        found = []
        for name, title in DOWNLOADS.items():
            with suppress(RunFolderError):
                path = self.download_path(name)
                found.append(Download(name, title, path, path.stat().st_size))
        return found

    def download_path(self, name: str) -> Path:
        """The file behind a name of the list; RunFolderError for every other name, and for links that lead out."""
        path = self.path / name
        if name not in DOWNLOADS or not path.is_file() or not path.resolve().is_relative_to(self.path.resolve()):
            raise RunFolderError(f"The run {self.id} has no file {name!r} to download.")
        return path

    # Reading

    def _read_text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RunFolderError(
                f"The run {self.id} has no {path.name} ({path}). Delete the run or restore the file."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(
                f"{path} cannot be read: {error}. Restore it from a backup or delete the run."
            ) from error

    def _read_json(self, path: Path) -> Any:
        text = self._read_text(path)
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise RunFolderError(
                f"{path} is damaged (line {error.lineno}: {error.msg}). Restore it from a backup or delete the run."
            ) from error

    def _read_object(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.exists():
            return None
        value = self._read_json(path)
        if not isinstance(value, dict):
            raise RunFolderError(f"{path} is damaged: it holds no JSON object. Restore it from a backup.")
        return value


class ProgressWriter:
    """Remembers the fields given so far and writes them about once a second, at once when the phase changes."""

    def __init__(self, folder: RunFolder, interval: float = 1.0) -> None:
        self.folder = folder
        self.interval = interval
        self._fields: dict[str, Any] = {}
        self._written = -interval

    def __call__(self, **fields: Any) -> None:
        new_phase = fields.get("phase", self._fields.get("phase")) != self._fields.get("phase")
        if new_phase:
            self._fields.update(done=None, total=None, eta_seconds=None, step=None, steps=None)
        self._fields.update(fields)
        if new_phase or time.monotonic() - self._written >= self.interval:
            self.flush()

    def flush(self) -> None:
        self.folder.write_progress(**self._fields)
        self._written = time.monotonic()


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file, at the cost of its end only; empty if there is no file."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - LOG_TAIL_BYTES))
            block = stream.read()
    except FileNotFoundError:
        return []
    found = block.decode("utf-8", errors="replace").splitlines()
    if size > LOG_TAIL_BYTES:
        found = found[1:]
    return found[-lines:]
