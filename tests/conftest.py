"""Shared by every test: which tests run where, and the published data sets when they are at hand."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow") or os.environ.get("CI") == "true":
        return
    skip = pytest.mark.skip(reason="takes minutes: run with --slow, or in CI")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def published_data() -> Path:
    """The folder of published data sets, named by MACE_APP_TEST_DATA; tests that need it are skipped without."""
    folder = os.environ.get("MACE_APP_TEST_DATA")
    if not folder:
        pytest.skip("set MACE_APP_TEST_DATA to the folder of published data sets")
    path = Path(folder)
    assert path.is_dir(), f"MACE_APP_TEST_DATA names {path}, which is not a folder"
    return path


class SmallDisk:
    """A file system in memory, so small that it can be filled."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        path.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], capture_output=True, text=True
        )
        if mounted.returncode != 0:
            pytest.skip(f"a small file system can't be mounted here ({mounted.stderr.strip()})")

    def fill(self, leave: int = 0) -> None:
        """Write until no byte, or only ``leave`` bytes, are left."""
        with open(self.path / "filling", "ab", buffering=0) as stream:
            block = bytes(1 << 12)
            free = shutil.disk_usage(self.path).free
            with suppress(OSError):
                while free > leave:
                    free -= stream.write(block)
                while leave == 0:
                    stream.write(b"x")

    def empty(self) -> None:
        (self.path / "filling").unlink(missing_ok=True)

    def read_only(self, yes: bool = True) -> None:
        subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.path)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """Makes a disk of so many MB; skips where that is not permitted."""
    disks: list[SmallDisk] = []

    def make(megabytes: int) -> SmallDisk:
        disks.append(SmallDisk(tmp_path / f"disk-{len(disks)}", megabytes))
        return disks[-1]

    try:
        if shutil.which("mount") is None or sys.platform != "linux":
            pytest.skip("a small file system can be mounted on Linux only")
        yield make
    finally:
        for disk in disks:
            subprocess.run(["umount", "--lazy", str(disk.path)], check=True)
