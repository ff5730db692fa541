"""Real processes, real signals; and no test may leave a process behind."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_processes import processes_naming

from mace_app.jobs import RunFolder, Workspace


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
