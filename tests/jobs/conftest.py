"""Real processes, real signals; and no test may leave a process behind."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mace_app.jobs import RunFolder, Workspace


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


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace; afterwards nothing that was started for it may be alive."""
    yield Workspace(tmp_path / "workspace")
    deadline = time.monotonic() + 5
    while (left := processes_naming(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    assert not left, f"left behind: {left}"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "20250131-120000-ethanol", "seed: 1\n", "Ethanol")
