"""Processes: started on their own feet, and recognised later without being fooled.

A process number alone says little: it is given out again, and a child that ended but was not reaped still answers to
``kill(pid, 0)``. So a process is known by its number and the time it started, and a zombie counts as dead.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# The start time is derived from the wall clock, which may be set a little while a process lives.
START_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True)
class ProcessIdentity:
    """``started`` in seconds since 1970, as psutil's ``create_time`` gives it."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The identity of the process that has this number now; None if there is none, or only a zombie."""
        import psutil

        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, process.create_time())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return None

    def alive(self) -> bool:
        now = ProcessIdentity.of(self.pid)
        return now is not None and abs(now.started - self.started) < START_TOLERANCE_SECONDS

    def wait(self, patience: float) -> bool:
        """Whether the process ended within ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and, where it leads its own session, to its children; nothing if it is gone."""
        if not self.alive():
            return
        with suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


def find_by_command(command: Sequence[str]) -> ProcessIdentity | None:
    """A living process whose command line is exactly ``command``."""
    import psutil

    for process in psutil.process_iter():
        try:
            if process.cmdline() == list(command) and process.status() != psutil.STATUS_ZOMBIE:
                return ProcessIdentity(process.pid, process.create_time())
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return None


def start_detached(
    command: Sequence[str], output: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program in its own session: no terminal, no pipe, so nobody's end ends or blocks it.

    What it prints is appended to the file ``output``. This package's folder is put on its ``PYTHONPATH``, so that
    ``-m mace_app`` works from every working directory.
    """
    variables = {**os.environ, **(environment or {})}
    package_parent = str(Path(__file__).resolve().parents[2])
    paths = [package_parent, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    variables["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    with open(output, "ab") as stream:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=variables,
            start_new_session=True,
        )


def reap_in_background(process: subprocess.Popen[bytes]) -> None:
    """Wait for a child in a daemon thread, so that it never stays behind as a zombie of a long-lived server."""
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()


def python_command(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
