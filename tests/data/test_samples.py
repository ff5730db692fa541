"""The sample data in docs/samples are what their README says."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"
NAMES = ["ethanol.xyz", "copper_emt.xyz"]


def frames(name: str) -> list[Atoms]:
    return read(SAMPLES / name, ":")


def molecules_and_cells(name: str) -> list[Atoms]:
    return [atoms for atoms in frames(name) if atoms.info["config_type"] != "IsolatedAtom"]


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_is_smaller_than_a_megabyte_and_hides_nothing_in_calculators(name: str) -> None:
    assert (SAMPLES / name).stat().st_size < 1_000_000
    assert all(atoms.calc is None for atoms in frames(name))


@pytest.mark.parametrize(("name", "symbols"), [("ethanol.xyz", "CHO"), ("copper_emt.xyz", ["Cu"])])
def test_each_sample_has_one_isolated_atom_of_every_element(name: str, symbols: list[str]) -> None:
    isolated = [atoms for atoms in frames(name) if atoms.info["config_type"] == "IsolatedAtom"]
    assert sorted(atoms.get_chemical_formula() for atoms in isolated) == sorted(symbols)
    assert all(set(atoms.info) == {"config_type", "REF_energy"} for atoms in isolated)


def test_keys_are_as_complete_as_the_page_about_the_samples_says() -> None:
    coverage = {
        name: Counter(key for atoms in frames(name) for key in (*atoms.info, *atoms.arrays) if key.startswith("REF_"))
        for name in NAMES
    }
    assert coverage["ethanol.xyz"] == {"REF_energy": 183, "REF_forces": 180, "REF_dipole": 180, "REF_charges": 180}
    assert coverage["copper_emt.xyz"] == {"REF_energy": 160, "REF_forces": 159, "REF_stress": 125}


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_finite_and_forces_add_up_to_zero(name: str) -> None:
    for atoms in molecules_and_cells(name):
        labels = [value for data in (atoms.info, atoms.arrays) for key, value in data.items() if key.startswith("REF_")]
        assert all(np.isfinite(value).all() for value in labels)
        np.testing.assert_allclose(atoms.arrays["REF_forces"].sum(axis=0), 0, atol=2e-7)


def test_ethanol_is_bound_neutral_and_spread_like_a_hot_molecule() -> None:
    isolated = {str(atoms.symbols[0]): atoms.info["REF_energy"] for atoms in frames("ethanol.xyz") if len(atoms) == 1}
    molecules = molecules_and_cells("ethanol.xyz")
    for atoms in molecules:
        assert Counter(atoms.symbols) == {"C": 2, "H": 6, "O": 1}
        assert 34 < sum(isolated[symbol] for symbol in atoms.symbols) - atoms.info["REF_energy"] < 36
        assert abs(atoms.arrays["REF_charges"].sum()) < 1e-7
        assert atoms.get_all_distances()[np.triu_indices(9, 1)].min() > 0.85
    forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in molecules])
    assert 0.7 < np.sqrt((forces**2).mean()) < 1.5
    assert np.abs(forces).max() < 10


def test_dipoles_of_ethanol_turn_with_the_molecule() -> None:
    """Beside the dipole of the point charges, which turns by construction: far better aligned than by chance."""
    cosines = []
    for atoms in molecules_and_cells("ethanol.xyz"):
        point_charges = atoms.arrays["REF_charges"] @ atoms.positions
        dipole = atoms.info["REF_dipole"]
        assert 0.2 < np.linalg.norm(dipole) < 0.5
        cosines.append(dipole @ point_charges / np.linalg.norm(dipole) / np.linalg.norm(point_charges))
    assert np.mean(cosines) > 0.75


def test_orientations_of_ethanol_are_random() -> None:
    dipoles = np.array([atoms.info["REF_dipole"] for atoms in molecules_and_cells("ethanol.xyz")])
    assert np.linalg.norm(dipoles.mean(axis=0)) < 0.15 * np.linalg.norm(dipoles, axis=1).mean()


def test_copper_is_labelled_by_emt_as_ase_computes_it() -> None:
    for atoms in frames("copper_emt.xyz")[::20]:
        again = atoms.copy()
        again.calc = EMT()
        assert again.get_potential_energy() == pytest.approx(atoms.info["REF_energy"], abs=1e-6)
        if "REF_forces" in atoms.arrays:
            np.testing.assert_allclose(again.get_forces(), atoms.arrays["REF_forces"], atol=1e-6)
        if "REF_stress" in atoms.info:
            stress = atoms.info["REF_stress"].reshape(3, 3)
            np.testing.assert_allclose(again.get_stress(voigt=False), stress, atol=1e-7)


def test_copper_stress_stands_where_all_directions_are_periodic_and_is_the_strain_derivative() -> None:
    cells = molecules_and_cells("copper_emt.xyz")
    assert all(("REF_stress" in atoms.info) == bool(atoms.pbc.all()) for atoms in cells)
    assert {tuple(atoms.pbc) for atoms in cells} == {(True, True, True), (True, True, False)}
    atoms = cells[20]
    step = 1e-5
    for i, j in [(0, 0), (0, 1), (2, 1)]:
        energies = []
        for sign in (1, -1):
            strained = atoms.copy()
            strain = np.zeros((3, 3))
            strain[i, j] = strain[j, i] = sign * step / (1 if i == j else 2)
            strained.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
            strained.calc = EMT()
            energies.append(strained.get_potential_energy())
        derivative = (energies[0] - energies[1]) / (2 * step * atoms.get_volume())
        assert derivative == pytest.approx(atoms.info["REF_stress"][3 * i + j], abs=1e-5)
