"""The supervisor: takes jobs from the queue, starts their processes and writes down how they ended.

It is a process of its own, one for each workspace, so training goes on when the browser tab or the app's server ends;
and the workers are on their own feet, so training goes on when the supervisor ends too: the next one adopts them.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from mace_app.files import write_json
from mace_app.jobs.devices import detect_devices, worker_environment
from mace_app.jobs.endings import Ending, conclude_foundation, conclude_inspection, conclude_training
from mace_app.jobs.errors import JobsError
from mace_app.jobs.locks import FileLock
from mace_app.jobs.names import utc_now
from mace_app.jobs.processes import ProcessIdentity, find_by_command, python_command, start_detached
from mace_app.jobs.queue import Job
from mace_app.jobs.run_state import RunInfo
from mace_app.jobs.workspace import Workspace

IDLE_MINUTES = 10.0
LIGHT_JOBS_TOGETHER = 2
GRACE_SECONDS = 20.0
POLL_SECONDS = 0.5
ORPHAN_SCAN_SECONDS = 10.0
LOCK_PATIENCE_SECONDS = 3.0


def worker_command(job: Job, folder: Path) -> list[str]:
    """What runs a job: the command line's own workers, so that jobs need not import what they start."""
    if job.kind in ("train", "foundation"):
        return python_command("-m", "mace_app", "work", str(folder))
    return python_command("-m", "mace_app.jobs.inspection", str(folder))


