from typing import Any

import pytest

from mace_app.options import DatasetOptions
from mace_app.ui.mapping import (
    SPHERICAL,
    Key,
    decided,
    fitted,
    fitting_keys,
    mapping_problems,
    new_target,
    shape_of,
    target_for,
    unused,
    values_in,
    with_shape,
)

KEYS = {
    key.name: key
    for key in (
        Key("REF_energy", False, 1),
        Key("REF_forces", True, 3),
        Key("virials", False, 9),
        Key("dipole", False, 3),
        Key("charges", True, 1),
        Key("odd key*", False, 1),
        Key("dos", False, 200),
    )
}
TARGETS: dict[str, Any] = {
    "energy": {"key": "REF_energy", "unit": "eV", "forces": {"key": "REF_forces"}, "stress": False},
    "mtt::dipole": {"key": "dipole", "type": {"cartesian": {"rank": 1}}},
    "charge": {"key": "charges", "unit": "e", "sample_kind": "atom"},
}


def test_a_mapping_says_of_every_derivative_whether_it_is_used() -> None:
    targets = decided({"energy": {"key": "REF_energy", "quantity": "energy"}})
    energy = DatasetOptions.model_validate({"systems": "a.xyz", "targets": targets}).targets["energy"]
    assert (energy.forces, energy.stress, energy.virial) == (False, False, False)
    assert decided(decided(TARGETS)) == decided(TARGETS) == TARGETS


@pytest.mark.parametrize(
    ("key", "target"),
    [
        (Key("a", False, 1), {"key": "a"}),
        (Key("a", True, 1), {"key": "a", "sample_kind": "atom"}),
        (Key("a", False, 3), {"key": "a", "type": {"cartesian": {"rank": 1}}}),
        (Key("a", True, 9), {"key": "a", "type": {"cartesian": {"rank": 2}}, "sample_kind": "atom"}),
        (Key("a", False, 5), {"key": "a", "num_subtargets": 5}),
        (Key("a", False, 200), {"key": "a", "num_subtargets": 200}),
    ],
)
def test_the_width_of_a_key_decides_what_it_most_likely_is(key: Key, target: dict[str, Any]) -> None:
    assert target_for("mtt::a", key) == target
    assert mapping_problems({"mtt::a": target}, {"a": key}) == []


def test_five_values_can_become_one_spherical_block_and_numbers_again() -> None:
    key = Key("a", False, 5)
    spherical = with_shape("mtt::a", target_for("mtt::a", key), SPHERICAL, key)
    assert spherical == {"key": "a", "type": {"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1}]}}}
    assert shape_of(spherical) == SPHERICAL and values_in(spherical) == 5
    assert with_shape("mtt::a", spherical, "number", key) == target_for("mtt::a", key)


def test_another_key_brings_its_own_number_of_values_and_sample_kind() -> None:
    target = fitted("mtt::x", {"key": "dos", "num_subtargets": 4, "unit": "1/eV"}, KEYS["dos"])
    assert target == {"key": "dos", "unit": "1/eV", "num_subtargets": 200}
    assert fitted("energy", {"key": "charges"}, KEYS["charges"]) == {"key": "charges"}


def test_problems_stand_at_the_field_they_concern() -> None:
    targets = {
        **TARGETS,
        "mtt::a": {"key": "nowhere"},
        "mtt::b": {"key": "dipole"},
        "mtt::c": {"key": "charges"},
        "mtt::d": {"key": "dipole", "type": {"cartesian": {"rank": 2}}},
    }
    found = {problem.loc: problem.message for problem in mapping_problems(targets, KEYS)}
    assert set(found) == {
        ("mtt::a", "key"),
        ("mtt::b", "num_subtargets"),
        ("mtt::c", "sample_kind"),
        ("mtt::d", "type"),
    }
    assert "no key `nowhere`" in found["mtt::a", "key"]
    assert "holds 3 values for each structure, but this target has 1; set 3" in found["mtt::b", "num_subtargets"]
    named = mapping_problems({**TARGETS, "spectrum": {"key": "dos", "num_subtargets": 200}}, KEYS)
    assert [problem.loc for problem in named] == [("spectrum",)] and "mtt::spectrum" in named[0].message
    assert "at least one" in mapping_problems({}, KEYS)[0].message


def test_only_keys_of_the_right_shape_are_offered() -> None:
    assert fitting_keys(KEYS, "forces") == ["REF_forces"]
    assert fitting_keys(KEYS, "virial") == ["virials"]
    assert fitting_keys(KEYS, "energy") == ["REF_energy", "odd key*"]
    assert [key.name for key in unused(TARGETS, KEYS)] == ["virials", "odd key*", "dos"]


def test_a_new_target_takes_an_unused_key_and_a_name_that_is_allowed() -> None:
    name, target = new_target(TARGETS, KEYS, "odd key*")
    assert (name, target) == ("mtt::odd_key", {"key": "odd key*"})
    assert mapping_problems({**TARGETS, name: target}, KEYS) == []
    assert new_target(TARGETS, KEYS)[1]["key"] == "virials"
    assert new_target({"mtt::target": {}}, {}) == ("mtt::target_2", {"key": "target"})
