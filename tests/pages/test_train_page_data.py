"""The Train page with data in the workspace: choosing, leaving out, and everything that could not be trained."""

from collections.abc import Callable
from pathlib import Path

from page_helpers import all_text, water
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder, Workspace
from mace_app.options import dump_options
from mace_app.ui.draft import Draft
from mace_app.ui.draft_data import read_from

OpenPage = Callable[..., AppTest]
AddFile = Callable[..., DatasetFolder]
TRAINING_DATA = "option-training_set-data"
VALIDATION_DATA = "option-validation_set-data"


def choose(app: AppTest, *labels: str) -> AppTest:
    return app.multiselect(key=TRAINING_DATA).set_value(list(labels)).run()


def review(app: AppTest) -> str:
    app.button(key="train-step-review").click().run()
    assert not app.exception
    return all_text(app)


def test_data_without_a_confirmed_mapping_are_not_offered(open_page: OpenPage, add_file: AddFile) -> None:
    add_file(water(20), "ready.xyz", confirm=True)
    add_file(water(20), "waiting.xyz")
    app = open_page("train")
    assert app.multiselect(key=TRAINING_DATA).options == ["ready"]
    assert "waiting" in all_text(app)


def test_a_dataset_in_the_address_is_chosen_once_and_an_edited_one_stays(
    open_page: OpenPage, add_file: AddFile, workspace_path: Path
) -> None:
    first, second = (add_file(water(20), f"{name}.xyz", confirm=True) for name in ("first", "second"))
    choose(open_page("train"), "first")
    app = open_page("train", dataset=second.id)
    assert app.multiselect(key=TRAINING_DATA).value == ["second"]
    assert "dataset" not in app.query_params
    draft = Draft.load(workspace_path / "draft.json")
    draft.set(("training_set", "0", "targets", "energy", "forces"), False)
    draft.save()
    open_page("train", dataset=second.id)
    assert Draft.load(workspace_path / "draft.json").values == draft.values
    assert read_from(draft.get(("training_set",))[0]) == str(second.source_path) != str(first.source_path)


def test_chosen_data_start_as_a_run_with_the_options_that_were_shown(
    open_page: OpenPage, add_file: AddFile, workspace_path: Path
) -> None:
    folder = add_file(water(20), "water.xyz", confirm=True)
    app = choose(open_page("train"), "water")
    app.button(key="train-step-model").click().run()
    app.button(key="train-preset-quick").click().run()
    text = review(app)
    assert "18 structures to learn from" in text and "2 structures to validate" in text
    assert "Elements: H, O" in text and "energy.forces" in text
    options, problems = Draft.load(workspace_path / "draft.json").check()
    assert options is not None and problems == []
    assert app.text_input(key="option-run-name").value == "water"
    assert not app.button(key="train-start").disabled
    run = Workspace(workspace_path).create_run(options, "water")
    assert run.options_text() == dump_options(options)
    assert options.training_set[0].systems.read_from == str(folder.source_path)


def test_a_target_can_be_left_out_and_its_forces_too(
    open_page: OpenPage, add_file: AddFile, workspace_path: Path
) -> None:
    add_file(water(20, extra='dipole="0.1 0.2 0.3"'), "water.xyz", confirm=True)
    app = choose(open_page("train"), "water")
    app.button(key="train-step-targets").click().run()
    app.toggle(key="option-targets-0-mtt::dipole").set_value(False).run()
    app.toggle(key="option-targets-0-energy-forces").set_value(False).run()
    targets = Draft.load(workspace_path / "draft.json").get(("training_set",))[0]["targets"]
    assert list(targets) == ["energy"] and targets["energy"]["forces"] is False
    app.toggle(key="option-targets-0-energy-forces").set_value(True).run()
    app.toggle(key="option-targets-0-mtt::dipole").set_value(True).run()
    targets = Draft.load(workspace_path / "draft.json").get(("training_set",))[0]["targets"]
    assert set(targets) == {"energy", "mtt::dipole"} and targets["energy"]["forces"] == {"key": "forces"}


def test_the_loss_has_a_row_for_every_label_and_stores_what_differs(
    open_page: OpenPage, add_file: AddFile, workspace_path: Path
) -> None:
    add_file(water(20), "water.xyz", confirm=True)
    app = choose(open_page("train"), "water")
    app.button(key="train-step-training").click().run()
    loss = "option-architecture-training-loss"
    app.button_group(key=f"{loss}--mode").set_value("Each label").run()
    app.text_input(key=f"{loss}-energy-forces-weight").set_value("25").run()
    app.selectbox(key=f"{loss}-energy-type").set_value("huber").run()
    app.text_input(key=f"{loss}-energy-delta").set_value("0.01").run()
    draft = Draft.load(workspace_path / "draft.json")
    assert draft.get(("architecture", "training", "loss")) == {
        "energy": {"forces": {"weight": 25.0}, "type": "huber", "delta": 0.01}
    }
    app.button_group(key=f"{loss}--mode").set_value("Balanced (mse)").run()
    assert not Draft.load(workspace_path / "draft.json").has(("architecture", "training", "loss"))


def test_energies_of_single_atoms_can_be_given_for_some_elements(
    open_page: OpenPage, add_file: AddFile, workspace_path: Path
) -> None:
    add_file(water(20), "water.xyz", confirm=True)
    app = choose(open_page("train"), "water")
    app.session_state["train-level"] = "Advanced"
    app.button(key="train-step-training").click().run()
    baseline = "option-architecture-training-atomic_baseline-energy"
    app.selectbox(key=f"{baseline}--mode").set_value("per element").run()
    app.text_input(key=f"{baseline}--8").set_value("-432.1").run()
    draft = Draft.load(workspace_path / "draft.json")
    assert draft.get(("architecture", "training", "atomic_baseline")) == {"energy": {8: -432.1}}
    assert draft.check()[0] is not None


def test_a_share_that_leaves_nothing_to_validate_is_answered_before_the_start(
    open_page: OpenPage, add_file: AddFile
) -> None:
    add_file(water(5), "small.xyz", confirm=True)
    app = choose(open_page("train"), "small")
    assert "leaves none to validate" in review(app)
    assert app.button(key="train-start").disabled


def test_one_structure_only_is_answered_before_the_start(open_page: OpenPage, add_file: AddFile) -> None:
    add_file(water(1), "one.xyz", confirm=True)
    app = choose(open_page("train"), "one")
    assert "leaves none to validate" in review(app)


def test_an_element_that_training_lacks_is_answered_before_the_start(open_page: OpenPage, add_file: AddFile) -> None:
    add_file(water(20), "water.xyz", confirm=True)
    add_file(water(4, element="S"), "sulphur.xyz", confirm=True)
    app = choose(open_page("train"), "water")
    app.button_group(key="option-validation_set--mode").set_value("other data").run()
    app.multiselect(key=VALIDATION_DATA).set_value(["sulphur"]).run()
    text = review(app)
    assert "contain S, which the training data lack" in text
    assert app.button(key="train-start").disabled


def test_a_file_that_is_gone_is_answered_before_the_start(open_page: OpenPage, add_file: AddFile) -> None:
    folder = add_file(water(20), "water.xyz", confirm=True)
    app = choose(open_page("train"), "water")
    folder.source_path.unlink()
    text = review(app)
    assert "There is no file" in text and app.button(key="train-start").disabled
