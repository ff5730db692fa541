"""Waiting for real processes, and finding those a test may have left behind."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def wait_until(condition: Callable[[], object], seconds: float = 20.0, what: str = "what was awaited") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.03)


def processes_naming(folder: Path) -> list[psutil.Process]:
    """Living processes that carry the folder on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            living = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if living and any(str(folder) in argument for argument in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
