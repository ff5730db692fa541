"""Processes: started on their own feet, and recognised later without being fooled.

A process number alone says little: it is given out again, and a child that ended but was not reaped still answers to
``kill(pid, 0)``. So a process is known by its number, the time it started and the boot of the machine it started in,
and a zombie counts as dead. Where the system says how long after the boot a process started (Linux), that decides: the
wall clock may be set while a process lives.
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
from functools import cache
from pathlib import Path
from typing import Any

# The start time is derived from the wall clock, which may be set a little while a process lives.
START_TOLERANCE_SECONDS = 2.0
# Times since boot are counted in clock ticks and compared as such.
TICK_TOLERANCE_SECONDS = 0.02
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str | None:
    """Changes with every start of the machine, or of the container that this runs in; None where it can't be known."""
    try:
        machine = _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    first = _after_boot(1)
    return machine if first is None else f"{machine}/{first:.2f}"


def _after_boot(pid: int) -> float | None:
    """Seconds between the start of the machine and that of the process; None where the system doesn't say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True)
class ProcessIdentity:
    """``started`` in seconds since 1970, as psutil's ``create_time`` gives it; ``after_boot`` in seconds since the
    start of the machine, and ``boot`` which start that was (None in records of earlier versions)."""

    pid: int
    started: float
    after_boot: float | None = None
    boot: str | None = None

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The identity of the process that has this number now; None if there is none, or only a zombie."""
        import psutil

        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, process.create_time(), _after_boot(pid), boot_id())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return None

    @classmethod
    def from_json(cls, value: object) -> "ProcessIdentity | None":
        """From ``pid``, ``pid_started``, ``pid_after_boot`` and ``boot`` of a record; None where it names none."""
        if not isinstance(value, Mapping):
            return None
        pid, started = value.get("pid"), value.get("pid_started")
        if not isinstance(pid, int) or not isinstance(started, int | float):
            return None
        after, boot = value.get("pid_after_boot"), value.get("boot")
        return cls(
            pid,
            float(started),
            float(after) if isinstance(after, int | float) else None,
            boot if isinstance(boot, str) else None,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "pid": self.pid,
            "pid_started": self.started,
            "pid_after_boot": self.after_boot,
            "boot": self.boot,
        }

    @property
    def of_another_boot(self) -> bool:
        """Whether the machine was started anew since: then the number means nothing any more."""
        return self.boot is not None and boot_id() is not None and self.boot != boot_id()

    def alive(self) -> bool:
        if self.of_another_boot:
            return False
        now = ProcessIdentity.of(self.pid)
        return now is not None and self.same_start(now)

    def same_start(self, other: "ProcessIdentity") -> bool:
        if self.after_boot is not None and other.after_boot is not None:
            return abs(self.after_boot - other.after_boot) < TICK_TOLERANCE_SECONDS
        return abs(self.started - other.started) < START_TOLERANCE_SECONDS

    def same(self, other: "ProcessIdentity | None") -> bool:
        """Whether both mean one process; unlike ``==`` it allows for clocks that were set in between."""
        return other is not None and self.pid == other.pid and self.boot == other.boot and self.same_start(other)

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
                return ProcessIdentity.of(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return None


def kill_session(leader: ProcessIdentity | None) -> int:
    """SIGKILL what a dead process left behind in the session it led; how many that were.

    A session keeps its number from being given out again, so as long as nobody lives under the leader's number itself,
    those in the session are its own.
    """
    import psutil

    if leader is None or leader.of_another_boot or ProcessIdentity.of(leader.pid) is not None:
        return 0
    left = 0
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            zombie = process.status() == psutil.STATUS_ZOMBIE
            if process.pid != leader.pid and not zombie and os.getsid(process.pid) == leader.pid:
                os.kill(process.pid, signal.SIGKILL)
                left += 1
    return left


def start_detached(
    command: Sequence[str],
    output: Path,
    environment: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in its own session: no terminal, no pipe, so nobody's end ends or blocks it.

    Its variables are ``base`` (those of this process) and ``environment``. What it prints is appended to the file
    ``output``. This package's folder is put on its ``PYTHONPATH``, so that ``-m mace_app`` works from every working
    directory.
    """
    variables = {**(os.environ if base is None else base), **(environment or {})}
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
