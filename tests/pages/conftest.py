"""Pages run without a browser, on a workspace of their own, through the same shell as in the app."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder, Workspace
from mace_app.jobs.inspection import inspect

SHELL = Path(__file__).resolve().parents[2] / "mace_app" / "ui" / "shell.py"


@pytest.fixture
def workspace_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "workspace"
    monkeypatch.setenv("MACE_APP_WORKSPACE", str(path))
    return path


@pytest.fixture
def open_page(workspace_path: Path) -> Callable[..., AppTest]:
    """``open_page("train", step="model")`` shows a page as if its address had been entered."""

    def open_(name: str, **query: str) -> AppTest:
        app = AppTest.from_file(str(SHELL), default_timeout=30)
        app.run()
        app.switch_page(f"../../pages/{name}.py")
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        assert not app.exception, app.exception
        return app

    return open_


@pytest.fixture
def add_file(workspace_path: Path, tmp_path: Path) -> Callable[..., DatasetFolder]:
    """``add_file(text, confirm=True)`` adds a file, inspects it here and now, and may confirm the suggested mapping."""

    def add(text: str, name: str = "structures.xyz", confirm: bool = False) -> DatasetFolder:
        path = tmp_path / name
        path.write_text(text)
        with path.open("rb") as stream:
            folder = Workspace(workspace_path).add_dataset(path.stem, stream, original=name)
        inspect(folder)
        if confirm:
            from mace_app.data import suggest_mapping
            from mace_app.ui.mapping import decided

            inspection = folder.inspection()
            assert inspection is not None, folder.inspection_error()
            targets = decided(suggest_mapping(inspection))
            folder.write_mapping({"length_unit": "angstrom", "targets": targets})
        return folder

    return add
