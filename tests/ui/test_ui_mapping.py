from mace_app.options import DatasetOptions
from mace_app.ui.mapping import VALUES, Key, Row, fitting_keys, mapping_problems, new_row, rows_of, targets_of

KEYS = {
    key.name: key
    for key in (
        Key("REF_energy", False, 1),
        Key("REF_forces", True, 3),
        Key("virials", False, 9),
        Key("dipole", False, 3),
        Key("charges", True, 1),
        Key("odd key*", False, 1),
    )
}
TARGETS = {
    "energy": {"key": "REF_energy", "unit": "eV", "forces": {"key": "REF_forces"}, "stress": False},
    "mtt::dipole": {"key": "dipole", "type": {"cartesian": {"rank": 1}}},
    "charge": {"key": "charges", "unit": "e", "sample_kind": "atom"},
}


def test_targets_survive_the_way_through_the_editor() -> None:
    assert targets_of(rows_of(TARGETS), KEYS) == TARGETS
    assert mapping_problems(rows_of(TARGETS), KEYS) == []


def test_a_mapping_says_of_every_derivative_whether_it_is_used() -> None:
    energy = DatasetOptions.model_validate(
        {"systems": "a.xyz", "targets": targets_of([Row("energy", "REF_energy", energy=True)], KEYS)}
    ).targets["energy"]
    assert (energy.forces, energy.stress, energy.virial) == (False, False, False)


def test_three_values_need_not_be_a_vector() -> None:
    target = targets_of([Row("mtt::x", "dipole", shape=VALUES)], KEYS)["mtt::x"]
    assert target == {"key": "dipole", "num_subtargets": 3}


def test_problems_stand_at_the_row_they_concern() -> None:
    rows = [*rows_of(TARGETS), Row("dipole", "dipole"), Row("energy", "nowhere"), Row("", "dipole")]
    found = {(problem.loc, problem.message.split(";")[0]) for problem in mapping_problems(rows, KEYS)}
    assert (("4", "name"), "Two targets are named `energy`") in found
    assert (("4", "key"), "The file has no key `nowhere`") in found
    assert (("5", "name"), "This target has no name") in found
    named = mapping_problems([*rows_of(TARGETS), Row("spectrum", "dipole")], KEYS)
    assert [problem.loc for problem in named] == [("3",)] and "mtt::spectrum" in named[0].message


def test_only_keys_of_the_right_shape_are_offered() -> None:
    assert fitting_keys(KEYS, "forces") == ["REF_forces"]
    assert fitting_keys(KEYS, "virial") == ["virials"]
    assert fitting_keys(KEYS, "energy") == ["REF_energy", "odd key*"]


def test_a_new_row_takes_an_unused_key_and_a_name_that_is_allowed() -> None:
    rows = rows_of(TARGETS)
    rows.append(new_row(rows, {name: KEYS[name] for name in (*list(KEYS)[:2], "odd key*")}))
    assert (rows[-1].key, rows[-1].name) == ("odd key*", "mtt::odd_key_")
    assert mapping_problems(rows, KEYS) == []
