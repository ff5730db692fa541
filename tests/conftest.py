"""Shared by every test: which tests run where, and the published data sets when they are at hand."""

import os
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
