import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # small_data.py

from mace_app.jobs import RunFolder, Workspace


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run on two files and two kinds of structures (``two_kinds``); not to be changed."""
    from small_data import options
    from two_kinds import options_of_kinds, write_kinds

    from mace_app.tasks.train import train_run

    folder = tmp_path_factory.mktemp("trained")
    files = write_kinds(folder)
    workspace = Workspace(folder / "workspace")
    run = workspace.create_run(options_of_kinds(files, options(files[0], ema_decay=0.9)), "Two kinds")
    workspace.queue.cancel(f"runs/{run.id}")
    assert train_run(run) == "finished"
    run.update(pid=None)  # this process lives on, but not for it
    return workspace.root


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Workspace:
    """A copy of ``trained`` to work in; the files the run was trained on lie outside, two folders above."""
    shutil.copytree(trained, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def run(workspace: Workspace) -> RunFolder:
    return workspace.runs()[0]
