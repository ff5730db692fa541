import numpy as np
import pytest
from ase import Atoms
from graph_fixtures import CHARGE, DIPOLE, ENERGY, Graphs, small_config

from mace_app.model import Baseline, ModelError, fit_baseline
from mace_app.options import TargetInfo

PLANTED = {1: -13.6, 6: -1028.5, 8: -2041.25}


def molecules(*formulas: str) -> list[Atoms]:
    generator = np.random.default_rng(0)
    return [Atoms(formula, positions=generator.uniform(0, 3, (len(Atoms(formula)), 3))) for formula in formulas]


def planted(structures: list[Atoms]) -> Graphs:
    return Graphs(structures, [{"energy": [[sum(PLANTED[z] for z in atoms.numbers)]]} for atoms in structures])


def fit(source: Graphs, *targets, isolated=None, given=None):
    config = small_config(targets or [ENERGY])
    baseline = Baseline(config)
    reports = fit_baseline(config, baseline, source, isolated, given)
    return baseline, {report.target: report for report in reports}


def test_planted_energies_of_elements_are_recovered() -> None:
    baseline, reports = fit(planted(molecules("H2O", "CH4", "CO2", "C2H6O", "H2")))
    np.testing.assert_allclose(baseline.values("energy")[:, 0], list(PLANTED.values()), rtol=1e-12)
    assert (reports["energy"].rank, reports["energy"].unknowns) == (3, 3)
    assert not reports["energy"].warnings


def test_many_chunks_give_the_same_fit_as_one_least_squares_problem() -> None:
    generator = np.random.default_rng(1)
    structures = molecules(*[f"H{a}C{b}O{c}" for a, b, c in generator.integers(1, 4, (300, 3))])
    energies = generator.normal(size=(300, 1))
    counts = np.array([[(atoms.numbers == z).sum() for z in (1, 6, 8)] for atoms in structures])
    baseline, _ = fit(Graphs(structures, [{"energy": [e]} for e in energies]))
    np.testing.assert_allclose(baseline.values("energy"), np.linalg.lstsq(counts, energies)[0], rtol=1e-10)


def test_one_composition_gives_the_smallest_solution_and_says_that_it_is_arbitrary() -> None:
    baseline, reports = fit(planted(molecules("H2O", "H2O", "H2O")))
    total = 2 * PLANTED[1] + PLANTED[8]
    np.testing.assert_allclose(baseline.values("energy")[:, 0], [2 * total / 5, 0, total / 5], atol=1e-9)
    assert (reports["energy"].rank, reports["energy"].unknowns) == (1, 2)
    assert "only 1 of 2" in reports["energy"].warnings[0]
    assert "element 6" in reports["energy"].warnings[1]
    assert reports["energy"].sources[6] == "absent"


def test_a_thousand_copies_of_one_molecule_have_rank_one_in_spite_of_rounding() -> None:
    structures = molecules("C2H6O") * 1000
    energies = -4209.6 + 0.2 * np.random.default_rng(2).normal(size=1000)
    baseline, reports = fit(Graphs(structures, [{"energy": [[energy]]} for energy in energies]))
    assert (reports["energy"].rank, reports["energy"].unknowns) == (1, 3)
    values = baseline.values("energy")[:, 0].numpy()
    np.testing.assert_allclose(values, energies.mean() * np.array([6, 2, 1]) / 41, rtol=1e-12)


def test_isolated_atoms_are_taken_and_what_is_missing_is_fitted_around_them() -> None:
    isolated = {"energy": {1: -13.0, 8: -2041.25}}
    source = planted(molecules("H2O", "CH4", "CO2"))
    baseline, reports = fit(source, isolated=isolated)
    assert baseline.values("energy")[0, 0] == -13.0
    assert reports["energy"].sources == {1: "isolated atom", 8: "isolated atom", 6: "fitted"}
    # With H off by 0.6 eV the least squares over CH4 (1 C) and CO2 (1 C) leave half of 4·0.6 on C.
    assert baseline.values("energy")[1, 0] == pytest.approx(PLANTED[6] - 0.5 * 4 * 0.6)


def test_a_table_of_the_user_comes_first_and_may_be_partial() -> None:
    baseline, reports = fit(
        planted(molecules("H2O", "CH4", "CO2")), isolated={"energy": {1: 99.0}}, given={"energy": {1: -13.6}}
    )
    np.testing.assert_allclose(baseline.values("energy")[:, 0], list(PLANTED.values()), rtol=1e-12)
    assert reports["energy"].sources == {1: "given", 6: "fitted", 8: "fitted"}
    baseline, _ = fit(planted(molecules("H2O")), given={"energy": 0})
    assert not baseline.values("energy").any()


