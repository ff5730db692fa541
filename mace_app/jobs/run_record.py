"""``run.json`` and who may work on a run: states, the one worker, the wish to stop.

Only ``run.json`` has two writers (page and worker), so it is changed under a lock, by read, change, write.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mace_app.files import remove_temporary, write_json, write_text
from mace_app.jobs.checkpoint_files import NoCheckpoint, checkpoint_header
from mace_app.jobs.errors import RunFolderError
from mace_app.jobs.failures import Failure
from mace_app.jobs.locks import FileLock, locked
from mace_app.jobs.names import utc_now
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.run_state import ACTIVE_STATES, FINAL_STATES, RUN_KEYS, RunInfo, State, StopMode

# Room that a worker keeps for its last words, should the disk be full by then.
RESERVE = ".reserve"
RESERVE_BYTES = 1 << 16
WORKER_LOCK = ".worker.lock"
# A killed worker's own children (data loaders) notice its end after a few seconds and hold its lock until then.
WORKER_LOCK_PATIENCE_SECONDS = 10.0


class RunRecord:
    """The part of a run folder that says how the run is."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._worker_lock: FileLock | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

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
        self._remove_litter()
        (self.path / RESERVE).write_bytes(os.urandom(RESERVE_BYTES))  # not zeros: some file systems store those as none

        def begin(now: RunInfo) -> RunInfo:
            # Looked up under the lock: a stop asked at this very moment is seen here or marks the state after us.
            state: State = "running" if self.stop_requested() is None else "stopping"
            return replace(
                now,
                state=state,
                reason=None,
                started=utc_now(),
                ended=None,
                failure=None,
                not_responding=None,
                **identity.to_json(),
            )

        return self.update(begin, **values)

    def _remove_litter(self) -> None:
        """What killed writers left half written; called by the only worker, so pages' files alone may be in use."""
        for folder in (self.path, self.path / "checkpoints", self.path / "parity", self.path / "data"):
            remove_temporary(folder, lambda pid: pid == os.getpid() or ProcessIdentity.of(pid) is not None)

    def set_state(self, state: State, reason: str | None = None, failure: Failure | None = None) -> RunInfo:
        """Enter a state; a final one records the time, forgets a stop request and lets other workers in."""
        final = state in FINAL_STATES

        def enter(now: RunInfo) -> RunInfo:
            return replace(
                now,
                state=state,
                reason=reason,
                failure=None if failure is None else failure.to_json(),
                ended=utc_now() if final else None,
                not_responding=None,
            )

        if final:
            (self.path / RESERVE).unlink(missing_ok=True)  # its room is for this
        info = self.update(enter)
        if final:
            self.clear_stop()
            self.release()
        return info

    def requeue(self, automatic: bool = False) -> None:
        """Forget how the last attempt ended; what it wrote stays, and the next worker goes on from there.

        ``automatic``: nobody asked for it; such resumptions in a row from one place are counted.
        """
        self.clear_stop()
        (self.path / "progress.json").unlink(missing_ok=True)
        place = self.last_place()

        def forget(now: RunInfo) -> RunInfo:
            again = automatic and now.automatic > 0 and now.automatic_from == place
            return replace(
                now,
                state="queued",
                reason=None,
                failure=None,
                ended=None,
                not_responding=None,
                pid=None,
                pid_started=None,
                pid_after_boot=None,
                boot=None,
                slot=None,
                automatic=(now.automatic + 1 if again else 1) if automatic else 0,
                automatic_from=place if automatic else None,
            )

        self.update(forget)

    def conclude(
        self, state: State, reason: str, process: ProcessIdentity | None, failure: Failure | None = None
    ) -> bool:
        """Set a final state for a worker that ended without one; False if it set one, or another one took over."""
        done = False

        def change(now: RunInfo) -> RunInfo | None:
            nonlocal done
            taken_over = now.process is not None and not now.process.same(process) and now.process.alive()
            done = now.state in ACTIVE_STATES and not taken_over
            if not done:
                return None
            told = None if failure is None else failure.to_json()
            return replace(now, state=state, reason=reason, failure=told, ended=utc_now(), not_responding=None)

        (self.path / RESERVE).unlink(missing_ok=True)
        self.update(change)
        if done:
            self.clear_stop()
        return done

    def worker_alive(self) -> bool:
        """Whether the process that ``run.json`` names is still the same and at work."""
        process = self.info().process
        return process is not None and process.alive()

    def being_worked_on(self) -> bool:
        """Whether any worker holds the folder, also one that ``run.json`` does not name (yet)."""
        if not (self.path / WORKER_LOCK).exists():
            return False
        lock = FileLock(self.path / WORKER_LOCK)
        free = lock.acquire()
        lock.release()
        return not free

    def _hold(self) -> None:
        if self._worker_lock is None:
            lock = FileLock(self.path / WORKER_LOCK)
            if not lock.acquire(WORKER_LOCK_PATIENCE_SECONDS):
                raise RunFolderError(f"Another process is at work on the run {self.id}. Wait for its end or stop it.")
            self._worker_lock = lock

    def release(self) -> None:
        if self._worker_lock is not None:
            self._worker_lock.release()
            self._worker_lock = None

    def last_epoch(self) -> int | None:
        """The epoch of the last checkpoint, from which the run would go on; None without a readable one."""
        place = self.last_place()
        return None if place is None else place[0]

    def last_place(self) -> list[int] | None:
        """Epoch, and steps of the next one, of the last checkpoint; None without a readable one."""
        try:
            header = checkpoint_header(self.path / "checkpoints" / "last.safetensors")
        except (OSError, NoCheckpoint):
            return None
        step = header.get("step")
        return [header["epoch"], step if isinstance(step, int) else 0]

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
