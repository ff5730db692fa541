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
from contextlib import suppress
from pathlib import Path
from types import FrameType

from mace_app.files import remove_temporary, write_json
from mace_app.jobs.devices import detect_devices, remembered_devices, worker_environment
from mace_app.jobs.disk_space import DiskSpace, disk_is_full, nearly_full
from mace_app.jobs.endings import (
    DISK_FULL_STATUS,
    Ending,
    conclude_inspection,
    conclude_job,
    conclude_training,
)
from mace_app.jobs.errors import JobsError, QueueError
from mace_app.jobs.failures import Failure
from mace_app.jobs.folders import sweep
from mace_app.jobs.job_state import JobFolder
from mace_app.jobs.locks import FileLock
from mace_app.jobs.names import utc_now
from mace_app.jobs.processes import (
    ProcessIdentity,
    boot_id,
    find_by_command,
    kill_session,
    python_command,
    start_detached,
)
from mace_app.jobs.pulse import Pulse, patience_seconds
from mace_app.jobs.queue import Job
from mace_app.jobs.recovery import FolderWatch
from mace_app.jobs.run_folder import RunFolder
from mace_app.jobs.run_state import RunInfo
from mace_app.jobs.workspace import Workspace

IDLE_MINUTES = 10.0
LIGHT_JOBS_TOGETHER = 2
GRACE_SECONDS = 20.0
POLL_SECONDS = 0.5
ORPHAN_SCAN_SECONDS = 10.0
LOCK_PATIENCE_SECONDS = 3.0
MOST_WITHOUT_PROGRESS = 3
LITTER_SECONDS = 24 * 3600.0


