"""Planted faults, each found and pointed at; of good labels nothing is said."""

from dataclasses import replace

import numpy as np
import pytest
from analysis_samples import made_up

from mace_app.analysis import Analysis, Label
from mace_app.analysis.findings import Finding, findings


def by_kind(analysis: Analysis) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings(analysis):
        assert finding.label in analysis.labels and len(finding.structures)
        found.setdefault(finding.kind, []).append(finding)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_good_labels_say_nothing(seed: int) -> None:
    assert balanced(made_up(150, seed=seed)) is not None
    assert findings(balanced(made_up(150, seed=seed))) == []


def balanced(analysis: Analysis) -> Analysis:
    """Reference forces that add up to zero in every structure, with the same errors."""
    label = analysis.labels["energy.forces"]
    where, count = analysis.structure_of_atom, analysis.structures.n_atoms
    total = np.stack([np.bincount(where, label.reference[:, axis]) for axis in range(3)], axis=1)
    shift = (total / count[:, None])[where]
    new = Label(label.name, label.unit, True, False, label.reference - shift, label.prediction - shift)
    return replace(analysis, labels={**analysis.labels, "energy.forces": new})


def test_a_shifted_group_is_named_with_its_shift() -> None:
    analysis = balanced(made_up(150, groups=("bulk", "slab", "other")))
    members = analysis.structures.group == "slab"
    analysis.labels["energy"].reference[members, 0] += 0.12 * analysis.structures.n_atoms[members]
    (finding,) = by_kind(analysis)["shift"]
    assert "slab" in finding.text and "0.12 eV/atom" in finding.text and "another reference level" in finding.text
    assert set(finding.structures) == set(np.flatnonzero(members))


def test_another_reference_level_is_told_by_element_and_its_rest() -> None:
    analysis = balanced(made_up(150))
    levels = {1: -13.6, 6: -1029.0, 8: -2041.5}
    assert set(analysis.numbers) == set(levels)
    shift = np.bincount(analysis.structure_of_atom, [levels[number] for number in analysis.numbers])
    analysis.labels["energy"].reference[:, 0] += shift
    found = by_kind(analysis)
    (finding,) = found["level"]
    assert "H -13.6 eV, C -1029 eV, O -2042 eV" in finding.text, finding.text
    assert len(finding.structures) == 150
    rest = float(finding.text.split("Without it ")[1].split(" ")[0])
    errors = (analysis.labels["energy"].prediction - analysis.labels["energy"].reference)[:, 0] + shift
    expected = 1000 * np.sqrt(np.mean((errors / analysis.structures.n_atoms) ** 2))
    assert rest == pytest.approx(expected, rel=0.1)


def test_of_one_composition_the_level_is_told_per_atom() -> None:
    analysis = balanced(made_up(60, atoms=9))
    first = analysis.first_atom
    same = np.flatnonzero(analysis.structures.n_atoms == analysis.structures.n_atoms[0])
    assert len(same) >= 12
    for structure in same:
        analysis.numbers[first[structure] : first[structure + 1]] = analysis.numbers[: first[1]]
    energy = analysis.labels["energy"]
    energy.reference[:, 0] += 434.0 * analysis.structures.n_atoms
    others = np.setdiff1d(np.arange(len(analysis)), same)
    energy.reference[others] = np.nan
    (finding,) = by_kind(analysis)["level"]
    assert "434 eV/atom against the predictions" in finding.text
    assert set(finding.structures) == set(same)


def test_errors_that_no_level_explains_are_none() -> None:
    analysis = balanced(made_up(150))
    noise = np.random.default_rng(3).normal(size=len(analysis))
    analysis.labels["energy"].reference[:, 0] += 0.5 * noise * analysis.structures.n_atoms
    assert "level" not in by_kind(analysis)


def test_two_swapped_energies_are_recognised_as_a_pair() -> None:
    analysis = balanced(made_up(150))
    energy = analysis.labels["energy"].reference
    energy[[12, 77]] = energy[[77, 12]]
    found = by_kind(analysis)
    (finding,) = found["swapped"]
    assert set(finding.structures) == {12, 77} and "frames 12 and 77" in finding.text and "outlier" not in found


def test_a_single_wrong_energy_is_no_swap() -> None:
    analysis = balanced(made_up(150))
    analysis.labels["energy"].reference[12] += 5.0
    found = by_kind(analysis)
    assert set(found["outlier"][0].structures) == {12} and "swapped" not in found


def test_one_structure_twice_with_two_energies() -> None:
    analysis = balanced(made_up(150, atoms=9))
    first = analysis.first_atom
    twin = next(n for n in range(1, 150) if analysis.structures.n_atoms[n] == analysis.structures.n_atoms[0])
    rows, others = slice(first[0], first[1]), slice(first[twin], first[twin + 1])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    analysis.positions[others] = analysis.positions[rows] @ turn + 3.0
    analysis.numbers[others] = analysis.numbers[rows]
    (finding,) = by_kind(analysis)["duplicate"]
    assert set(finding.structures) == {0, twin} and "same structure" in finding.text


