"""What physics says about any weights: covariance, invariance, derivatives, independence of structures in a batch."""

import numpy as np
import pytest
from ase import Atoms
from graph_fixtures import CHARGE, DIPOLE, ENERGY, crystal, ethanol, predict, single_atom, slab, small_model
from scipy.spatial.transform import Rotation

from mace_app.model import MaceModel
from mace_app.options import TargetInfo

VECTORS = TargetInfo("mtt::vectors", type={"cartesian": {"rank": 1}}, sample_kind="atom", num_subtargets=2)
OTHER = TargetInfo("energy/other", quantity="energy", unit="eV", has_forces=True, has_stress=True)
TARGETS = [ENERGY, OTHER, DIPOLE, CHARGE, VECTORS]
STRUCTURES = {"molecule": ethanol(), "crystal": crystal(), "slab": slab()}


@pytest.fixture(scope="module")
def model() -> MaceModel:
    """With a baseline, so that nothing below holds only without one."""
    model = small_model(TARGETS, hidden_irreps="4x0e + 4x1o + 4x2e")
    model.baseline.set("energy", np.array([[-1.0], [2.0], [0.5]]))
    model.scaler.set("energy", 1.7)
    return model


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("name", STRUCTURES)
def test_predictions_turn_with_the_structure(model: MaceModel, name: str, improper: bool) -> None:
    turn = Rotation.random(random_state=4).as_matrix() * (-1 if improper else 1)
    atoms = STRUCTURES[name]
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc)
    before, after = predict(model, atoms), predict(model, turned)
    for energy in ("energy", "energy/other"):
        assert np.abs(before[f"{energy}.forces"]).max() > 1e-3
        np.testing.assert_allclose(after[energy], before[energy], rtol=0, atol=1e-11)
        np.testing.assert_allclose(after[f"{energy}.forces"], before[f"{energy}.forces"] @ turn.T, atol=1e-11)
        np.testing.assert_allclose(
            after[f"{energy}.stress"], turn @ before[f"{energy}.stress"] @ turn.T, rtol=0, atol=1e-11
        )
    np.testing.assert_allclose(after["charge"], before["charge"], rtol=0, atol=1e-11)
    for vector in ("mtt::dipole", "mtt::vectors"):
        assert np.abs(before[vector]).max() > 1e-4
        expected = np.einsum("ab,sbp->sap", turn, before[vector])
        np.testing.assert_allclose(after[vector], expected, rtol=0, atol=1e-11)


def test_a_vector_along_x_is_predicted_along_x(model: MaceModel) -> None:
    """Covariance alone would not notice axes that are all renamed together; a linear molecule does."""
    for axis in range(3):
        positions = np.zeros((3, 3))
        positions[:, axis] = [0.0, 1.1, 2.5]
        vector = predict(model, Atoms("COH", positions=positions))["mtt::dipole"][0, :, 0]
        others = np.delete(vector, axis)
        assert abs(vector[axis]) > 1e-4
        np.testing.assert_allclose(others, 0, atol=1e-12)


@pytest.mark.parametrize("name", STRUCTURES)
def test_order_of_atoms_and_origin_do_not_matter(model: MaceModel, name: str) -> None:
    atoms = STRUCTURES[name]
    order = np.random.default_rng(5).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [11.3, -7.1, 3.9]
    before, after = predict(model, atoms), predict(model, moved)
    for label, value in before.items():
        per_atom = label.endswith(".forces") or label in ("charge", "mtt::vectors")
        np.testing.assert_allclose(after[label], value[order] if per_atom else value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("energy", ["energy", "energy/other"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_forces_are_the_negative_slope_of_the_energy(model: MaceModel, name: str, energy: str) -> None:
    atoms, h = STRUCTURES[name], 1e-4
    direction = np.random.default_rng(6).normal(size=atoms.positions.shape)
    plus, minus = atoms.copy(), atoms.copy()
    plus.positions += h * direction
    minus.positions -= h * direction
    slope = (predict(model, plus)[energy] - predict(model, minus)[energy])[0, 0] / (2 * h)
    forces = predict(model, atoms)[f"{energy}.forces"]
    assert slope == pytest.approx(-(forces * direction).sum(), abs=2e-7)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("name", ["crystal", "slab"])
def test_stress_is_the_slope_of_the_energy_under_strain(model: MaceModel, name: str) -> None:
    atoms, h = STRUCTURES[name], 1e-4
    strain = np.random.default_rng(7).normal(size=(3, 3))
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * h * strain), scale_atoms=True)
        energies.append(predict(model, strained)["energy"][0, 0])
    stress = predict(model, atoms)["energy.stress"][0]
    slope = (energies[0] - energies[1]) / (2 * h) / atoms.cell.volume
    assert slope == pytest.approx((stress * strain).sum(), abs=1e-7)
    np.testing.assert_array_equal(stress, stress.T)


def test_structures_in_a_batch_do_not_see_each_other(model: MaceModel) -> None:
    structures = [ethanol(), crystal(), single_atom(), slab(), ethanol(8)]
    together = predict(model, *structures)
    alone = [predict(model, atoms) for atoms in structures]
    for label, value in together.items():
        np.testing.assert_allclose(value, np.concatenate([p[label] for p in alone]), rtol=0, atol=1e-11)


def test_stress_of_a_molecule_is_not_a_number(model: MaceModel) -> None:
    assert np.isnan(predict(model, ethanol())["energy.stress"]).all()
