"""Files of every kind that MACE writes give, read by us and never loaded, what MACE's own calculator gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from graph_fixtures import crystal, ethanol, predict, single_atom, slab
from mace_files import KINDS, save

from mace_app.model import MaceModel
from mace_app.model.foundation import AtomsGraphs, Judge, foundation_model, open_foundation, rebuild

ASKED = [(name, None) for name in KINDS if "two_heads" not in name] + [
    (name, head) for name in KINDS if "two_heads" in name for head in ("dft", "ccsd")
]


def squeezed() -> Atoms:
    """Nuclei repel each other with many eV, so that even the rounding of that has to be mace-torch's."""
    atoms = ethanol(3)
    atoms.positions *= 0.7
    return atoms


STRUCTURES = [ethanol(3), crystal(3), slab(3), single_atom(), squeezed()]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {name: save(make(), folder / f"{name}.model") for name, make in KINDS.items()}


@pytest.fixture(scope="module")
def answers(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What mace-torch's calculator says, in float64, of every file and head."""
    folder = tmp_path_factory.mktemp("answers")
    request = [[f"{name}:{head}", str(files[name]), head] for name, head in ASKED]
    return ask_mace(folder, request, STRUCTURES)


def ask_mace(folder: Path, request: list, structures: list[Atoms]) -> dict[str, np.ndarray]:
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    write(folder / "structures.traj", structures)
    script = Path(__file__).with_name("ask_mace.py")
    names = ["request.json", "structures.traj", "answers.npz"]
    subprocess.run(
        [sys.executable, str(script), *(str(folder / name) for name in names)],
        check=True,
        capture_output=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with np.load(folder / "answers.npz") as found:
        return dict(found)


def differences(model: MaceModel, answers: dict[str, np.ndarray], key: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for index, atoms in enumerate(STRUCTURES):
        ours = predict(model, atoms)
        for label, name in (("energy", "energy"), ("forces", "energy.forces"), ("stress", "energy.stress")):
            if f"{key}:{index}:{label}" in answers:
                theirs = answers[f"{key}:{index}:{label}"]
                found[label] = max(
                    found.get(label, 0.0), float(np.abs(ours[name].reshape(theirs.shape) - theirs).max())
                )
    assert set(found) == {"energy", "forces", "stress"}
    return found


@pytest.mark.parametrize(("name", "head"), ASKED)
def test_energy_forces_and_stress_are_those_of_maces_calculator(
    name: str, head: str | None, files: dict[str, Path], answers: dict[str, np.ndarray]
) -> None:
    foundation = open_foundation(files[name])
    exact = name != "single_precision"
    assert foundation.dtype == (torch.float64 if exact else torch.float32)
    model = foundation_model(foundation, head, dtype=torch.float64)
    # MACE keeps coupling coefficients of a float32 file in float32, even where it computes in float64.
    allowed = 1e-9 if exact else 2e-4
    found = differences(model, answers, f"{name}:{head}")
    largest = max(float(np.abs(answers[f"{name}:{head}:{index}:forces"]).max()) for index in range(len(STRUCTURES)))
    assert max(found.values()) < allowed * max(1.0, largest), (found, largest)


@pytest.mark.parametrize(
    "name", ["newest_two_heads", "vectors_kept", "elements_unordered", "reduced_basis", "agnesi_zbl"]
)
def test_the_rebuilt_model_of_mace_agrees_with_the_loaded_one(
    name: str, files: dict[str, Path], answers: dict[str, np.ndarray]
) -> None:
    foundation = open_foundation(files[name])
    judge = Judge(rebuild(foundation), foundation.architecture, len(foundation.heads) - 1)
    key = f"{name}:{foundation.heads[-1] if len(foundation.heads) > 1 else None}"
    graphs = AtomsGraphs(STRUCTURES, foundation.architecture.r_max)
    for index in range(len(STRUCTURES)):
        found = judge(graphs.collate([index]))
        for label, values in found.items():
            theirs = answers[f"{key}:{index}:{label}"]
            size = max(1.0, float(np.abs(answers[f"{key}:{index}:forces"]).max()))
            assert np.abs(values.reshape(theirs.shape) - theirs).max() < 1e-9 * size
        assert ("stress" in found) == bool(STRUCTURES[index].pbc.all())


def test_a_checkpoint_of_a_foundation_model_is_built_again_without_the_file(files: dict[str, Path]) -> None:
    for name in ("newest_two_heads", "reduced_basis", "one_layer_with_vectors"):
        model = foundation_model(open_foundation(files[name]), "ccsd" if "two" in name else None)
        again = MaceModel.from_json(json.loads(json.dumps(model.to_json())))
        again.load_state_dict(model.state_dict())
        for atoms in STRUCTURES:
            ours, theirs = predict(again, atoms), predict(model, atoms)
            assert all(np.array_equal(ours[label], theirs[label], equal_nan=True) for label in theirs)
