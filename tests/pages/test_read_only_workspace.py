"""A workspace that can't be written to: every page says so in one sentence."""

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from mace_app.jobs import Workspace


@pytest.mark.parametrize("page", ["home", "runs"])
def test_pages_say_that_the_workspace_is_read_only(
    small_disk: Callable[[int], Any],
    open_page: Callable[..., AppTest],
    monkeypatch: pytest.MonkeyPatch,
    page: str,
) -> None:
    disk = small_disk(4)
    Workspace(disk.path / "workspace")
    monkeypatch.setenv("MACE_APP_WORKSPACE", str(disk.path / "workspace"))
    disk.read_only()
    app = open_page(page)
    (error,) = app.error
    assert "can't be written to" in error.value and "read-only" in error.value