def test_structures_without_the_label_do_not_count() -> None:
    source = planted(molecules("H2O", "CH4", "CO2", "H2"))
    source.labels[3]["energy"] = [[np.nan]]
    baseline, _ = fit(source)
    np.testing.assert_allclose(baseline.values("energy")[:, 0], list(PLANTED.values()), rtol=1e-12)


def test_per_atom_values_get_the_mean_of_their_element_and_vectors_get_none() -> None:
    charges = [[-0.8], [0.4], [np.nan]]
    source = Graphs(molecules("OH2", "OH2"), [{"charge": charges}, {"charge": [[-0.6], [0.2], [0.3]]}])
    baseline, reports = fit(source, CHARGE, DIPOLE)
    np.testing.assert_allclose(baseline.values("charge")[:, 0], [0.3, 0, -0.7])
    assert "mtt::dipole" not in baseline
    assert reports["charge"].sources == {1: "mean", 6: "absent", 8: "mean"}


def test_a_baseline_for_a_vector_is_refused() -> None:
    with pytest.raises(ModelError, match="`mtt::dipole`, which has no baseline; those with one are `energy`"):
        fit(planted(molecules("H2O")), ENERGY, DIPOLE, given={"mtt::dipole": 0.0})


def test_words_insist_on_the_fit_or_on_isolated_atoms() -> None:
    source = planted(molecules("H2O", "CH4", "CO2"))
    isolated = {"energy": {1: -13.0, 6: -1000.0, 8: -2000.0}}
    baseline, reports = fit(source, isolated=isolated, given={"energy": "fit"})
    np.testing.assert_allclose(baseline.values("energy")[:, 0], list(PLANTED.values()), rtol=1e-12)
    assert set(reports["energy"].sources.values()) == {"fitted"}
    baseline, reports = fit(source, isolated=isolated, given={"energy": "isolated_atoms"})
    assert baseline.values("energy")[:, 0].tolist() == [-13.0, -1000.0, -2000.0]
    with pytest.raises(ModelError, match=r"no isolated atom with `energy` of C \(6\), O \(8\)"):
        fit(source, isolated={"energy": {1: -13.0}}, given={"energy": "isolated_atoms"})


def test_a_target_with_several_values_may_be_given_a_row_for_an_element() -> None:
    two = TargetInfo("mtt::two", num_subtargets=2)
    source = Graphs(molecules("H2O", "CH4"), [{"mtt::two": [[5.0, 50.0]]}, {"mtt::two": [[9.0, 90.0]]}])
    baseline, reports = fit(source, two, given={"mtt::two": {1: [2.0, 20.0]}})
    np.testing.assert_allclose(baseline.values("mtt::two"), [[2, 20], [1, 10], [1, 10]], rtol=1e-12)
    assert reports["mtt::two"].sources == {1: "given", 6: "fitted", 8: "fitted"}


def test_whole_numbers_are_numbers() -> None:
    baseline, _ = fit(planted(molecules("H2O", "CH4", "CO2")), given={"energy": {1: -14, 6: -1028, 8: -2041}})
    assert baseline.values("energy")[:, 0].tolist() == [-14.0, -1028.0, -2041.0]


def test_only_the_invariant_part_of_a_spherical_target_has_a_baseline() -> None:
    entries = [{"o3_lambda": 1, "o3_sigma": 1, "num": 1}, {"o3_lambda": 0, "o3_sigma": 1, "num": 1}]
    target = TargetInfo("mtt::both", type={"spherical": {"irreps": entries}})
    labels = [[[7.0, 8.0, 9.0, sum(PLANTED[z] for z in a.numbers)]] for a in molecules("H2O", "CH4", "CO2")]
    baseline, _ = fit(Graphs(molecules("H2O", "CH4", "CO2"), [{"mtt::both": label} for label in labels]), target)
    np.testing.assert_allclose(baseline.values("mtt::both")[:, 3], list(PLANTED.values()), rtol=1e-12)
    assert not baseline.values("mtt::both")[:, :3].any()


def test_a_mean_over_atoms_has_the_mean_of_its_elements() -> None:
    gap = TargetInfo("mtt::gap", aggregate="mean")
    labels = [[[sum(PLANTED[z] for z in atoms.numbers) / len(atoms)]] for atoms in molecules("H2O", "CH4", "CO2")]
    baseline, _ = fit(Graphs(molecules("H2O", "CH4", "CO2"), [{"mtt::gap": label} for label in labels]), gap)
    np.testing.assert_allclose(baseline.values("mtt::gap")[:, 0], list(PLANTED.values()), rtol=1e-12)
