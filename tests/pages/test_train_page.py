import re
from collections.abc import Callable
from pathlib import Path

import pytest
from page_helpers import all_text
from streamlit.testing.v1 import AppTest

from mace_app.options import option_fields, parse_yaml
from mace_app.options.model import ModelHypers
from mace_app.options.run import Architecture, RunOptions
from mace_app.options.training import TrainingHypers
from mace_app.ui.draft import Draft

OpenPage = Callable[..., AppTest]
R_MAX = "option-architecture-model-r_max"
IRREPS = "option-architecture-model-hidden_irreps"


def yaml_shown(app: AppTest) -> str:
    return str(app.code[-1].value)


def marked_as_edited(app: AppTest) -> set[str]:
    styles = "".join(block.proto.body for block in app.get("html") if 'content: "edited"' in block.proto.body)
    return set(re.findall(r"\.st-key-(\S+) ", styles)) - {f"{R_MAX}--mode"}


def draft_on_disk(workspace: Path) -> Draft:
    return Draft.load(workspace / "draft.json")


def test_every_option_of_model_and_training_is_on_the_page_or_named_with_the_reason_why_not(
    open_page: OpenPage, workspace_path: Path
) -> None:
    workspace_path.mkdir()
    text = ""
    for values in ({}, {"architecture": {"model": {"mace_model": "a.model"}}}):
        Draft(workspace_path / "draft.json", values).save()
        for step in ("model", "training"):
            app = open_page("train", step=step)
            app.session_state["train-level"] = "Advanced"
            app.run()
            text += all_text(app)
    elsewhere = {"architecture", "training_set", "validation_set", "test_set", "name", "model", "training"}
    for model in (ModelHypers, TrainingHypers, RunOptions, Architecture):
        for item in option_fields(model):
            if item.name not in elsewhere:
                assert item.title in text, item.name
            if item.not_built is not None:
                assert f"`{item.name}`" in text


def test_an_impossible_irreps_string_is_answered_at_the_field_and_in_the_review(
    open_page: OpenPage, workspace_path: Path
) -> None:
    app = open_page("train", step="model")
    app.text_input(key=IRREPS).set_value("16x1o").run()
    assert "must begin with scalars" in all_text(app)
    app.text_input(key=IRREPS).set_value("16 apples").run()
    assert "is no irrep" in all_text(app)
    app.button(key="train-step-review").click().run()
    assert "is no irrep" in all_text(app) and "Features per atom" in all_text(app)
    assert app.button(key="train-start").disabled
    assert draft_on_disk(workspace_path).get(("architecture", "model", "hidden_irreps")) == "16 apples"


def test_an_edit_is_marked_written_to_disk_and_gone_when_the_default_returns(
    open_page: OpenPage, workspace_path: Path
) -> None:
    app = open_page("train", step="model")
    app.text_input(key=R_MAX).set_value("4.5").run()
    assert marked_as_edited(app) == {R_MAX}
    assert parse_yaml(yaml_shown(app)) == {"architecture": {"model": {"r_max": 4.5}}}
    assert draft_on_disk(workspace_path).values == {"architecture": {"model": {"r_max": 4.5}}}
    app.text_input(key=R_MAX).set_value("5.0").run()
    assert marked_as_edited(app) == set()
    assert draft_on_disk(workspace_path).values == {}


def test_a_new_session_finds_the_choices_of_the_last_one(open_page: OpenPage) -> None:
    open_page("train", step="model").text_input(key=R_MAX).set_value("4.5").run()
    assert open_page("train", step="model").text_input(key=R_MAX).value == "4.5"


def test_an_emptied_number_returns_to_its_default(open_page: OpenPage) -> None:
    app = open_page("train", step="training")
    app.text_input(key="option-architecture-training-learning_rate").set_value("0.02").run()
    app.text_input(key="option-architecture-training-learning_rate").set_value("").run()
    assert app.text_input(key="option-architecture-training-learning_rate").value == "0.01"


def test_a_preset_fills_the_form(open_page: OpenPage) -> None:
    app = open_page("train", step="model")
    app.button(key="train-preset-quick").click().run()
    assert app.text_input(key=IRREPS).value == "16x0e + 16x1o"
    assert app.button(key="train-preset-quick").disabled


def test_a_yaml_text_fills_the_form_and_a_bad_one_changes_nothing(open_page: OpenPage) -> None:
    app = open_page("train", step="model")
    app.text_area(key="train-yaml-text").set_value("architecture: {model: {r_max: 3.5}}").run()
    app.button(key="train-yaml-load").click().run()
    assert app.text_input(key=R_MAX).value == "3.5"
    app.text_area(key="train-yaml-text").set_value("architecture: {model: {r_mx: 3}, training: {lr: 1}}").run()
    app.button(key="train-yaml-load").click().run()
    text = all_text(app)
    assert "Did you mean" in text and "learning_rate" in text and "was not loaded" in text
    assert app.text_input(key=R_MAX).value == "3.5"


def test_an_option_that_is_not_built_can_not_slip_in_through_a_yaml(open_page: OpenPage) -> None:
    app = open_page("train", step="model")
    app.text_area(key="train-yaml-text").set_value("architecture: {model: {use_embedding_readout: true}}").run()
    app.button(key="train-yaml-load").click().run()
    assert "not built yet" in all_text(app)


@pytest.mark.parametrize("step", ["data", "targets", "model", "training", "review", "nonsense"])
def test_every_step_opens_on_an_empty_workspace(step: str, open_page: OpenPage) -> None:
    app = open_page("train", step=step)
    assert app.title[0].value == "Train"
