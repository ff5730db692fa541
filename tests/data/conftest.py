"""Small structures written by the tests themselves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from water_files import options

from mace_app.data import PreparedData, prepare


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write frames to a file."""

    def writer(frames: Sequence[str] | str, name: str = "data.xyz") -> Path:
        path = tmp_path / name
        path.write_text(frames if isinstance(frames, str) else "".join(frames))
        return path

    return writer


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., PreparedData]:
    """``prepare`` on a file."""

    def run(path: Path, targets: Any = None, **changes: Any) -> PreparedData:
        return prepare(options(path, targets, **changes), tmp_path / "prepared")

    return run


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)
