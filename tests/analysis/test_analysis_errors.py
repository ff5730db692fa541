"""Errors against what numpy says of the same numbers, taken by hand."""

from dataclasses import replace

import numpy as np
import pytest
from analysis_samples import made_up

from mace_app.analysis import Analysis
from mace_app.analysis.errors import Look, by_structure, mean_of, pairs, statistics, table, unit_of, worst, worst_of


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """With holes: no energy of structure 5, no forces of structure 7."""
    found = made_up(60)
    energy, forces = found.labels["energy"], found.labels["energy.forces"]
    energy.reference[5] = np.nan
    forces.reference[found.rows("energy.forces", 7)] = np.nan
    return found


def test_energies_are_compared_per_atom_and_the_hole_is_left_out(analysis: Analysis) -> None:
    label, n_atoms = analysis.labels["energy"], analysis.structures.n_atoms
    error = np.delete((label.prediction[:, 0] - label.reference[:, 0]) / n_atoms, 5)
    reference = np.delete(label.reference[:, 0] / n_atoms, 5)
    found = statistics(pairs(analysis, Look("energy")))
    assert found is not None and found.count == 59
    assert (found.mae, found.rmse, found.max, found.bias) == pytest.approx(
        (np.abs(error).mean(), np.sqrt((error**2).mean()), np.abs(error).max(), error.mean()), rel=1e-12
    )
    assert found.r2 == pytest.approx(1 - (error**2).sum() / ((reference - reference.mean()) ** 2).sum())
    assert found.relative == pytest.approx(found.rmse / reference.std())
    total = statistics(pairs(analysis, Look("energy", per_atom=False)))
    assert total is not None and total.mae == pytest.approx(np.abs(np.delete(error * np.delete(n_atoms, 5), [])).mean())
    assert unit_of(label) == "eV/atom" and unit_of(label, per_atom=False) == "eV"


def test_without_the_baseline_errors_stay_and_values_move(analysis: Analysis) -> None:
    with_it, without = (pairs(analysis, Look("energy", baseline=value)) for value in (True, False))
    np.testing.assert_allclose(with_it.error, without.error, rtol=0, atol=1e-12)
    np.testing.assert_allclose(with_it.reference - without.reference, -2.9)


def test_forces_by_value_component_and_length(analysis: Analysis) -> None:
    label = analysis.labels["energy.forces"]
    known = np.isfinite(label.reference[:, 0])
    error = (label.prediction - label.reference)[known]
    every, x, norm = (pairs(analysis, look) for look in (
        Look("energy.forces"), Look("energy.forces", component=0), Look("energy.forces", norm=True),
    ))  # fmt: skip
    np.testing.assert_array_equal(every.error, error.ravel())
    np.testing.assert_array_equal(x.error, error[:, 0])
    np.testing.assert_allclose(norm.error, np.linalg.norm(error, axis=1))
    np.testing.assert_allclose(norm.reference, np.linalg.norm(label.reference[known], axis=1))
    assert (analysis.structure_of_atom[every.atom] == every.structure).all() and 7 not in every.structure
    found = statistics(every, per_atom=True)
    assert found is not None
    assert found.relative == pytest.approx(np.sqrt((error**2).mean() / (label.reference[known] ** 2).mean()))


@pytest.mark.parametrize("by", ["split", "group", "formula", "dataset", "element"])
def test_a_table_has_every_value_once_and_elements_count_their_atoms(analysis: Analysis, by: str) -> None:
    rows = table(analysis, Look("energy.forces"), by)
    everything = pairs(analysis, Look("energy.forces"))
    assert sum(row.statistics.count for row in rows) == len(everything)
    total = sum(row.statistics.count * row.statistics.rmse**2 for row in rows)
    assert total == pytest.approx((everything.error**2).sum())
    if by == "element":
        hydrogen = next(row for row in rows if row.name == "H")
        error = analysis.labels["energy.forces"].prediction - analysis.labels["energy.forces"].reference
        mine = error[(analysis.numbers == 1) & np.isfinite(error[:, 0])]
        assert hydrogen.statistics.mae == pytest.approx(np.abs(mine).mean())
    if by == "split":
        assert [row.name for row in rows] == ["training", "validation"]


def test_of_chosen_structures_only_theirs_are_counted(analysis: Analysis) -> None:
    chosen = analysis.structures.group == "warm"
    rows = table(analysis, Look("energy"), "group", chosen)
    assert [row.name for row in rows] == ["warm"] and rows[0].statistics.count == 30 - (1 if chosen[5] else 0)
    assert set(rows[0].structures) <= set(np.flatnonzero(chosen))


def test_one_number_a_structure(analysis: Analysis) -> None:
    forces = pairs(analysis, Look("energy.forces"))
    rmse, largest = by_structure(analysis, forces), by_structure(analysis, forces, worst_of)
    label = analysis.labels["energy.forces"]
    for structure in (0, 31):
        error = (label.prediction - label.reference)[analysis.rows("energy.forces", structure)]
        assert rmse[structure] == pytest.approx(np.sqrt((error**2).mean()))
        assert largest[structure] == np.abs(error).max()
    assert np.isnan(rmse[7]) and np.isnan(largest[7])
    order = worst(largest, 5)
    assert largest[order[0]] == np.nanmax(largest) and 7 not in worst(largest, 1000)
    energy = by_structure(analysis, pairs(analysis, Look("energy")), mean_of)
    assert np.isnan(energy[5]) and np.isfinite(np.delete(energy, 5)).all()


def test_a_label_that_is_nowhere_known_has_no_statistics(analysis: Analysis) -> None:
    label = analysis.labels["energy"]
    empty = replace(analysis, labels={"energy": replace(label, reference=np.full_like(label.reference, np.nan))})
    assert statistics(pairs(empty, Look("energy"))) is None and table(empty, Look("energy"), "group") == []