def test_an_element_with_noisy_forces_is_named_with_both_errors() -> None:
    analysis = balanced(made_up(150))
    noise = np.random.default_rng(2).normal(size=analysis.positions.shape) * 0.2
    label = analysis.labels["energy.forces"]
    label.prediction[analysis.numbers == 8] += noise[analysis.numbers == 8]
    (finding,) = by_kind(analysis)["element"]
    assert "Forces on O" in finding.text and "meV/Å" in finding.text
    label_errors = np.linalg.norm(label.prediction - label.reference, axis=1)
    assert (
        finding.structures[0] == analysis.structure_of_atom[np.argmax(np.where(analysis.numbers == 8, label_errors, 0))]
    )


def test_a_few_structures_that_carry_the_error() -> None:
    analysis = balanced(made_up(150))
    label = analysis.labels["energy.forces"]
    for structure in (3, 50, 99):
        label.prediction[analysis.rows("energy.forces", structure)] += 0.8
    (finding,) = by_kind(analysis)["concentrated"]
    assert set(finding.structures) <= {3, 50, 99} and "% of the squared force error" in finding.text


def test_reference_forces_that_do_not_add_up() -> None:
    analysis = balanced(made_up(150))
    analysis.labels["energy.forces"].reference[analysis.rows("energy.forces", 9)] += 0.5
    (finding,) = by_kind(analysis)["net_force"]
    assert set(finding.structures) == {9} and "frame 9" in finding.text


def test_a_model_that_learnt_by_heart() -> None:
    analysis = balanced(made_up(150))
    label = analysis.labels["energy.forces"]
    learnt = (analysis.structures.split == "training")[analysis.structure_of_atom]
    label.prediction[learnt] = label.reference[learnt] + 0.2 * (label.prediction - label.reference)[learnt]
    assert "validation" in by_kind(analysis)["overfitted"][0].text


def trajectory(frames: int = 120) -> Analysis:
    """A harmonic molecule in time: energies and forces belong together."""
    analysis = made_up(frames, atoms=9, splits=("",), groups=("",))
    random = np.random.default_rng(5)
    n = 9
    springs, start, speed = random.uniform(2, 6, (n, 1)), random.normal(size=(n, 3)), random.normal(size=(n, 3))
    numbers = random.choice((1, 6, 8), n)
    moved = [0.1 * np.sin(0.15 * t * np.sqrt(springs) + speed) for t in range(frames)]
    positions = np.concatenate([start + move for move in moved])
    energies = np.array([0.5 * (springs * move**2).sum() for move in moved])
    forces = np.concatenate([-springs * move for move in moved])
    table = replace(analysis.structures, n_atoms=np.full(frames, n))
    noise = random.normal(size=forces.shape)
    return replace(
        analysis,
        structures=table,
        numbers=np.tile(numbers, frames),
        positions=positions,
        labels={
            "energy": Label(
                "energy", "eV", False, True, energies[:, None],
                energies[:, None] + 0.001 * random.normal(size=(frames, 1)), np.zeros(frames),
            ),
            "energy.forces": Label("energy.forces", "eV/Å", True, False, forces, forces + 0.03 * noise),
        },
    )  # fmt: skip


def test_forces_that_do_not_match_the_slope_of_the_energies_along_a_trajectory() -> None:
    good = trajectory()
    assert "slope" not in by_kind(good)
    good.labels["energy.forces"].reference[good.rows("energy.forces", 40)] *= -1.0
    (finding,) = by_kind(good)["slope"]
    assert set(finding.structures) == {40} and "do not match the slope" in finding.text


def test_of_data_without_energies_or_forces_nothing_breaks() -> None:
    analysis = made_up(30)
    assert isinstance(findings(replace(analysis, labels={"energy": analysis.labels["energy"]})), list)
    assert findings(replace(analysis, labels={})) == []
    label = analysis.labels["energy"]
    unknown = replace(label, reference=np.full_like(label.reference, np.nan))
    assert findings(replace(analysis, labels={"energy": unknown})) == []


def test_errors_of_exactly_zero_are_no_trouble() -> None:
    analysis = balanced(made_up(150))
    perfect = {name: replace(label, prediction=label.reference.copy()) for name, label in analysis.labels.items()}
    assert findings(replace(analysis, labels=perfect)) == []
    hydrogen = analysis.numbers == 1
    forces = analysis.labels["energy.forces"]
    forces.prediction[hydrogen] = forces.reference[hydrogen]
    learnt = (analysis.structures.split == "training")[analysis.structure_of_atom]
    forces.prediction[learnt] = forces.reference[learnt]
    assert all(finding.text for finding in findings(analysis))


def test_as_many_groups_as_structures_say_nothing() -> None:
    analysis = balanced(made_up(3000))
    names = np.array([f"group {n}" for n in range(3000)])
    assert findings(replace(analysis, structures=replace(analysis.structures, group=names))) == []


