"""A workspace whose processes must all have ended, and a web server that plays the one of the published files."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from file_server import Server
from mace_files import build, save

from mace_app.jobs import Workspace
from mace_app.model.adapter import mace_downloads


@pytest.fixture(scope="session")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(build(), tmp_path_factory.mktemp("published") / "small.model")


@pytest.fixture
def server(small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """mace-torch's addresses lead here, for this process, and its cache is empty."""
    server = Server(small_file.read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    downloads = mace_downloads()
    for table in (downloads.mace_mp_urls, downloads.mace_off_urls):
        for key, address in table.items():
            monkeypatch.setitem(table, key, server.url(os.path.basename(address)))
    yield server
    server.behaviour = "file"
    server.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace; afterwards nothing that was started for it may be alive."""
    yield Workspace(tmp_path / "workspace")
    left = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])]
    for process in left:
        process.kill()
    assert not left, f"left behind: {left}"
