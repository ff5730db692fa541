"""What a draft says of a start from a foundation file: what it drops, what becomes of the energy, what can't work."""

from typing import Any

import pytest

from mace_app.options import Problem, TargetInfo
from mace_app.options.model import FROM_FILE
from mace_app.ui import replay, starting_point
from mace_app.ui.draft import MODEL, TRAINING, Draft
from mace_app.ui.draft_data import Source, align_other_sets, draft_targets
from mace_app.ui.starting_checks import hints, missing_elements, starting_problems
from mace_app.ui.starting_files import StartingFile
from mace_app.ui.starting_point import ELEMENTS, FILE, FREEZE, HEAD, MORE_HEADS, fate_of_energy

ENERGY: dict[str, Any] = {"key": "e", "unit": "eV", "forces": {"key": "f"}, "stress": False}
DIPOLE: dict[str, Any] = {"key": "mu", "type": {"cartesian": {"rank": 1}}}
FACTS: dict[str, Any] = {
    "heads": ["dft", "ccsd"],
    "elements": ["H", "C", "O"],
    "feature_kinds": ["0e", "1o"],
    "dtype": "float64",
}


def draft_of(*entries: dict[str, Any], **values: Any) -> Draft:
    """From a file, with data sets ``new.xyz``, ``new-1.xyz`` …; ``values`` go into the model."""
    data = [{"systems": f"new{f'-{n}' if n else ''}.xyz", "targets": targets} for n, targets in enumerate(entries)]
    model = {"mace_model": "a.model", **values}
    return Draft(None, {"architecture": {"model": model}, **({"training_set": data} if data else {})})


def source(path: str, targets: dict[str, Any]) -> Source:
    return Source(path, {"systems": {"read_from": path}, "targets": targets})


def problems(draft: Draft, facts: dict[str, Any] | None = FACTS, **elements: list[int]) -> list[Problem]:
    found = {path.replace("_", "."): numbers for path, numbers in elements.items()}
    return starting_problems(draft, StartingFile("a.model", facts), draft_targets(draft), found)


def test_taking_a_file_drops_what_the_file_decides_and_nothing_else() -> None:
    draft = Draft(None, {"architecture": {"atomic_types": [1], "model": {"gate": "tanh"}}, "seed": 3})
    for name in FROM_FILE:
        draft.set((*MODEL, name), "something")
    starting_point.start_from(draft, "a.model", ["dft"])
    assert draft.values == {"architecture": {"model": {"gate": "tanh", "mace_model": "a.model"}}, "seed": 3}
    assert not draft.has(ELEMENTS)


def test_another_file_forgets_heads_that_it_does_not_have() -> None:
    draft = draft_of(mace_head_name="pbe", more_mace_heads={"energy/old": "pbe", "energy/other": "ccsd"})
    starting_point.start_from(draft, "b.model", ["dft", "ccsd"])
    assert not draft.has(HEAD)
    assert draft.get(MORE_HEADS) == {"energy/old": None, "energy/other": "ccsd"}
    draft.set(HEAD, "dft")
    starting_point.start_from(draft, "c.model", ["dft", "ccsd"])
    assert draft.get(HEAD) == "dft"


def test_back_to_scratch_leaves_nothing_that_means_something_with_a_file_only() -> None:
    draft = draft_of({"energy": ENERGY}, mace_head_name="dft", gate="tanh")
    replay.add(draft, source("old.xyz", {"energy": ENERGY}), [])
    draft.set((*TRAINING, "atomic_baseline"), {"energy": "estimated", "mtt::gap": 0.5})
    draft.set((*TRAINING, "batch_size"), 3)
    for name in starting_point.fine_tuning_options():
        draft.set((*TRAINING, name), 2)
    starting_point.from_scratch(draft)
    assert draft.get(("architecture",)) == {
        "model": {"gate": "tanh"},
        "training": {"atomic_baseline": {"mtt::gap": 0.5}, "batch_size": 3},
    }
    assert [entry["systems"] for entry in draft.get(("training_set",))] == ["new.xyz"]


