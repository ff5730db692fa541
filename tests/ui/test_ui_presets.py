from pathlib import Path

import pytest

from mace_app.options import option_fields
from mace_app.options.model import ModelHypers
from mace_app.options.run import RunOptions
from mace_app.options.training import TrainingHypers
from mace_app.ui.draft import TRAINING, Draft
from mace_app.ui.presets import FINE_TUNING, PRESETS, Preset, apply, current, leave

MODELS = {(): RunOptions, ("architecture", "model"): ModelHypers, ("architecture", "training"): TrainingHypers}


def draft_for(presets: tuple[Preset, ...], path: Path) -> Draft:
    """A draft that starts from where these presets are for."""
    model = {"architecture": {"model": {"mace_model": "a.model"}}} if presets is FINE_TUNING else {}
    return Draft(path / "draft.json", {"training_set": "a.xyz", **model})


@pytest.mark.parametrize("preset", (*PRESETS, *FINE_TUNING), ids=lambda preset: preset.name)
def test_a_preset_is_valid_and_names_only_what_differs_from_the_defaults(preset: Preset, tmp_path: Path) -> None:
    draft = draft_for(FINE_TUNING if preset in FINE_TUNING else PRESETS, tmp_path)
    apply(preset, draft)
    options, problems = draft.check()
    assert options is not None, problems
    for loc, value in preset.values.items():
        fields = {item.name: item for item in option_fields(MODELS[loc[:-1]])}
        assert value != fields[loc[-1]].default, loc


@pytest.mark.parametrize("presets", [PRESETS, FINE_TUNING], ids=["from scratch", "fine-tuning"])
def test_switching_presets_leaves_nothing_of_the_first_behind_and_keeps_what_presets_do_not_govern(
    presets: tuple[Preset, ...], tmp_path: Path
) -> None:
    draft = draft_for(presets, tmp_path)
    draft.set((*TRAINING, "loss"), "huber")
    for preset in (*presets, *reversed(presets)):
        apply(preset, draft)
        assert current(draft) is preset
        assert draft.get((*TRAINING, "loss")) == "huber"
    draft.set((*TRAINING, "num_epochs"), 7)
    assert current(draft) is None


def test_a_preset_for_fine_tuning_estimates_energies_of_single_atoms_unless_they_were_chosen(tmp_path: Path) -> None:
    draft = draft_for(FINE_TUNING, tmp_path)
    apply(FINE_TUNING[0], draft, estimate="energy")
    assert draft.get((*TRAINING, "atomic_baseline")) == {"energy": "estimated"}
    assert draft.check()[1] == []
    draft.set((*TRAINING, "atomic_baseline", "energy"), "isolated_atoms")
    apply(FINE_TUNING[1], draft, estimate="energy")
    assert draft.get((*TRAINING, "atomic_baseline")) == {"energy": "isolated_atoms"}


def test_before_a_start_from_elsewhere_a_preset_in_use_is_left_and_own_values_stay(tmp_path: Path) -> None:
    draft = draft_for(PRESETS, tmp_path)
    apply(PRESETS[0], draft)
    leave(draft)
    assert draft.values == {"training_set": "a.xyz"}
    draft.set((*TRAINING, "num_epochs"), 7)
    leave(draft)
    assert draft.get((*TRAINING, "num_epochs")) == 7