class Supervisor:
    """``command`` gives the program of a job; ``devices`` the device names with their environment variables.

    ``grace_seconds``: how long a process that was asked to end at once may take before it gets SIGTERM, and, twice
    that, SIGKILL.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        command: Callable[[Job, Path], list[str]] = worker_command,
        devices: dict[str, dict[str, str]] | None = None,
        idle_seconds: float = IDLE_MINUTES * 60,
        grace_seconds: float = GRACE_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.workspace = workspace
        self.command = command
        self.devices = detect_devices() if devices is None else devices
        self.idle_seconds = idle_seconds
        self.grace_seconds = grace_seconds
        self.poll_seconds = poll_seconds
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._end = threading.Event()
        self._last_scan = -ORPHAN_SCAN_SECONDS

    def run(self) -> int:
        """Work until nothing was to do for ``idle_seconds`` or SIGTERM comes; workers are left alone in any case."""
        lock = FileLock(self.workspace.root / "supervisor.lock")
        if not lock.acquire(LOCK_PATIENCE_SECONDS):
            self._log("another supervisor is at work here")
            return 0
        try:
            self._announce()
            self._log(f"started; devices: {', '.join(self.devices)}")
            busy_until = time.monotonic()
            while not self._end.wait(self.poll_seconds):
                if not self.workspace.queue.path.exists():
                    self._log("the workspace is gone")
                    return 1
                try:
                    if self.step():
                        busy_until = time.monotonic()
                    elif time.monotonic() - busy_until > self.idle_seconds and self._leave():
                        self._log("nothing to do; ending")
                        return 0
                except (JobsError, OSError) as error:
                    self._log(f"trying again: {error}")
            self._log("asked to end; workers go on")
            self.workspace.supervisor_file.unlink(missing_ok=True)
            return 0
        finally:
            lock.release()

    def end(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._end.set()

    def step(self) -> bool:
        """One round: see who ended, start who may start. True while there is any job."""
        running = [job for job in self.workspace.queue.active() if job.state == "running"]
        for job in running:
            self._guarded(job, self._look_after)
        for job_id in self._children.keys() - {job.id for job in running}:
            if self._children[job_id].poll() is not None:  # reaped, though its job is none of ours any more
                del self._children[job_id]
        while (claimed := self.workspace.queue.claim(list(self.devices), LIGHT_JOBS_TOGETHER)) is not None:
            self._guarded(claimed, self._start)
        if time.monotonic() - self._last_scan >= ORPHAN_SCAN_SECONDS:
            self._mark_orphans()
            self._last_scan = time.monotonic()
        return bool(self.workspace.queue.active())

    def _announce(self) -> None:
        identity = ProcessIdentity.of(os.getpid())
        started = time.time() if identity is None else identity.started
        write_json(self.workspace.supervisor_file, {"pid": os.getpid(), "started": started})

    def _leave(self) -> bool:
        """Take the sign off the door, then look once more: a job that came before is seen, a later one sees no sign."""
        self.workspace.supervisor_file.unlink(missing_ok=True)
        if self.workspace.queue.active():
            self._announce()
            return False
        return True

    def _guarded(self, job: Job, action: Callable[[Job], None]) -> None:
        """One damaged folder must not keep the other jobs from their turn."""
        try:
            action(job)
        except (JobsError, OSError) as error:
            self._log(f"{job.folder}: {error}")
            if not self._alive(job):
                self.workspace.queue.finish(job.id)

    def _start(self, job: Job) -> None:
        folder = self.workspace.root / job.folder
        if not folder.is_dir():
            self.workspace.queue.finish(job.id)
            return
        command = self.command(job, folder)
        environment = worker_environment(job.requested_device, job.device, self.devices)
        try:
            child = start_detached(command, folder / "output.txt", environment)
        except OSError as error:
            self._conclude(
                job, None, f"The process could not be started: {error.strerror}. Free memory, then try again."
            )
            return
        self._children[job.id] = child
        identity = ProcessIdentity.of(child.pid) or ProcessIdentity(child.pid, time.time())
        self.workspace.queue.set_process(job.id, identity)
        self._log(f"{job.folder}: started as process {child.pid} on {job.device or 'any device'}")
        if job.kind == "train":
            self._mark_started(job, identity, command)

    def _mark_started(self, job: Job, identity: ProcessIdentity, command: list[str]) -> None:
        """The worker says so itself, but only once its imports are done; a page should see it now."""
        run = self.workspace.run(Path(job.folder).name)

        def change(now: RunInfo) -> RunInfo | None:
            if now.state != "queued":
                return None
            return now.with_(
                state="running" if run.stop_requested() is None else "stopping",
                reason=None,
                started=utc_now(),
                device=job.device,
                command=command,
                pid=identity.pid,
                pid_started=identity.started,
            )

        run.update(change)

    def _look_after(self, job: Job) -> None:
        child = self._children.get(job.id)
        if child is not None:
            if child.poll() is None:
                self._press(job)
            else:
                self._conclude(job, child.returncode)
        elif job.process is None:
            self._adopt_nameless(job)
        elif job.process.alive():
            self._press(job)
        else:
            self._conclude(job, None)

    def _adopt_nameless(self, job: Job) -> None:
        """The last supervisor died between claiming the job and noting its process, which may or may not exist."""
        identity = find_by_command(self.command(job, self.workspace.root / job.folder))
        if identity is not None:
            self.workspace.queue.set_process(job.id, identity)
        else:
            self.workspace.queue.give_back(job.id)

    def _alive(self, job: Job) -> bool:
        child = self._children.get(job.id)
        return child.poll() is None if child is not None else job.process is not None and job.process.alive()

    def _press(self, job: Job) -> None:
        """Signals, for a process that was asked to end at once and takes too long."""
        name = Path(job.folder).name
        if job.kind == "train":
            run = self.workspace.run(name)
            asked = run.stop_requested_at() if run.stop_requested() == "now" else None
        elif job.kind == "foundation":
            asked = self.workspace.foundation(name).cancelled_at()
        else:
            asked = self.workspace.dataset(name).inspection_cancelled_at()
        if asked is None or job.process is None:
            return
        waited = time.time() - asked
        if waited > 2 * self.grace_seconds:
            job.process.signal(signal.SIGKILL)
        elif waited > self.grace_seconds:
            job.process.signal(signal.SIGTERM)

    def _conclude(self, job: Job, returncode: int | None, failure: str | None = None) -> None:
        self._children.pop(job.id, None)
        name = Path(job.folder).name
        ending = Ending(returncode, failure)
        try:
            if job.kind == "train":
                conclude_training(self.workspace.run(name), job.process, ending)
            elif job.kind == "foundation":
                conclude_foundation(self.workspace.foundation(name), ending)
            else:
                conclude_inspection(self.workspace.dataset(name), ending)
        finally:
            self.workspace.queue.finish(job.id)
        self._log(f"{job.folder}: ended" + ("" if returncode is None else f" with status {returncode}"))

    def _mark_orphans(self) -> None:
        """Runs that are at work by their own account, without a job here: begun on the command line, perhaps killed."""
        jobs = {job.folder for job in self.workspace.queue.active()}
        for run in self.workspace.runs():
            try:
                info = run.info()
                process = info.process
                gone = process is None or not process.alive()
                if info.state in ("running", "stopping") and gone and f"runs/{run.id}" not in jobs:
                    conclude_training(run, process, Ending(None, None))
            except (JobsError, OSError) as error:
                self._log(f"{run.path.name}: {error}")

    @staticmethod
    def _log(text: str) -> None:
        print(f"{utc_now()}  supervisor {os.getpid()}: {text}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m mace_app supervise WORKSPACE``, also ``python -m mace_app.jobs.supervisor WORKSPACE``."""
    parser = argparse.ArgumentParser(prog="mace_app supervise", description="Start the queued jobs of a workspace.")
    parser.add_argument("workspace", type=Path, help="folder of datasets, runs and queue")
    parser.add_argument("--idle-minutes", type=float, default=IDLE_MINUTES, help="end after so long without a job")
    arguments = parser.parse_args(argv)
    try:
        supervisor = Supervisor(Workspace(arguments.workspace), idle_seconds=arguments.idle_minutes * 60)
    except JobsError as error:
        print(error, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, supervisor.end)
    signal.signal(signal.SIGINT, supervisor.end)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