@pytest.mark.parametrize(
    ("targets", "kind", "words"),
    [
        ({"energy": ENERGY}, "trained", "naive fine-tuning"),
        ({"mtt::mu": DIPOLE}, "left out", "left out of the model"),
        ({"energy/pbe": ENERGY}, "left out", "heads of `energy/pbe` begin with random weights"),
    ],
)
def test_the_energy_is_trained_or_left_out_as_the_targets_have_it(
    targets: dict[str, Any], kind: str, words: str
) -> None:
    draft = draft_of(targets)
    fate = fate_of_energy(draft, draft_targets(draft))
    assert fate.kind == kind and words in fate.sentence


def test_the_energy_of_the_file_can_go_on_under_another_name() -> None:
    draft = draft_of({"energy/pbe": ENERGY})
    fate = fate_of_energy(draft, draft_targets(draft))
    (choice,) = [choice for choice in fate.choices if choice.name.startswith("goes-on")]
    choice.make(draft)
    assert draft.get((*MODEL, "mace_head_target")) == "energy/pbe"
    assert fate_of_energy(draft, draft_targets(draft)).kind == "trained"


def test_freezing_the_backbone_keeps_an_energy_that_nothing_trains_and_can_be_undone() -> None:
    draft = draft_of({"mtt::mu": DIPOLE})
    draft.set((*TRAINING, "lora_rank"), 4)
    draft.set((*TRAINING, "weight_decay"), 1e-4)
    (keep,) = fate_of_energy(draft, draft_targets(draft)).choices
    keep.make(draft)
    assert draft.get(TRAINING) == {"freeze": "backbone"}
    assert draft.check()[1] == []
    fate = fate_of_energy(draft, draft_targets(draft))
    assert fate.kind == "kept" and "stays exact" in fate.sentence
    fate.choices[0].make(draft)
    assert not draft.has(FREEZE) and fate_of_energy(draft, draft_targets(draft)).kind == "left out"


def test_with_a_frozen_backbone_only_the_readouts_of_a_trained_energy_move() -> None:
    draft = draft_of({"energy": ENERGY})
    draft.set(FREEZE, "backbone")
    assert fate_of_energy(draft, draft_targets(draft)).kind == "readouts only"


def test_readouts_are_moot_unless_a_scalar_gets_a_head_of_its_own() -> None:
    vector, gap = draft_of({"energy": ENERGY, "mtt::mu": DIPOLE}), draft_of({"mtt::gap": {"key": "gap"}})
    assert {"gate", "MLP_irreps"} <= set(starting_point.moot_model_options(vector, draft_targets(vector)))
    assert not {"gate", "MLP_irreps"} & set(starting_point.moot_model_options(gap, draft_targets(gap)))
    vector.unset(FILE)
    assert starting_point.moot_model_options(vector, draft_targets(vector)) == ["mace_head_name"]


def test_the_scale_of_energies_is_moot_where_all_of_them_come_from_the_file() -> None:
    own = draft_of({"energy": ENERGY})
    other = draft_of({"energy": ENERGY, "energy/pbe": ENERGY})
    assert starting_point.moot_training_options(own, draft_targets(own)) == ["energy_scale"]
    assert starting_point.moot_training_options(other, draft_targets(other)) == []


# Checks from the facts


def test_elements_that_the_file_lacks_are_named_at_their_data_set() -> None:
    draft = draft_of({"energy": ENERGY}, {"energy": ENERGY}, mace_head_name="dft")
    (problem,) = problems(draft, new_xyz=[1, 8], **{"new-1_xyz": [1, 14, 16]})
    assert problem.loc == ("training_set", "1", "systems")
    assert "`new-1.xyz` contains Si, S, which `a.model` does not know" in problem.message
    assert missing_elements(FACTS, [8, 1, 17]) == [17]


def test_an_element_of_other_data_is_named_there() -> None:
    draft = draft_of({"energy": ENERGY}, mace_head_name="dft")
    draft.set(("test_set",), [{"systems": "test.xyz", "targets": {"energy": ENERGY}}])
    (problem,) = problems(draft, test_xyz=[1, 17])
    assert problem.loc == ("test_set", "0", "systems")


def test_a_target_that_the_features_can_not_give_is_named_at_its_type() -> None:
    tensor = {"key": "alpha", "type": {"cartesian": {"rank": 2}}}
    draft = draft_of({"energy": ENERGY, "mtt::mu": DIPOLE, "mtt::alpha": tensor}, mace_head_name="dft")
    (problem,) = problems(draft)
    assert problem.loc == ("training_set", "0", "targets", "mtt::alpha", "type")
    assert "needs features of kind `2e`" in problem.message and "`0e`, `1o` only" in problem.message


