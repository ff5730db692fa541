"""Predictions of every kind, written to a file and read again as labels by our own reader and by ASE."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from mace_app.data.labels import LabelReader
from mace_app.data.reading import read_frames
from mace_app.evaluation import write_predictions
from mace_app.options import DatasetOptions, TargetInfo
from mace_app.training import reported_labels

SPHERICAL = [{"o3_lambda": 0, "o3_sigma": 1}, {"o3_lambda": 1, "o3_sigma": -1}, {"o3_lambda": 2, "o3_sigma": 1}]
TARGETS = [
    TargetInfo("energy", quantity="energy", unit="eV", has_forces=True, has_stress=True),
    TargetInfo("energy/pbe", quantity="energy", unit="eV", has_forces=True),
    TargetInfo("charge", unit="e", sample_kind="atom"),
    TargetInfo("mtt::dos", num_subtargets=9),
    TargetInfo("mtt::a.b", num_subtargets=2),
    TargetInfo("mtt::a/b", num_subtargets=2),
    TargetInfo("mtt::dipole", type={"cartesian": {"rank": 1}}, num_subtargets=2),
    TargetInfo("mtt::vectors", type={"cartesian": {"rank": 1}}, sample_kind="atom"),
    TargetInfo("mtt::tensor", type={"cartesian": {"rank": 2, "symmetric": False}}),
    TargetInfo("mtt::tensors", type={"cartesian": {"rank": 2, "symmetric": False}}, num_subtargets=2),
    TargetInfo("mtt::tensor_of_atoms", type={"cartesian": {"rank": 2, "symmetric": False}}, sample_kind="atom"),
    TargetInfo("mtt::quadrupole", type={"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1, "num": 2}]}}),
    TargetInfo("mtt::several", type={"spherical": {"irreps": SPHERICAL}}),  # nine values, but no matrix
    TargetInfo("mtt::several_of_atoms", type={"spherical": {"irreps": SPHERICAL}}, sample_kind="atom"),
]
STRUCTURES = [
    Atoms("OH", positions=[[0, 0, 0], [0.1, 0.2, 0.9]], cell=4 * np.eye(3), pbc=True),
    Atoms("O", positions=[[0, 0, 0]], cell=4 * np.eye(3), pbc=True),
    Atoms("OHH", positions=[[0, 0, 0], [0.1, 0.2, 0.9], [0.9, 0, 0.1]], cell=4 * np.eye(3), pbc=True),
]


class Graphs:
    n_atoms = np.array([len(atoms) for atoms in STRUCTURES])

    def __len__(self) -> int:
        return len(STRUCTURES)

    def atoms(self, index: int) -> Atoms:
        return STRUCTURES[index].copy()


@pytest.fixture
def predictions() -> dict[str, np.ndarray]:
    random, found = np.random.default_rng(1), {}
    for target in TARGETS:
        rows = int(Graphs.n_atoms.sum()) if target.sample_kind == "atom" else len(STRUCTURES)
        found[target.name] = random.normal(size=(rows, *target.shape))
        if target.has_forces:
            found[f"{target.name}.forces"] = random.normal(size=(6, 3))
        if target.has_stress:
            stress = random.normal(size=(3, 3, 3))
            found[f"{target.name}.stress"] = stress + stress.swapaxes(1, 2)
    return found


REPORTED = reported_labels({target.name: target for target in TARGETS})


def test_extended_xyz_is_read_again_as_labels(predictions: dict[str, np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "predictions.xyz"
    write_predictions(file, Graphs(), predictions, REPORTED)
    keys = {"energy": "predicted_energy", "energy/pbe": "predicted_energy_pbe", "charge": "predicted_charge"}
    keys |= {t.name: f"predicted_{t.name.replace('::', '__').replace('.', '_')}" for t in TARGETS[3:]}
    keys["mtt::a/b"] = "predicted_mtt__a_b_"  # the other name is taken
    targets = {
        t.name: {
            "key": keys[t.name],
            "unit": t.unit,
            "quantity": t.quantity,
            "sample_kind": t.sample_kind,
            "type": t.type,
            "num_subtargets": t.num_subtargets,
        }
        for t in TARGETS
    }
    targets["energy"] |= {"forces": {"key": "predicted_forces"}, "stress": {"key": "predicted_stress"}}
    targets["energy/pbe"] |= {"forces": {"key": "predicted_energy_pbe_forces"}, "stress": False}
    reader = LabelReader(DatasetOptions.model_validate({"systems": str(file), "targets": targets}))
    labels = [reader.read(frame) for frame in read_frames(file)]
    assert set(labels[0]) == set(predictions)
    for label, values in predictions.items():
        per_atom = REPORTED[label].per_atom
        found = np.concatenate([frame[label] for frame in labels]) if per_atom else [frame[label] for frame in labels]
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-8, err_msg=label)


def test_ase_sees_a_matrix_as_it_is_and_nine_values_as_a_row(
    predictions: dict[str, np.ndarray], tmp_path: Path
) -> None:
    write_predictions(tmp_path / "p.xyz", Graphs(), predictions, REPORTED)
    info = read(tmp_path / "p.xyz", "0").info
    np.testing.assert_allclose(info["predicted_mtt__tensor"], predictions["mtt::tensor"][0, :, :, 0], atol=1e-12)
    np.testing.assert_allclose(info["predicted_mtt__several"], predictions["mtt::several"][0], atol=1e-12)


def test_npz_holds_the_arrays_of_every_label(predictions: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", Graphs(), predictions, REPORTED)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as stored:
        assert set(stored) == {*predictions, "n_atoms"}
        for label, values in predictions.items():
            np.testing.assert_array_equal(stored[label], values)
