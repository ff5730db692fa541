"""The parts of the analysis page that draw nothing: regions, units, values, groups, the choice, the scene."""

import math
from dataclasses import replace

import numpy as np
import pytest
from analysis_samples import made_up
from ase import Atoms
from ase.build import bulk, molecule

from mace_app.analysis import Analysis, Label
from mace_app.analysis.errors import Look, pairs, statistics, table
from mace_app.ui.analysis_charts import SIZE, _cloud
from mace_app.ui.analysis_controls import Looked, explained
from mace_app.ui.analysis_groups import groups_of, kinds_of
from mace_app.ui.analysis_source import counterparts
from mace_app.ui.analysis_state import Selection
from mace_app.ui.analysis_units import units_for
from mace_app.ui.analysis_values import Kept, View, compute, errors_of, scaled
from mace_app.ui.charts import DisplayUnit
from mace_app.ui.live_plotly import Pointed
from mace_app.ui.regions import Region
from mace_app.ui.structure_view import LONGEST_ARROW, bonds, scene

EV = DisplayUnit("eV", 1.0)


def view(label: str = "energy.forces", **how: object) -> View:
    return View(label, EV, **how)  # type: ignore[arg-type]


def test_a_lasso_holds_the_same_points_as_its_shape() -> None:
    x, y = np.random.default_rng(0).uniform(-2, 2, (2, 20_000))
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = Region(True, tuple(np.cos(angle)), tuple(np.sin(angle)))
    inside = circle.inside(x, y)
    radius = np.hypot(x, y)
    assert inside[radius < math.cos(np.pi / 400)].all() and not inside[radius > 1].any()
    arrow = Region(True, (0.0, 1.0, 0.0, 0.5), (1.0, 0.0, -1.0, 0.0))  # not convex
    assert arrow.inside(np.array([0.25, 0.75]), np.array([0.0, 0.0])).tolist() == [False, True]


def test_on_logarithmic_axes_edges_are_straight_in_the_logarithm() -> None:
    triangle = Region(True, (1.0, 100.0, 100.0), (1.0, 1.0, 100.0))
    x, y = np.array([10.0, 10.0, 0.0]), np.array([9.0, 11.0, 5.0])
    assert triangle.inside(x, y, True, True).tolist() == [True, False, False]
    assert triangle.inside(np.array([50.0]), np.array([49.0])).tolist() == [True]


def test_a_box_without_heights_spans_all_of_them() -> None:
    x, y = np.array([0.0, 1.0, 2.0]), np.array([5.0, -5.0, np.nan])
    assert Region(False, (0.5, 2.5), ()).inside(x, y).tolist() == [False, True, True]
    assert Region(False, (2.5, 0.5), (-6.0, 0.0)).inside(x, y).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "said",
    [
        None,
        "replace",
        {"points": "x", "how": "replace"},
        {"points": [], "how": "drop"},
        {"points": [], "how": "add", "region": {"lasso": True, "x": [0, 1], "y": [0, 1]}},
        {"points": [], "how": "add", "region": {"lasso": True, "x": [0, 1, math.nan], "y": [0, 1, 2]}},
        {"points": [], "how": "add", "region": {"lasso": False, "x": ["0", 1], "y": [0, 1]}},
        {"points": [], "how": "add", "region": {"lasso": True, "x": [0.0] * 9000, "y": [0.0] * 9000}},
    ],
)
def test_what_a_browser_should_not_say_is_nothing(said: object) -> None:
    assert Pointed.read(said) is None


def test_what_a_browser_says_of_a_lasso_is_a_region() -> None:
    said = {"points": [], "how": "add", "region": {"lasso": True, "x": [0, 1, 2], "y": [0, 1, 0]}}
    assert Pointed.read(said) == Pointed((), Region(True, (0.0, 1.0, 2.0), (0.0, 1.0, 0.0)), "add")
    assert Pointed.read({"points": [], "how": "replace", "region": None}) == Pointed()


@pytest.mark.parametrize(
    ("unit", "other", "factor"),
    [
        ("eV", "meV", 1000),
        ("eV", "kcal/mol", 23.0605),
        ("eV/Å", "meV/Å", 1000),
        ("eV/angstrom", "Ha/bohr", 1 / 51.42207),
        ("eV/Å^3", "eV/bohr³", 0.148185),
        ("e*angstrom", "e·bohr", 1.889726),
        ("kcal/mol/Å", "eV/Å", 0.0433641),
        ("eV/atom", "kcal/mol/atom", 23.0605),
    ],
)
def test_energies_and_lengths_can_be_told_in_other_units(unit: str, other: str, factor: float) -> None:
    found = {entry.text: entry.factor for entry in units_for(unit)}
    assert units_for(unit)[0].factor == 1 and found[other] == pytest.approx(factor, rel=1e-4)
    assert [entry.text for entry in units_for("furlong")] == ["furlong"]


