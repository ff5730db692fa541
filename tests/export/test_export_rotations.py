"""Tensors trained by the command line turn with the structure when the exported file is run through metatomic alone.

Nothing of this program is imported here: what a simulation program would see is what is tested.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import write
from metatensor.torch import Labels
from metatomic.torch import ModelEvaluationOptions, ModelOutput, load_atomistic_model, systems_to_torch
from scipy.spatial.transform import Rotation
from vesin.metatomic import neighbor_lists_for_model

IRREPS = [{"o3_lambda": 0, "o3_sigma": 1}, {"o3_lambda": 2, "o3_sigma": 1, "num": 2}]
TYPES = {
    "mtt::dipole": ({"cartesian": {"rank": 1}}, 3),
    "mtt::polarizability": ({"cartesian": {"rank": 2}}, 9),  # the labels are symmetric, so the target becomes so
    "mtt::tensor": ({"cartesian": {"rank": 2}}, 9),
    "mtt::quadrupole": ({"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1}]}}, 5),
    "mtt::two_irreps": ({"spherical": {"irreps": IRREPS}}, 11),
}
MODEL = {
    "r_max": 3.5,
    "hidden_irreps": "4x0e + 4x1o + 4x1e + 4x2e",
    "num_radial_basis": 4,
    "radial_MLP": [8],
    "MLP_irreps": "4x0e",
    "max_ell": 2,
    "correlation": 3,
}


def molecules(count: int, seed: int) -> list[Atoms]:
    """Four different atoms each, no two closer than 0.9 Å."""
    random, found = np.random.default_rng(seed), []
    while len(found) < count:
        atoms = Atoms("HCNO", positions=random.uniform(0, 2.6, (4, 3)))
        distances = atoms.get_all_distances() + 9 * np.eye(4)
        if distances.min() > 0.9:
            found.append(atoms)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, random = tmp_path_factory.mktemp("rotations"), np.random.default_rng(8)
    structures = molecules(10, seed=1)
    for atoms in structures:
        for name, (_, size) in TYPES.items():
            atoms.info[f"label_{name.removeprefix('mtt::')}"] = random.normal(size=size)
        tensor = atoms.info["label_polarizability"].reshape(3, 3)
        atoms.info["label_polarizability"] = (tensor + tensor.T).ravel()
    write(folder / "labelled.xyz", structures)
    targets = {n: {"key": f"label_{n.removeprefix('mtt::')}", "type": kind} for n, (kind, _) in TYPES.items()}
    options = {
        "seed": 3,
        "device": "cpu",
        "architecture": {"model": MODEL, "training": {"num_epochs": 1, "batch_size": 4}},
        "training_set": {"systems": str(folder / "labelled.xyz"), "targets": targets},
        "validation_set": 0.2,
    }
    (folder / "options.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    command = [sys.executable, "-m", "mace_app", "train", str(folder / "options.yaml"), "-o", str(folder / "run")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_atomistic_model(folder / "run" / "model.pt")


def run(model: Any, structures: list[Atoms], selected: object = None) -> dict[str, list[np.ndarray]]:
    """The blocks of every target, per structure."""
    systems = systems_to_torch(structures, dtype=torch.float64)
    for calculator in neighbor_lists_for_model("angstrom", model):
        calculator.add_neighbor_list(systems)
    outputs = {name: ModelOutput(sample_kind="system") for name in TYPES}
    results = model(systems, ModelEvaluationOptions("angstrom", outputs, selected), check_consistency=True)
    return {name: [block.values.numpy() for block in tensor.blocks()] for name, tensor in results.items()}


def harmonics_of_degree_two(points: np.ndarray) -> np.ndarray:
    """Real spherical harmonics m = −2…2 of common norm (without the phases of the complex ones)."""
    x, y, z = points.T
    squares = x**2 + y**2 + z**2
    return np.stack([x * y, y * z, (3 * z**2 - squares) / np.sqrt(12), x * z, (x**2 - y**2) / 2], axis=1)


def turn_of_degree_two(turn: np.ndarray) -> np.ndarray:
    """D with Y(R r) = D Y(r), from the harmonics at random points alone."""
    points = np.random.default_rng(0).normal(size=(40, 3))
    before, after = harmonics_of_degree_two(points), harmonics_of_degree_two(points @ turn.T)
    return np.linalg.lstsq(before, after, rcond=None)[0].T


def turned(values: dict[str, list[np.ndarray]], turn: np.ndarray) -> dict[str, list[np.ndarray]]:
    degree_two = turn_of_degree_two(turn)

    def tensor(block: np.ndarray) -> np.ndarray:
        return np.einsum("ab,sbcp,dc->sadp", turn, block, turn)

    def spherical(block: np.ndarray) -> np.ndarray:
        return np.einsum("ab,sbp->sap", degree_two, block)

    return {
        "mtt::dipole": [np.einsum("ab,sbp->sap", turn, values["mtt::dipole"][0])],
        "mtt::polarizability": [tensor(values["mtt::polarizability"][0])],
        "mtt::tensor": [tensor(values["mtt::tensor"][0])],
        "mtt::quadrupole": [spherical(values["mtt::quadrupole"][0])],
        "mtt::two_irreps": [values["mtt::two_irreps"][0], spherical(values["mtt::two_irreps"][1])],
    }


@pytest.mark.parametrize("chosen", [None, [[0, 1], [0, 3], [2, 0]]], ids=["all atoms", "selected atoms"])
@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "with inversion"])
def test_every_tensor_turns_with_its_structure(trained: Any, improper: bool, chosen: list | None) -> None:
    structures, selected = (
        molecules(3, seed=5),
        None if chosen is None else Labels(["system", "atom"], torch.tensor(chosen)),
    )
    before = run(trained, structures, selected)
    for turn in Rotation.random(3, random_state=6).as_matrix() * (-1 if improper else 1):
        rotated = [Atoms(atoms.numbers, atoms.positions @ turn.T) for atoms in structures]
        after, expected = run(trained, rotated, selected), turned(before, turn)
        for name, blocks in expected.items():
            for block, (answer, value) in enumerate(zip(after[name], blocks, strict=True)):
                spread = np.abs(before[name][block] - value).max()
                # 1e-4 of the values at least must move, or be invariant: the comparison must not be one of zeros.
                assert spread > 1e-4 or (name, block) == ("mtt::two_irreps", 0)
                np.testing.assert_allclose(answer, value, rtol=0, atol=1e-10, err_msg=f"{name}, block {block}")


def test_a_tensor_with_symmetric_labels_is_symmetric_and_another_is_not(trained: Any) -> None:
    values = run(trained, molecules(3, seed=5))
    symmetric, general = values["mtt::polarizability"][0], values["mtt::tensor"][0]
    np.testing.assert_allclose(symmetric, symmetric.swapaxes(1, 2), rtol=0, atol=1e-13)
    assert np.abs(general - general.swapaxes(1, 2)).max() > 1e-7


def test_a_linear_molecule_along_an_axis_has_its_moments_along_that_axis(trained: Any) -> None:
    """Turning alone would not notice axes that are renamed everywhere."""
    for axis in range(3):
        positions = np.zeros((3, 3))
        positions[:, axis] = [0.0, 1.1, 2.4]
        values = run(trained, [Atoms("HCO", positions=positions)])
        dipole, tensor = values["mtt::dipole"][0][0, :, 0], values["mtt::polarizability"][0][0, :, :, 0]
        assert abs(dipole[axis]) > 1e-4
        np.testing.assert_allclose(np.delete(dipole, axis), 0, atol=1e-12)
        others = np.delete(np.diag(tensor), axis)
        assert abs(tensor[axis, axis] - others[0]) > 1e-4
        np.testing.assert_allclose(others[0], others[1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(tensor - np.diag(np.diag(tensor)), 0, atol=1e-12)
        moments = values["mtt::quadrupole"][0][0, :, 0]
        direction = harmonics_of_degree_two(np.eye(3)[[axis]])[0]
        moments_along = moments @ direction / (direction @ direction)
        assert abs(moments_along) > 1e-4
        np.testing.assert_allclose(moments, moments_along * direction, rtol=0, atol=1e-12)
