"""An analysis against mace-torch's own programs on the native file of the same run, and against plain numpy."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers
from small_data import frame, waters

from mace_app.__main__ import main
from mace_app.analysis import Analysis, errors, read_analysis
from mace_app.analysis.errors import Look
from mace_app.jobs import RunFolder
from mace_app.tasks.analyse import analyse_model
from mace_app.training import load_model


def in_mace(command: list[str], *arguments: Path | str) -> None:
    """Files of mace-torch are pickles, which torch reads only when told so."""
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def structures(tmp_path: Path) -> Path:
    """Waters, hydroxyl pairs and hydrogen pairs, in groups that share formulas and elements."""
    frames = [atoms[:2] if number % 3 == 0 else atoms for number, atoms in enumerate(waters(14, seed=20))]
    frames += [atoms[1:] for atoms in waters(2, seed=30)]
    groups = ("warm", "cold", "cold", "new")
    texts = [
        frame(atoms).replace("energy=", f"config_type={groups[number % 4]} energy=")
        for number, atoms in enumerate(frames)
    ]
    path = tmp_path / "structures.xyz"
    path.write_text("".join(texts))
    return path


@pytest.fixture
def analysis(run: RunFolder, structures: Path, tmp_path: Path) -> Analysis:
    analyse_model(run.path, [structures], tmp_path / "analysis", device="cpu")
    return read_analysis(tmp_path / "analysis")


def test_predictions_are_those_of_mace_eval_configs(
    run: RunFolder, structures: Path, analysis: Analysis, tmp_path: Path
) -> None:
    output = tmp_path / "mace.xyz"
    script = [sys.executable, "-m", "mace.cli.eval_configs", "--default_dtype", "float64"]
    in_mace(script, "--configs", structures, "--model", run.native_file, "--output", output)
    theirs = ase.io.read(output, ":")
    assert len(theirs) == len(analysis) == 16
    energies = np.array([atoms.info["MACE_energy"] for atoms in theirs])
    forces = np.concatenate([atoms.arrays["MACE_forces"] for atoms in theirs])
    np.testing.assert_allclose(analysis.labels["energy"].prediction[:, 0], energies, rtol=0, atol=1e-6)
    np.testing.assert_allclose(analysis.labels["energy.forces"].prediction.reshape(-1, 3), forces, rtol=0, atol=1e-6)


def test_errors_are_those_of_maces_tables(run: RunFolder, structures: Path, analysis: Analysis, tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    in_mace([sys.executable, str(Path(__file__).with_name("ask_mace_tables.py"))], run.native_file, structures, output)
    found = json.loads(output.read_text())
    energy = errors.statistics(errors.pairs(analysis, Look("energy")))
    total = errors.statistics(errors.pairs(analysis, Look("energy", per_atom=False)))
    forces = errors.statistics(errors.pairs(analysis, Look("energy.forces")), per_atom=True)
    assert energy is not None and total is not None and forces is not None and forces.relative is not None
    metrics = found["metrics"]
    ours = {
        "rmse_e_per_atom": energy.rmse,
        "mae_e_per_atom": energy.mae,
        "rmse_e": total.rmse,
        "mae_e": total.mae,
        "rmse_f": forces.rmse,
        "mae_f": forces.mae,
        "rel_rmse_f": 100 * forces.relative,
    }
    assert {name: metrics[name] for name in ours} == pytest.approx(ours, rel=1e-6)
    assert found["columns"] == ["RMSE E / meV / atom", "RMSE F / meV / A", "relative F RMSE %"]
    shown = (f"{1000 * energy.rmse:.1f}", f"{1000 * forces.rmse:.1f}", f"{100 * forces.relative:.2f}")
    assert tuple(value.strip() for value in found["row"]) == shown


def statistics(reference: np.ndarray, prediction: np.ndarray, per_atom: bool) -> dict[str, Any]:
    """By their definitions, of values one by one."""
    error = prediction - reference
    squares = np.mean(error**2)
    mean = reference.sum() / reference.size
    variance = np.sum((reference - mean) ** 2) / reference.size
    size = np.sqrt(np.mean(reference**2)) if per_atom else np.sqrt(variance)
    return {
        "count": reference.size,
        "mae": np.sum(np.abs(error)) / reference.size,
        "rmse": np.sqrt(squares),
        "max": np.max(np.abs(error)),
        "bias": np.sum(error) / reference.size,
        "r2": 1 - squares / variance if variance > 0 else None,
        "relative": np.sqrt(squares) / size if size > 0 else None,
    }


def groups_of(frames: list[Atoms], file: Path, by: str) -> list[str]:
    """Of every structure, for all groupings but that by element."""
    return {
        "split": [""] * len(frames),
        "group": [atoms.info["config_type"] for atoms in frames],
        "dataset": [str(file)] * len(frames),
        "formula": [atoms.get_chemical_formula() for atoms in frames],
    }[by]


class Numpy:
    """Errors from a file of labels, the file that ``evaluate`` wrote beside it, and energies of single atoms."""

    def __init__(self, file: Path, predicted: Path, atomic: dict[int, float]) -> None:
        self.file = file
        self.frames: list[Atoms] = ase.io.read(file, ":")
        self.predicted: list[Atoms] = ase.io.read(predicted, ":")
        self.atomic = atomic

    def values(self, look: Look) -> list[tuple[np.ndarray, np.ndarray]]:
        """Reference and prediction of every structure, [1, 1] or [atoms, components]."""
        found = []
        for atoms, predicted in zip(self.frames, self.predicted, strict=True):
            assert np.array_equal(atoms.numbers, predicted.numbers)
            if look.label == "energy":
                sides = [np.array([[atoms.get_potential_energy()]]), np.array([[predicted.info["predicted_energy"]]])]
                if not look.baseline:
                    sides = [side - sum(self.atomic[number] for number in atoms.numbers) for side in sides]
                if look.per_atom is not False:
                    sides = [side / len(atoms) for side in sides]
            else:
                sides = [atoms.get_forces(), predicted.arrays["predicted_forces"]]
                if look.component is not None:
                    sides = [side[:, look.component : look.component + 1] for side in sides]
                if look.norm:
                    length = np.sqrt((sides[0] ** 2).sum(axis=1, keepdims=True))
                    sides = [length, length + np.sqrt(((sides[1] - sides[0]) ** 2).sum(axis=1, keepdims=True))]
            found.append((sides[0], sides[1]))
        return found

    def table(self, look: Look, by: str) -> dict[str, tuple[list[int], dict[str, Any]]]:
        """Name of a row → its structures and statistics."""
        parts: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {}
        for index, (atoms, (reference, prediction)) in enumerate(zip(self.frames, self.values(look), strict=True)):
            if by != "element":
                name = groups_of(self.frames, self.file, by)[index]
                parts.setdefault(name, []).append((index, reference, prediction))
                continue
            for symbol in sorted(set(atoms.symbols)):
                chosen = atoms.numbers == atomic_numbers[symbol] if look.label != "energy" else slice(None)
                parts.setdefault(symbol, []).append((index, reference[chosen], prediction[chosen]))
        return {
            name: (
                [index for index, _, _ in members],
                statistics(
                    np.concatenate([reference.ravel() for _, reference, _ in members]),
                    np.concatenate([prediction.ravel() for _, _, prediction in members]),
                    look.label != "energy",
                ),
            )
            for name, members in parts.items()
        }


LOOKS = [
    Look("energy"),
    Look("energy", per_atom=False),
    Look("energy", baseline=False),
    Look("energy.forces"),
    Look("energy.forces", component=1),
    Look("energy.forces", norm=True),
]


def test_tables_are_what_numpy_makes_of_the_predictions_that_evaluate_writes(
    run: RunFolder, structures: Path, analysis: Analysis, tmp_path: Path
) -> None:
    written = tmp_path / "predictions.xyz"
    assert main(["evaluate", str(run.path), str(structures), "-o", str(written), "--device", "cpu"]) == 0
    model = load_model(run.path)
    baseline = model.baseline.values("energy")[:, 0].tolist()
    plain = Numpy(structures, written, dict(zip(model.config.atomic_types, baseline, strict=True)))
    for look in LOOKS:
        for by in errors.GROUPINGS:
            rows = errors.table(analysis, look, by)
            expected = plain.table(look, by)
            assert {row.name for row in rows} == set(expected)
            assert len(rows) > 1 or by in ("split", "dataset")
            for row in rows:
                members, numbers = expected[row.name]
                assert row.structures.tolist() == members
                for name, value in asdict(row.statistics).items():
                    place = f"{name} of {row.name} by {by}, {look}"
                    if numbers[name] is None:
                        assert value is None, place
                    else:  # forces are written with eight decimals
                        assert value == pytest.approx(numbers[name], rel=1e-6, abs=2e-8), place