def test_the_same_places_with_elements_exchanged_are_another_structure() -> None:
    analysis = balanced(made_up(150, atoms=9))
    first = analysis.first_atom
    twin = next(n for n in range(1, 150) if analysis.structures.n_atoms[n] == analysis.structures.n_atoms[0])
    rows, others = slice(first[0], first[1]), slice(first[twin], first[twin + 1])
    analysis.positions[others] = analysis.positions[rows]
    analysis.numbers[rows] = [6, 8, *[1] * (rows.stop - rows.start - 2)]
    analysis.numbers[others] = [8, 6, *[1] * (rows.stop - rows.start - 2)]
    assert "duplicate" not in by_kind(analysis)
    analysis.numbers[others] = analysis.numbers[rows]
    assert "duplicate" in by_kind(analysis)


def test_bounds_mean_the_same_in_every_unit() -> None:
    """Frames that differ by the rounding of kJ/mol are no contradiction, and a wrong force is found in hartree."""
    analysis = balanced(made_up(150))
    label = analysis.labels["energy"]
    factor = 1 / 0.01036427
    in_kj = replace(label, unit="kJ/mol", reference=label.reference * factor, prediction=label.prediction * factor)
    first, second = analysis.first_atom, 1
    analysis.numbers[first[1] : first[2]] = 1
    table = analysis.structures
    same = analysis.positions[first[0] : first[1]]
    if table.n_atoms[0] != table.n_atoms[second]:
        second = next(n for n in range(1, 150) if table.n_atoms[n] == table.n_atoms[0])
    analysis.positions[first[second] : first[second + 1]] = same
    analysis.numbers[first[second] : first[second + 1]] = analysis.numbers[first[0] : first[1]]
    in_kj.reference[second] = in_kj.reference[0] + 0.002 * table.n_atoms[0]
    found = by_kind(replace(analysis, labels={**analysis.labels, "energy": in_kj}))
    assert "duplicate" not in found


def with_target(kind: str = "dipole", seed: int = 4, structures: int = 120) -> Analysis:
    """Good labels, and those of another target: ``dipole`` and ``gap`` of structures, ``charge`` of atoms."""
    analysis = balanced(made_up(structures))
    random = np.random.default_rng(seed)
    rows = len(analysis.numbers) if kind == "charge" else structures
    shape = (3,) if kind == "dipole" else (1,)
    reference = random.normal(size=(rows, *shape))
    prediction = reference + 0.02 * random.standard_t(5, size=reference.shape)
    unit = {"dipole": "e*Angstrom", "gap": "eV", "charge": "e"}[kind]
    label = Label(f"mtt::{kind}", unit, kind == "charge", False, reference, prediction)
    return replace(analysis, labels={**analysis.labels, label.name: label})


@pytest.mark.parametrize("kind", ["dipole", "gap", "charge"])
@pytest.mark.parametrize("seed", range(20))
def test_good_values_of_other_targets_say_nothing(kind: str, seed: int) -> None:
    assert findings(with_target(kind, seed)) == []


@pytest.mark.parametrize("kind", ["dipole", "gap", "charge"])
def test_values_far_from_all_others_are_named_with_both_sizes(kind: str) -> None:
    analysis = with_target(kind)
    name = f"mtt::{kind}"
    reference = analysis.labels[name].reference
    for structure in (5, 80):
        reference[analysis.rows(name, structure).start, 0] += 3.0
    (finding,) = by_kind(analysis)["outlier"]
    assert set(finding.structures) == {5, 80} and finding.label == name
    assert finding.text.startswith(f"{kind.capitalize()} is far off in frames")
    unit = {"dipole": "e·Å", "gap": "eV", "charge": "e"}[kind]
    largest = float(np.abs(analysis.labels[name].prediction - reference).max())
    assert f"{largest:.3g} {unit}, elsewhere at most" in finding.text


def test_a_dipole_with_the_other_sign_is_named() -> None:
    analysis = with_target()
    reference = analysis.labels["mtt::dipole"].reference
    reference[[7, 30, 31]] *= -1
    (finding,) = by_kind(analysis)["reversed"]
    assert set(finding.structures) == {7, 30, 31} and "Dipole looks reversed in frames" in finding.text
    reference[:] = -analysis.labels["mtt::dipole"].prediction
    (finding,) = by_kind(analysis)["reversed"]
    assert "another convention?" in finding.text and len(finding.structures) == 120


def test_a_group_of_gaps_from_another_method_is_named() -> None:
    analysis = with_target("gap")
    members = analysis.structures.group == "cold"
    analysis.labels["mtt::gap"].reference[members] += 0.8
    (finding,) = by_kind(analysis)["shift"]
    assert set(finding.structures) == set(np.flatnonzero(members)) and finding.label == "mtt::gap"
    assert "Values of mtt::gap in the group cold are shifted by 0.8" in finding.text
