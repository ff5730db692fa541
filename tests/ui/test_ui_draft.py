from pathlib import Path

import pytest

from mace_app.options import OptionsError, parse_options, parse_yaml
from mace_app.ui.draft import MODEL, TRAINING, Draft, sparse

RICH = """
training_set:
  systems: {read_from: a.xyz, length_unit: angstrom}
  targets:
    energy: {key: REF_energy, unit: eV, forces: {key: REF_forces}, stress: false}
    mtt::dipole: {key: dipole, type: {cartesian: {rank: 1}}}
validation_set: {indices: [3, 4]}
architecture:
  model: {r_max: 4, hidden_irreps: 16x0e + 16x1o}
  training:
    loss: {energy: {weight: 2, forces: huber}}
    atomic_baseline: {energy: {1: -13.6, 8: -430}}
"""


def draft(tmp_path: Path) -> Draft:
    return Draft(tmp_path / "draft.json")


def test_a_draft_survives_a_restart_of_the_server_with_text_that_is_no_number(tmp_path: Path) -> None:
    before = draft(tmp_path)
    before.take(RICH)
    before.set((*TRAINING, "learning_rate"), "fast")
    before.name = "ethanol №1"
    before.save()
    after = Draft.load(before.path)
    assert (after.values, after.name) == (before.values, before.name)
    assert after.get((*TRAINING, "atomic_baseline", "energy")) == {1: -13.6, 8: -430}
    _, problems = after.check()
    assert [problem.loc for problem in problems] == [("architecture", "training", "learning_rate")]


def test_a_damaged_draft_file_gives_an_empty_draft(tmp_path: Path) -> None:
    (tmp_path / "draft.json").write_text('{"format": 1, "options": 5')
    assert Draft.load(tmp_path / "draft.json").values == {}


def test_what_is_kept_is_only_what_differs_and_reads_back_equal(tmp_path: Path) -> None:
    options = parse_options(parse_yaml(RICH))
    values = sparse(options)
    assert parse_options(values) == options
    assert values["architecture"]["model"] == {"r_max": 4.0, "hidden_irreps": "16x0e + 16x1o"}
    assert "device" not in values and "test_set" not in values


def test_unsetting_returns_to_the_default_and_leaves_no_empty_mappings(tmp_path: Path) -> None:
    edited = draft(tmp_path)
    edited.set((*MODEL, "r_max"), 6.0)
    edited.unset((*MODEL, "r_max"))
    edited.unset((*MODEL, "correlation"))
    assert edited.values == {}


@pytest.mark.parametrize(
    "text",
    ["a: [", "- 1", "", "architecture: {model: {rmax: 4}}", "architecture: {model: {r_max: 900}}", "training_set: 5"],
)
def test_a_bad_yaml_is_refused_with_sentences_and_nothing_is_lost(text: str, tmp_path: Path) -> None:
    edited = draft(tmp_path)
    edited.take(RICH)
    before = edited.text()
    with pytest.raises(OptionsError) as refusal:
        edited.take(text)
    assert all(problem.message.endswith((".", "?")) for problem in refusal.value.problems)
    assert edited.text() == before


def test_a_yaml_without_data_can_be_loaded_and_completed_later(tmp_path: Path) -> None:
    edited = draft(tmp_path)
    edited.take("architecture: {model: {r_max: 4}}")
    assert edited.values == {"architecture": {"model": {"r_max": 4.0}}}
