"""Every field has help; and what the form wrote is, read again, the same form."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from form_samples import TARGETS, from_a_file, molecules, options
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder, Workspace
from mace_app.options import OptionField, OptionsError, option_fields, parse_options, parse_yaml
from mace_app.options.model import ModelHypers
from mace_app.options.run import Architecture, RunOptions
from mace_app.options.training import TrainingHypers
from mace_app.ui.draft import Draft
from mace_app.ui.train_page import complete_text

OpenPage = Callable[..., AppTest]
AddFile = Callable[..., DatasetFolder]
KINDS = (
    "text_input",
    "number_input",
    "text_area",
    "selectbox",
    "multiselect",
    "toggle",
    "checkbox",
    "button_group",
    "radio",
    "slider",
    "select_slider",
)
STEPS = ("data", "targets", "model", "training")
MODELS: dict[type[Any], tuple[str, ...]] = {
    ModelHypers: ("architecture", "model"),
    TrainingHypers: ("architecture", "training"),
    RunOptions: (),
    Architecture: ("architecture",),
}
SETS: dict[str, Callable[[str], dict[str, Any]]] = {
    "first set": lambda path: options(True, path),
    "second set": lambda path: options(False, path),
    "from a file": from_a_file,
    "from a file, corrected": lambda path: from_a_file(path, corrected=True),
}
ELSEWHERE = {"architecture", "training_set", "name", "model", "training"}


def fields() -> list[tuple[tuple[str, ...], OptionField]]:
    """Every option that the form shows, with its place."""
    return [
        ((*place, item.name), item)
        for model, place in MODELS.items()
        for item in option_fields(model)
        if item.not_built is None and item.name not in ELSEWHERE
    ]


@pytest.fixture
def data(add_file: AddFile) -> str:
    """The path of structures with every kind of label, in the workspace with a mapping."""
    folder = add_file(molecules(), "everything.xyz")
    folder.write_mapping({"length_unit": "angstrom", "targets": TARGETS})
    return str(folder.source_path)


@pytest.fixture
def form(open_page: OpenPage, data: str) -> AppTest:
    app = open_page("train", step="data")
    app.session_state["train-level"] = "Advanced"
    return app.run()


def load(app: AppTest, text: str) -> None:
    app.text_area(key="train-yaml-text").set_value(text).run()
    app.button(key="train-yaml-load").click().run()
    assert not [block for block in app.get("html") if 'class="problems"' in block.proto.body]


def walk(app: AppTest) -> dict[str, Any]:
    """The value of every widget of the form, on all its steps."""
    seen: dict[str, Any] = {}
    for step in STEPS:
        app.button(key=f"train-step-{step}").click().run()
        assert not app.exception, app.exception
        for kind in KINDS:
            seen |= {
                widget.key: widget.value for widget in app.get(kind) if str(widget.key or "").startswith("option-")
            }
    return seen


def draft_of(app: AppTest, workspace: Path) -> Draft:
    return Draft.load(workspace / "draft.json")


def test_every_field_that_is_drawn_has_help_with_the_words_of_its_option(form: AppTest, data: str) -> None:
    helps: dict[str, str] = {}
    for name in ("first set", "from a file"):
        load(form, yaml.safe_dump(SETS[name](data)))
        for step in STEPS:
            form.button(key=f"train-step-{step}").click().run()
            for kind in KINDS:
                for widget in form.get(kind):
                    if str(widget.key or "").startswith("option-"):
                        helps[widget.key] = str(widget.proto.help)
            for element in form.markdown:
                helps[f"heading {element.value}"] = str(element.proto.help)
    assert len(helps) > 100
    silent = [key for key, text in helps.items() if key.startswith("option-") and not text.strip()]
    assert silent == []
    everything = html.unescape("\n".join(helps.values()).replace("\\", ""))
    assert [item.name for _, item in fields() if item.help not in everything] == []


@pytest.mark.parametrize("name", list(SETS))
def test_a_yaml_written_by_the_form_reads_back_to_the_same_form(
    name: str, form: AppTest, data: str, workspace_path: Path
) -> None:
    load(form, yaml.safe_dump(SETS[name](data)))
    first = walk(form)
    draft = draft_of(form, workspace_path)
    written = complete_text(draft)
    values, checked = draft.values, draft.check()[0]
    assert checked == parse_options(SETS[name](data)) == parse_options(parse_yaml(written))
    form.button(key="train-clear").click().run()
    empty = walk(form)
    assert draft_of(form, workspace_path).values == {} and set(empty) != set(first)
    load(form, written)
    assert walk(form) == first
    assert draft_of(form, workspace_path).values == values


def test_the_sets_change_every_field_of_the_form(data: str) -> None:
    def at(tree: Any, place: tuple[str, ...]) -> Any:
        for part in place:
            tree = getattr(tree, part)
        return tree

    try:
        trees = [parse_options(options_for(data)) for options_for in SETS.values()]
    except OptionsError as error:
        pytest.fail(str(error))
    untouched = [item.name for place, item in fields() if all(at(tree, place) == item.default for tree in trees)]
    assert untouched == []


def test_a_run_of_the_workspace_reads_back_too(open_page: OpenPage, data: str, workspace_path: Path) -> None:
    run = Workspace(workspace_path).create_run(parse_options(options(True, data)), "everything")
    app = open_page("train", step="data")
    app.session_state["train-level"] = "Advanced"
    load(app.run(), run.options_text())
    assert draft_of(app, workspace_path).check()[0] == run.options()
