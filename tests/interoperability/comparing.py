"""What the scripts of this folder share: our own answers for a data set, and the table of differences."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.io import read

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """The largest difference in one label between us and the other program, and the one that is allowed."""

    label: str
    difference: float
    allowed: float
    magnitude: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.allowed  # False for NaN

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "DIFFERS"
        limits = f"(allowed {self.allowed:.1e}, values to {self.magnitude:.4g})"
        return f"{self.label:24} {verdict}  {self.difference:.2e} {limits}"


def row(label: str, theirs: np.ndarray, ours: np.ndarray, relative: float) -> Row:
    theirs, ours = np.asarray(theirs, dtype=float), np.asarray(ours, dtype=float)
    assert theirs.shape == ours.shape, f"{label}: they give {theirs.shape}, we give {ours.shape}"
    size = float(np.abs(ours).max())
    return Row(label, float(np.abs(theirs - ours).max()), relative * size, size)


def mace_app(*arguments: object) -> str:
    """What our command line prints."""
    command = [sys.executable, "-m", "mace_app", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def own_errors(run: Path, data: Path) -> dict[str, dict[str, Any]]:
    """Label → mae, rmse and so on."""
    return json.loads(mace_app("evaluate", run.resolve(), data.resolve(), "--json"))["errors"]


def own_predictions(run: Path, data: Path) -> list[dict[str, np.ndarray]]:
    """Label → values, for each structure; rows are atoms for what is per atom."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.npz"
        mace_app("evaluate", run.resolve(), data.resolve(), "-o", file)
        with np.load(file) as stored:
            arrays = dict(stored)
    sizes = arrays.pop("n_atoms")
    atoms, cuts = int(sizes.sum()), np.cumsum(sizes)[:-1]
    parts = {
        label: np.split(values, cuts) if len(values) == atoms and label in per_atom(run) else list(values)
        for label, values in arrays.items()
    }
    return [{label: values[index] for label, values in parts.items()} for index in range(len(sizes))]


def per_atom(run: Path) -> set[str]:
    kinds = {name: target.get("sample_kind", "system") for name, target in targets_of(run).items()}
    return {name for name, kind in kinds.items() if kind == "atom"} | {f"{name}.forces" for name in kinds}


def targets_of(run: Path) -> dict[str, Any]:
    """As the run read them from its data."""
    sets = yaml.safe_load((run / "options.yaml").read_text(encoding="utf-8"))["training_set"]
    return (sets[0] if isinstance(sets, list) else sets)["targets"]


def structures_of(data: Path) -> list[Atoms]:
    return read(data, ":")


def finish(rows: list[Row]) -> None:
    """Print the table; the exit code says whether all agrees."""
    for entry in rows:
        print(entry)
    sys.exit(0 if rows and all(entry.agrees for entry in rows) else 1)
