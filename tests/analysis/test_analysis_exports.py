import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from analysis_samples import made_up
from ase.io import read

from mace_app.analysis import Analysis, Label
from mace_app.analysis.exports import column_names, extxyz, table_csv


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    found = made_up(12, periodic=True)
    tensor = np.random.default_rng(0).normal(size=(12, 3, 3, 1))
    found.labels["energy"].reference[4] = np.nan
    return replace(
        found, labels={**found.labels, "mtt::alpha": Label("mtt::alpha", "", False, True, tensor, 2 * tensor)}
    )


def test_ase_reads_back_structures_with_reference_prediction_and_error(analysis: Analysis) -> None:
    back = read(io.StringIO("".join(extxyz(analysis, [7, 2]))), ":", format="extxyz")
    assert [atoms.info["source_frame"] for atoms in back] == [7, 2]
    atoms, label = back[0], analysis.labels["energy.forces"]
    rows = analysis.rows("energy.forces", 7)
    np.testing.assert_array_equal(atoms.numbers, analysis.numbers[rows])
    np.testing.assert_allclose(atoms.positions, analysis.positions[rows], atol=1e-7)
    assert atoms.pbc.all() and atoms.info["config_type"] in ("warm", "cold")
    np.testing.assert_allclose(atoms.arrays["reference_forces"], label.reference[rows], atol=1e-7)
    np.testing.assert_allclose(atoms.arrays["error_forces"], (label.prediction - label.reference)[rows], atol=1e-7)
    assert atoms.info["predicted_energy"] == pytest.approx(analysis.labels["energy"].prediction[7, 0], abs=1e-7)
    tensor = analysis.labels["mtt::alpha"].prediction[7].reshape(3, 3)
    np.testing.assert_allclose(atoms.info["predicted_mtt__alpha"], tensor, atol=1e-7)


def test_what_is_missing_is_left_out(analysis: Analysis) -> None:
    (atoms,) = read(io.StringIO("".join(extxyz(analysis, [4]))), ":", format="extxyz")
    assert "reference_energy" not in atoms.info and "error_energy" not in atoms.info
    assert "predicted_energy" in atoms.info and "reference_forces" in atoms.arrays


def test_the_table_has_the_errors_of_the_chosen_structures_in_their_order(analysis: Analysis) -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(analysis, [7, 4, 2]))))
    assert [row["frame"] for row in rows] == ["7", "4", "2"]
    label, n_atoms = analysis.labels["energy"], analysis.structures.n_atoms
    error = (label.prediction[7, 0] - label.reference[7, 0]) / n_atoms[7]
    assert float(rows[0]["error energy (eV/atom)"]) == pytest.approx(error)
    assert rows[1]["error energy (eV/atom)"] == ""
    forces = analysis.labels["energy.forces"]
    mine = (forces.prediction - forces.reference)[analysis.rows("energy.forces", 2)]
    assert float(rows[2]["RMSE energy.forces (eV/Å)"]) == pytest.approx(np.sqrt((mine**2).mean()))
    assert float(rows[2]["largest error energy.forces (eV/Å)"]) == pytest.approx(np.abs(mine).max())


def test_a_name_that_a_spreadsheet_would_run_is_text(analysis: Analysis) -> None:
    evil = replace(analysis, structures=replace(analysis.structures, group=np.full(12, '=HYPERLINK("http://x")')))
    (row,) = csv.DictReader(io.StringIO(table_csv(evil, [0])))
    assert row["config_type"].startswith("'=")


def test_names_of_labels_stay_apart() -> None:
    assert column_names(["energy", "energy.forces", "mtt::a b", "mtt::a_b", "energy/pbe.forces"]) == {
        "energy": "energy",
        "energy.forces": "forces",
        "mtt::a b": "mtt__a_b",
        "mtt::a_b": "mtt__a_b_",
        "energy/pbe.forces": "energy_pbe_forces",
    }
