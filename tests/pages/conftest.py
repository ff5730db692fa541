"""Pages run without a browser, on a workspace of their own, through the same shell as in the app."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

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