def test_of_several_heads_one_has_to_be_chosen_and_it_must_exist() -> None:
    draft = draft_of({"energy": ENERGY})
    (problem,) = problems(draft)
    assert problem.loc == HEAD and "choose the one that `energy` starts from" in problem.message
    draft.set(HEAD, "pbe")
    (problem,) = problems(draft)
    assert problem.loc == HEAD and "no head `pbe`" in problem.message
    draft.set(HEAD, "ccsd")
    draft.set(MORE_HEADS, {"energy/old": None, "energy/older": "mp2"})
    (problem,) = problems(draft)
    assert problem.loc == (*MORE_HEADS, "energy/older") and "no head `mp2`" in problem.message


def test_a_single_head_needs_no_choice() -> None:
    assert problems(draft_of({"energy": ENERGY}), {**FACTS, "heads": ["Default"]}) == []


def test_nothing_is_said_of_a_file_that_was_not_read() -> None:
    assert problems(draft_of({"energy": ENERGY}), None, new_xyz=[99]) == []


def test_a_file_of_32_bit_is_a_hint_as_long_as_64_bit_are_chosen() -> None:
    draft, single = draft_of(), {**FACTS, "dtype": "float32"}
    assert hints(draft, FACTS) == [] and "32 bit" in hints(draft, single)[0]
    draft.set(("base_precision",), 32)
    assert hints(draft, single) == []


# Replay


def test_old_data_are_trained_under_a_name_of_their_own_with_the_keys_they_have() -> None:
    draft = draft_of({"energy": ENERGY})
    old = source(
        "old.xyz", {"energy": {"unit": "eV", "forces": {"key": "F"}, "stress": {"key": "S"}}, "mtt::mu": DIPOLE}
    )
    replay.add(draft, old, [], head="dft")
    assert replay.replayed(draft) == "old.xyz"
    assert draft.get(("training_set",))[1] == {
        "systems": {"read_from": "old.xyz"},
        "targets": {
            "energy/replay": {
                "quantity": "energy",
                "key": "energy",
                "unit": "eV",
                "forces": {"key": "F"},
                "stress": {"key": "S"},
            }
        },
    }
    assert draft.get(MORE_HEADS) == {"energy/replay": "dft"}
    options, found = draft.check()
    assert found == [] and options is not None
    targets: dict[str, TargetInfo] = options.targets()
    assert list(targets) == ["energy", "energy/replay"] and targets["energy/replay"].is_energy
    assert draft_targets(draft) == targets


def test_without_the_old_data_nothing_is_left_of_them() -> None:
    draft = draft_of({"energy": ENERGY})
    before = draft.text()
    replay.add(draft, source("old.xyz", {"energy": ENERGY}), [])
    draft.set((*TRAINING, "loss"), {"energy/replay": {"weight": 0.1}})
    draft.set((*TRAINING, "atomic_baseline"), {"energy/replay": "isolated_atoms"})
    replay.remove(draft)
    assert draft.text() == before


def test_old_data_in_another_set_are_compared_with_the_energy_they_train() -> None:
    draft = draft_of({"energy": ENERGY})
    old = source("old.xyz", {"energy": ENERGY})
    draft.set(("validation_set",), [old.entry, {"systems": "more.xyz", "targets": {"energy": ENERGY}}])
    replay.add(draft, old, [])
    aligned = draft.get(("validation_set",))
    assert [list(entry["targets"]) for entry in aligned] == [["energy/replay"], ["energy"]]
    align_other_sets(draft, [])
    assert draft.get(("validation_set",)) == aligned and draft.check()[1] == []


def test_only_data_with_an_energy_that_are_not_learnt_from_can_be_replayed() -> None:
    draft = draft_of({"energy": ENERGY})
    ready = [
        source("new.xyz", {"energy": ENERGY}),
        source("dipoles.xyz", {"mtt::mu": DIPOLE}),
        source("old.xyz", {"mtt::e": {**ENERGY, "quantity": "energy"}}),
    ]
    assert [s.path for s in replay.candidates(draft, ready)] == ["old.xyz"]
    assert replay.as_replay(ready[1].entry["targets"]) is None
