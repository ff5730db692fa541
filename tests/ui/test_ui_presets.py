from pathlib import Path

import pytest

from mace_app.options import option_fields
from mace_app.options.model import ModelHypers
from mace_app.options.run import RunOptions
from mace_app.options.training import TrainingHypers
from mace_app.ui.draft import TRAINING, Draft
from mace_app.ui.presets import PRESETS, Preset, apply, current

MODELS = {(): RunOptions, ("architecture", "model"): ModelHypers, ("architecture", "training"): TrainingHypers}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_is_valid_and_names_only_what_differs_from_the_defaults(preset: Preset, tmp_path: Path) -> None:
    draft = Draft(tmp_path / "draft.json", {"training_set": "a.xyz"})
    apply(preset, draft)
    options, problems = draft.check()
    assert options is not None, problems
    for loc, value in preset.values.items():
        fields = {item.name: item for item in option_fields(MODELS[loc[:-1]])}
        assert value != fields[loc[-1]].default, loc


def test_switching_presets_leaves_nothing_of_the_first_behind_and_keeps_what_presets_do_not_govern(
    tmp_path: Path,
) -> None:
    draft = Draft(tmp_path / "draft.json", {"training_set": "a.xyz"})
    draft.set((*TRAINING, "loss"), "huber")
    for preset in (*PRESETS, *reversed(PRESETS)):
        apply(preset, draft)
        assert current(draft) is preset
        assert draft.get((*TRAINING, "loss")) == "huber"
    draft.set((*TRAINING, "num_epochs"), 7)
    assert current(draft) is None