def worker_command(job: Job, folder: Path) -> list[str]:
    """What runs a job: the command line's own workers, so that jobs need not import what they start."""
    if job.kind != "inspect":
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
        self.patience = patience_seconds
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._pulses: dict[int, Pulse] = {}
        self._asked: dict[int, float] = {}  # since when, by our clock, a job is asked to end at once
        self._starved: set[int] = set()  # jobs whose worker ended in error while the disk was full
        self._said: set[str] = set()
        self._watch = FolderWatch(workspace)
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
            self._sweep()
            busy_until = time.monotonic()
            while not self._end.wait(self.poll_seconds):
                if not self.workspace.runs_path.is_dir():
                    self._log("the workspace is gone")
                    return 1
                try:
                    if not lock.held():
                        self._log("the lock was taken away; ending, so that there are not two; workers go on")
                        return 1
                    if self.step():
                        busy_until = time.monotonic()
                    elif time.monotonic() - busy_until > self.idle_seconds and self._leave():
                        self._log("nothing to do; ending")
                        return 0
                except (JobsError, OSError) as error:
                    self._log_once(f"trying again: {error}")
            self._log("asked to end; workers go on")
            self.workspace.supervisor_file.unlink(missing_ok=True)
            return 0
        finally:
            lock.release()

    def end(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._end.set()

    def step(self) -> bool:
        """One round: see who ended, start who may start. True while there is anything to do without a person."""
        self._note_who_starved()
        running = [job for job in self.workspace.queue.active() if job.state == "running"]
        for job in running:
            self._guarded(job, self._look_after)
        self._forget_all_but({job.id for job in running})
        if time.monotonic() - self._last_scan >= ORPHAN_SCAN_SECONDS:
            self._scan()
            self._last_scan = time.monotonic()
        space = DiskSpace(self.workspace)
        while (claimed := self._claim(space)) is not None:
            self._guarded(claimed, self._start)
        for folder, reason in space.refused.items():
            self._say_why_it_waits(folder, reason)
        return self.workspace.has_work()

    def _note_who_starved(self) -> None:
        """A worker that ends while the disk is full may not even have been able to print why."""
        ended = {job_id for job_id, child in self._children.items() if (child.poll() or 0) > 0}
        if ended - self._starved and nearly_full(self.workspace.root):
            self._starved |= ended

    def _claim(self, space: DiskSpace) -> Job | None:
        return self.workspace.queue.claim(list(self.devices), LIGHT_JOBS_TOGETHER, space.suffices)

    def _forget_all_but(self, running: set[int]) -> None:
        for job_id in self._children.keys() - running:
            if self._children[job_id].poll() is not None:  # reaped, though its job is none of ours any more
                del self._children[job_id]
        for table in (self._pulses, self._asked):
            for job_id in list(table.keys() - running):
                del table[job_id]

    def _announce(self) -> None:
        identity = ProcessIdentity.of(os.getpid()) or ProcessIdentity(os.getpid(), time.time())
        write_json(self.workspace.supervisor_file, identity.to_json())

    def _leave(self) -> bool:
        """Take the sign off the door, then look once more: a job that came before is seen, a later one sees no sign."""
        self.workspace.supervisor_file.unlink(missing_ok=True)
        if self.workspace.has_work():
            self._announce()
            return False
        return True

    def _guarded(self, job: Job, action: Callable[[Job], None]) -> None:
        """One damaged folder must not keep the other jobs from their turn."""
        try:
            action(job)
        except QueueError:
            raise  # nothing is wrong with the job
        except (JobsError, OSError) as error:
            self._log_once(f"{job.folder}: {error}")
            if disk_is_full(error):
                return  # its last word can't be written yet: it is looked after again
            if not self._alive(job):
                self.workspace.queue.finish(job.id)

    def _start(self, job: Job) -> None:
        folder = self.workspace.root / job.folder
        if not folder.is_dir() or (job.kind == "train" and not self._waits(job)):
            self.workspace.queue.finish(job.id)
            return
        command = self.command(job, folder)
        environment = {**worker_environment(job.requested_device, job.device, self.devices), **remembered_devices()}
        try:
            child = start_detached(command, folder / "output.txt", environment)
        except OSError as error:
            self._conclude(
                job, None, f"The process could not be started: {error.strerror}. Free memory, then try again."
            )
            return
        self._children[job.id] = child
        identity = _identity(child)
        self.workspace.queue.set_process(job.id, identity)
        self._log(f"{job.folder}: started as process {child.pid} on {job.device or 'any device'}")
        if job.kind == "train":
            self._mark_started(job, identity, command)

    def _waits(self, job: Job) -> bool:
        """The run's own record decides: a place in the queue may be left over from somebody who was killed."""
        info = self.workspace.run(Path(job.folder).name).info()
        return info.state == "queued" and info.process is None

    def _mark_started(self, job: Job, identity: ProcessIdentity, command: list[str]) -> None:
        """The worker says so itself, but only once its imports are done; a page should see it now."""
        run = self.workspace.run(Path(job.folder).name)

        def change(now: RunInfo) -> RunInfo | None:
            if now.state != "queued":
                return now.with_(slot=job.device)
            return now.with_(
                state="running" if run.stop_requested() is None else "stopping",
                reason=None,
                started=utc_now(),
                device=job.device,
                slot=job.device,
                command=command,
                **identity.to_json(),
            )

        run.update(change)

    def _look_after(self, job: Job) -> None:
        child = self._children.get(job.id)
        if child is not None:
            if child.poll() is None:
                if job.process is None:  # it could not be noted when it was started
                    self.workspace.queue.set_process(job.id, _identity(child))
                self._attend(job)
            else:
                self._conclude(job, child.returncode)
        elif job.process is None:
            self._adopt_nameless(job)
        elif job.process.alive():
            self._attend(job)
        else:
            self._conclude(job, None)

    def _adopt_nameless(self, job: Job) -> None:
        """The last supervisor died between claiming the job and noting its process, which may or may not exist."""
        folder = self.workspace.root / job.folder
        identity = find_by_command(self.command(job, folder))
        if identity is None and job.kind == "train" and folder.is_dir() and not self._waits(job):
            identity = self.workspace.run(folder.name).info().process  # it lived, and is gone again
        if identity is not None:
            self.workspace.queue.set_process(job.id, identity)
        else:
            self.workspace.queue.give_back(job.id)

    def _alive(self, job: Job) -> bool:
        child = self._children.get(job.id)
        return child.poll() is None if child is not None else job.process is not None and job.process.alive()

    def _attend(self, job: Job) -> None:
        """To a worker that lives: whether it still has a folder, has to end, gives signs of life."""
        folder = self.workspace.root / job.folder
        if not folder.is_dir():
            self._log_once(f"{job.folder}: the folder was deleted under the process at work, which is ended")
            self._press(job, True)
        elif job.kind == "train":
            run = self.workspace.run(folder.name)
            self._press(job, run.stop_requested() == "now")
            self._feel_pulse(job, run)
        elif job.kind == "foundation" or job.kind == "analyse":
            self._press(job, JobFolder(folder).cancelled())
        else:
            self._press(job, self.workspace.dataset(folder.name).inspection_cancelled())

    def _press(self, job: Job, asked: bool) -> None:
        """Signals, for a process that was asked to end at once and takes too long."""
        if not asked or job.process is None:
            self._asked.pop(job.id, None)
            return
        waited = time.monotonic() - self._asked.setdefault(job.id, time.monotonic())
        if waited > 2 * self.grace_seconds:
            job.process.signal(signal.SIGKILL)
        elif waited > self.grace_seconds:
            job.process.signal(signal.SIGTERM)

    def _feel_pulse(self, job: Job, run: RunFolder) -> None:
        silent = self._pulses.setdefault(job.id, Pulse(run.path)).silent_seconds()
        progress = run.progress()
        hangs = silent > self.patience(None if progress is None else progress.phase)
        if hangs == (run.info().not_responding is not None):
            return
        since = utc_now(-silent) if hangs else None
        run.update(lambda now: now.with_(not_responding=since) if now.state in ("running", "stopping") else None)
        self._log(f"{job.folder}: no sign of life for {silent / 60:.0f} minutes" if hangs else f"{job.folder}: lives")

    def _conclude(self, job: Job, returncode: int | None, failure: str | None = None) -> None:
        folder = self.workspace.root / job.folder
        if job.id in self._starved:
            returncode = DISK_FULL_STATUS
        left = kill_session(job.process)
        if left:
            self._log(f"{job.folder}: ended {left} processes that the worker left behind")
        ended = f"{job.folder}: ended" + ("" if returncode is None else f" with status {returncode}")
        again = False
        if folder.is_dir():
            if job.kind == "train":
                run = self.workspace.run(folder.name)
                conclude_training(run, job.process, Ending(returncode, failure))
                again = self._resume(job, run)
            elif job.kind == "foundation" or job.kind == "analyse":
                conclude_job(JobFolder(folder), Ending(returncode, failure))
            else:
                conclude_inspection(self.workspace.dataset(folder.name), Ending(returncode, failure))
        else:
            ended += "; its folder was deleted, so nothing is left of it"
        self._children.pop(job.id, None)
        self._starved.discard(job.id)
        if not again:
            self.workspace.queue.finish(job.id)
        self._log(ended + ("; it goes on by itself" if again else ""))

    def _resume(self, job: Job, run: RunFolder) -> bool:
        """Put a run back into the queue that something from outside has ended, where the settings want that."""
        info = run.info()
        failure = Failure.from_json(info.failure)
        if info.state != "interrupted" or failure is None or not self.workspace.settings().resumes(failure.cause):
            return False
        place = run.last_place()
        if info.automatic >= MOST_WITHOUT_PROGRESS and info.automatic_from == place:
            self._log(f"{job.folder}: not resumed again, as it came no further {info.automatic} times")
            return False
        return self.workspace.queue.again(job.id, then=lambda: run.requeue(automatic=True))

    def _say_why_it_waits(self, folder: str, reason: str) -> None:
        with suppress(JobsError, OSError):  # the disk is full, after all
            run = self.workspace.run(Path(folder).name)
            run.update(lambda now: now.with_(reason=reason) if now.state == "queued" else None)
        self._log_once(f"{folder}: {reason}")

    def _scan(self) -> None:
        """Runs and the queue may disagree, when somebody was killed between two writes or a file was lost."""
        for folder in self._watch.add_missing_jobs():
            self._log(f"{folder}: was missing in the queue")
        jobs = {job.folder for job in self.workspace.queue.active()}
        for run, info in self._watch.unfinished():
            process = info.process
            if f"runs/{run.id}" in jobs or (info.state == "queued" if process is None else process.alive()):
                continue
            try:  # begun on a command line and killed
                conclude_training(run, process, Ending(None, None))
            except (JobsError, OSError) as error:
                self._log_once(f"{run.path.name}: {error}")

    def _sweep(self) -> None:
        """What killed processes left half written or half deleted."""
        for folder in (self.workspace.root, *(run.path for run in self.workspace.runs())):
            with suppress(OSError):
                remove_temporary(folder, lambda pid: ProcessIdentity.of(pid) is not None)
        workspace = self.workspace
        parents = (workspace.runs_path, workspace.datasets_path, workspace.foundations_path)
        for parent in (*parents, *workspace.analysis_parents()):
            with suppress(OSError):
                sweep(parent, LITTER_SECONDS)

    def _log_once(self, text: str) -> None:
        """What is found again in every round is said once."""
        if text not in self._said:
            self._said.add(text)
            self._log(text)

    @staticmethod
    def _log(text: str) -> None:
        with suppress(OSError):
            print(f"{utc_now()}  supervisor {os.getpid()}: {text}", flush=True)


def _identity(child: "subprocess.Popen[bytes]") -> ProcessIdentity:
    return ProcessIdentity.of(child.pid) or ProcessIdentity(child.pid, time.time(), boot=boot_id())


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
