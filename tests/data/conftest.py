"""Small structures written by the tests themselves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mace_app.data import PreparedData, prepare
from mace_app.options import RunOptions, parse_options

WATER = [("O", 0.0, 0.0, 0.0), ("H", 0.96, 0.0, 0.0), ("H", -0.24, 0.93, 0.0)]


def water(energy: object = -2000.0, shift: float = 0.0, comment: str = "", forces: bool = True) -> str:
    """One frame of extended xyz; ``energy=None`` leaves the key out, ``shift`` moves one atom."""
    properties = "species:S:1:pos:R:3" + (":forces:R:3" if forces else "")
    given = "" if energy is None else f"energy={energy} "
    lines = ["3", f'Properties={properties} {given}pbc="F F F" {comment}']
    for number, (symbol, x, y, z) in enumerate(WATER):
        moved = x + shift * (number == 1)
        lines.append(f"{symbol} {moved} {y} {z}" + (f" {shift} 0.0 {0.1 * number}" if forces else ""))
    return "\n".join(lines) + "\n"


def waters(count: int, **kwargs: Any) -> list[str]:
    return [water(-2000.0 - 0.01 * number, 0.01 * number, **kwargs) for number in range(count)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write frames to a file."""

    def writer(frames: Sequence[str] | str, name: str = "data.xyz") -> Path:
        path = tmp_path / name
        path.write_text(frames if isinstance(frames, str) else "".join(frames))
        return path

    return writer


def options(path: Path | list[Any], targets: Any = None, **changes: Any) -> RunOptions:
    """A run on one file with ``r_max`` 3; ``changes`` are entries at the top, ``atomic_types`` and ``num_epochs``."""
    architecture: dict[str, Any] = {"name": "experimental.mace", "model": {"r_max": changes.pop("r_max", 3.0)}}
    if "atomic_types" in changes:
        architecture["atomic_types"] = changes.pop("atomic_types")
    architecture["training"] = {"num_epochs": changes.pop("num_epochs", 1), "batch_size": 1}
    systems = path if isinstance(path, list) else {"systems": str(path), "targets": targets or {"energy": {}}}
    return parse_options({"seed": 1, "architecture": architecture, "training_set": systems, **changes})


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., PreparedData]:
    """``prepare`` on a file."""

    def run(path: Path, targets: Any = None, **changes: Any) -> PreparedData:
        return prepare(options(path, targets, **changes), tmp_path / "prepared")

    return run


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)