def test_errors_are_those_of_the_analysis_package() -> None:
    analysis = made_up()
    for look, own in (
        (Look("energy.forces"), view()),
        (Look("energy.forces", norm=True), view(by_vector=True)),
        (Look("energy.forces", component=1), view(part="y")),
        (Look("energy", baseline=False), view("energy", per_atom=True, without_baseline=True)),
        (Look("energy", per_atom=False), view("energy")),
    ):
        expected = statistics(pairs(analysis, look))
        found = errors_of(compute(analysis, own))
        assert expected is not None and found is not None
        assert (found.count, found.mae, found.rmse, found.max) == pytest.approx(
            (expected.count, expected.mae, expected.rmse, expected.max)
        )
        of_atoms = look.label == "energy.forces"
        expected = statistics(pairs(analysis, look), of_atoms)
        assert expected is not None and found.relative == pytest.approx(expected.relative)


@pytest.mark.parametrize("by", ["group", "formula", "element", "split"])
@pytest.mark.parametrize("label", ["energy.forces", "energy"])
def test_groups_are_those_of_the_analysis_package(by: str, label: str) -> None:
    analysis = made_up()
    values = compute(analysis, view(label, per_atom=label == "energy"))
    expected = {row.name: row for row in table(analysis, Look(label), by)}
    found = {group.name: group for group in groups_of(analysis, values, by)}
    assert found.keys() == expected.keys()
    for name, group in found.items():
        row = expected[name]
        assert group.errors.rmse == pytest.approx(row.statistics.rmse)
        assert group.errors.r2 == pytest.approx(row.statistics.r2)
        assert group.errors.relative == pytest.approx(row.statistics.relative)
        assert group.structures.tolist() == row.structures.tolist()
    assert kinds_of(analysis) == ["group", "formula", "element", "split"]


def with_holes(analysis: Analysis) -> Analysis:
    forces = analysis.labels["energy.forces"].reference.copy()
    forces[analysis.rows("energy.forces", 2)] = np.nan
    label = replace(analysis.labels["energy.forces"], reference=forces)
    return replace(analysis, labels={**analysis.labels, "energy.forces": label})


def test_missing_labels_count_nowhere() -> None:
    analysis = with_holes(made_up(5))
    values = compute(analysis, view())
    assert np.isnan(values.mean[2]) and 2 not in values.structure
    assert len(values) == 3 * (len(analysis.numbers) - analysis.structures.n_atoms[2])
    row = analysis.rows("energy.forces", 4)
    difference = analysis.labels["energy.forces"].prediction[row] - analysis.labels["energy.forces"].reference[row]
    assert values.largest[4] == pytest.approx(np.abs(difference).max())
    assert values.mean[4] == pytest.approx(np.abs(difference).mean())
    own = values.of(np.array([4]))
    assert values.atom[own].tolist() == np.repeat(np.arange(analysis.structures.n_atoms[4]), 3).tolist()


def test_one_split_alone_and_other_units_are_the_same_errors() -> None:
    analysis = made_up()
    training = compute(analysis, view(split="training"))
    assert set(analysis.structures.split[training.structure]) == {"training"}
    milli = scaled(training, DisplayUnit("meV", 1000.0))
    assert milli.size.mean() == pytest.approx(1000 * training.size.mean()) and milli.view.unit.text == "meV"
    assert milli.largest[0] == pytest.approx(1000 * training.largest[0])


def test_kept_values_are_made_once_and_the_least_used_go_first() -> None:
    analysis = made_up(20)
    one, two = compute(analysis, view()), compute(analysis, view("energy"))
    kept = Kept(most_bytes=64 * len(one) + 400)
    made: list[str] = []

    def ask(name: str) -> None:
        kept.get(name, lambda: made.append(name) or (one if name == "one" else two))

    ask("one")
    ask("one")
    ask("two")
    assert made == ["one", "two"] and len(kept) == 1
    ask("one")
    assert made == ["one", "two", "one"]


def test_a_choice_is_replaced_added_to_and_taken_from() -> None:
    errors = np.array([1.0, 5.0, 3.0, np.nan, 4.0])
    chosen = Selection()
    chosen.choose(np.array([0, 1, 2, 2]), errors)
    assert chosen.rows.tolist() == [1, 2, 0] and chosen.current == 1
    chosen.step(-1)
    assert chosen.current == 0
    chosen.choose(np.array([3, 4]), errors, "add")
    assert chosen.rows.tolist() == [1, 4, 2, 0, 3] and chosen.current == 0, "who is looked at stays"
    chosen.choose(np.array([0, 1]), errors, "remove")
    assert chosen.rows.tolist() == [4, 2, 3] and chosen.current == 4
    chosen.look_at(2, errors, atom=6)
    assert (len(chosen.rows), chosen.current, chosen.atom) == (3, 2, 6)
    chosen.look_at(0, errors)
    assert chosen.rows.tolist() == [0] and chosen.atom is None
    before = chosen.changes
    chosen.look_at(0, errors)
    chosen.choose(np.array([0]), errors)
    chosen.step(1)
    assert chosen.rows.tolist() == [0] and chosen.changes == before + 3, "answered, though nothing came of it"
    chosen.clear()
    assert chosen.current is None and chosen.changes == before + 4


def test_the_same_structures_are_found_in_another_order_and_elsewhere() -> None:
    first = made_up(6)
    order = np.array([3, 1, 5])
    columns = {name: value[order] for name, value in vars(first.structures).items()}
    columns["dataset"] = np.full(3, "moved.xyz")
    data = [{**first.info.data[0], "path": "moved.xyz"}]
    second = replace(first, structures=type(first.structures)(**columns), info=replace(first.info, data=data))
    assert counterparts(first, second).tolist() == [-1, 1, -1, 0, -1, 2]


def test_a_scene_scales_its_arrows_and_knows_what_is_missing() -> None:
    atoms = molecule("CH3CH2OH")
    forces = np.zeros((9, 3))
    forces[2] = [0.0, 3.0, 4.0]
    hole = forces.copy()
    hole[0, 0] = np.nan
    shown = scene(atoms, "Ethanol", "1", hole, forces, np.linalg.norm(forces, axis=1), "eV/Å", focus=2)
    assert shown["arrow_scale"] == pytest.approx(LONGEST_ARROW / 5) and shown["error_scale"] == 5
    assert shown["reference"][0][0] is None and shown["cell"] is None and shown["focus"] == 2
    assert len(shown["bonds"]) == 2 * 8
    assert scene(atoms, "", "1")["reference"] is None


def test_bonds_cross_the_edges_of_a_cell_and_other_directions_are_open() -> None:
    salt = bulk("NaCl", "rocksalt", 5.64)
    assert len(bonds(salt)) == 12, "six neighbours each"
    slab = salt.copy()
    slab.pbc = [True, True, False]
    assert 0 < len(bonds(slab)) < 12
    chain = molecule("H2O")
    chain.cell, chain.pbc = [0, 0, 3.0], [False, False, True]
    assert len(bonds(chain)) >= 4
    assert bonds(molecule("H")) == []


def test_a_page_says_what_an_error_is() -> None:
    analysis = made_up(5)
    words = {}
    for name, own in (
        ("component", view()),
        ("vector", view(by_vector=True)),
        ("length", view(part="length")),
        ("energy", view("energy", per_atom=True, without_baseline=True)),
    ):
        words[name] = explained(analysis, Looked(compute(analysis, own), "", True))
    assert "counts three times" in words["component"] and "length of the difference" in words["vector"]
    assert "directions don't count" in words["length"] and "divided by the number of atoms" in words["energy"]


def test_a_tensor_and_a_label_of_one_value_have_errors_too() -> None:
    analysis = made_up(6)
    tensor = np.random.default_rng(0).normal(size=(6, 3, 3))
    label = Label("energy.stress", "eV/Å^3", False, False, tensor, tensor + 0.5)
    analysis = replace(analysis, labels={**analysis.labels, "energy.stress": label})
    assert len(compute(analysis, view("energy.stress"))) == 54
    trace = compute(analysis, view("energy.stress", part="trace"))
    assert len(trace) == 6 and trace.error == pytest.approx(np.full(6, 1.5))


def test_a_choice_is_ranked_anew_when_something_else_is_looked_at() -> None:
    energy, forces = np.array([3.0, 1.0, 2.0, 0.0]), np.array([0.0, 2.0, 1.0, 3.0])
    selection = Selection()
    selection.rank(energy, "energy")
    selection.choose(np.array([0, 1, 2]), energy)
    assert selection.rows.tolist() == [0, 2, 1]
    selection.rank(forces, "forces")
    assert selection.rows.tolist() == [1, 2, 0] and selection.current == 1
    selection.step(2)
    selection.rank(energy, "energy")
    assert selection.rows.tolist() == [0, 2, 1] and selection.current == 0
    selection.rank(forces, "energy")
    assert selection.rows.tolist() == [0, 2, 1]


def test_a_box_around_a_molecule_is_not_drawn() -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], cell=[50, 50, 50], pbc=False)
    assert scene(atoms, "", "1")["cell"] is None
    atoms.pbc = [True, False, False]
    assert scene(atoms, "", "1")["cell"] is not None


def test_the_size_of_an_energy_is_its_distance_from_the_mean_of_what_was_learnt() -> None:
    analysis = made_up(60)
    looked = view("energy", per_atom=True)
    values = compute(analysis, looked)
    learnt = (analysis.structures.split == "training")[values.structure]
    cloud = _cloud(SIZE, analysis, values, values.largest)
    np.testing.assert_allclose(cloud.x, np.abs(values.reference - values.reference[learnt].mean()))
    forces = compute(analysis, view())
    np.testing.assert_allclose(_cloud(SIZE, analysis, forces, forces.largest).x, np.abs(forces.reference))
