"""Adding, changing and removing targets: in the mapping of a data set and on the Train page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from form_samples import TARGETS, molecules
from page_helpers import all_text
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder
from mace_app.ui.draft import Draft

OpenPage = Callable[..., AppTest]
AddFile = Callable[..., DatasetFolder]
LOSS = "option-architecture-training-loss"


def card(number: int, field: str) -> str:
    return f"option-training_set-0-targets-{number}{field}"


@pytest.fixture
def app(open_page: OpenPage, add_file: AddFile) -> AppTest:
    """The targets step, with data whose mapping has an energy only."""
    folder = add_file(molecules(), "everything.xyz")
    folder.write_mapping({"length_unit": "angstrom", "targets": {"energy": TARGETS["energy"]}})
    app = open_page("train", step="data")
    app.multiselect(key="option-training_set-data").set_value(["everything"]).run()
    return app.button(key="train-step-targets").click().run()


def dataset(workspace: Path) -> dict[str, Any]:
    found: dict[str, Any] = Draft.load(workspace / "draft.json").get(("training_set",))[0]
    return found


def option(workspace: Path, name: str) -> Any:
    return Draft.load(workspace / "draft.json").get(("architecture", "training", name))


def add(app: AppTest, key: str) -> None:
    app.button(key="option-targets-0-add").click().run()
    app.selectbox(key=card(1, "-key")).set_value(key).run()
    assert not app.exception


def test_a_head_of_its_own_is_added_named_and_described(app: AppTest, workspace_path: Path) -> None:
    add(app, "blocks")
    assert dataset(workspace_path)["targets"]["mtt::energy_other"] == {"key": "blocks", "num_subtargets": 11}
    app.text_input(key=card(1, "--name")).set_value("mtt::blocks").run()
    app.selectbox(key=card(1, "-unit")).set_value("Debye").run()
    app.selectbox(key=card(1, "-type")).set_value("spherical").run()
    app.number_input(key=card(1, "-type--0-o3_lambda")).set_value(2).run()
    app.number_input(key=card(1, "-type--0-num")).set_value(2).run()
    assert "holds 11 values for each structure, but this target has 10" in all_text(app)
    app.button(key=card(1, "-type--add")).click().run()
    app.number_input(key=card(1, "-type--1-o3_lambda")).set_value(0).run()
    app.button_group(key=card(1, "-aggregate")).set_value("mean").run()
    assert "holds 11 values" not in all_text(app)
    assert dataset(workspace_path)["targets"]["mtt::blocks"] == {
        "key": "blocks",
        "unit": "Debye",
        "type": TARGETS["mtt::blocks"]["type"],
        "aggregate": "mean",
    }
    assert list(dataset(workspace_path)["targets"]) == ["energy", "mtt::blocks"]


def test_a_tensor_can_be_symmetric_and_a_number_again(app: AppTest, workspace_path: Path) -> None:
    add(app, "alpha")
    (name,) = set(dataset(workspace_path)["targets"]) - {"energy"}
    app.selectbox(key=card(1, "-type")).set_value("tensor 3×3").run()
    app.selectbox(key=card(1, "-type--symmetric")).set_value("symmetric").run()
    target = dataset(workspace_path)["targets"][name]
    assert target == {"key": "alpha", "type": {"cartesian": {"rank": 2, "symmetric": True}}}
    app.selectbox(key=card(1, "-type")).set_value("number").run()
    assert dataset(workspace_path)["targets"][name] == {"key": "alpha", "num_subtargets": 9}


def test_a_new_name_reaches_loss_mask_and_baseline_and_a_removal_too(app: AppTest, workspace_path: Path) -> None:
    add(app, "dos")
    app.text_input(key=card(1, "--name")).set_value("mtt::dos").run()
    app.button_group(key=f"{LOSS}--mode").set_value("Each label").run()
    app.selectbox(key=f"{LOSS}-mtt::dos-type").set_value("masked_mae").run()
    app.text_input(key=f"{LOSS}-mtt::dos-weight").set_value("3").run()
    assert "mtt::dos_mask" in all_text(app)
    app.text_input(key=card(1, "-mask")).set_value("dos_known").run()
    assert Draft.load(workspace_path / "draft.json").check()[1] == []
    app.text_input(key=card(1, "--name")).set_value("mtt::states").run()
    assert option(workspace_path, "loss") == {"mtt::states": {"type": "masked_mae", "weight": 3.0}}
    assert dataset(workspace_path)["extra_data"] == {"mtt::states_mask": {"key": "dos_known"}}
    app.button(key="option-targets-0-1-remove").click().run()
    assert list(dataset(workspace_path)["targets"]) == ["energy"] and "extra_data" not in dataset(workspace_path)
    assert option(workspace_path, "loss") is None


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("", "needs a name"), ("energy", "Another target is named"), ("spectrum", "mtt::spectrum")],
)
def test_a_name_that_can_not_be_is_answered_at_the_card(name: str, sentence: str, app: AppTest) -> None:
    add(app, "dos")
    app.text_input(key=card(1, "--name")).set_value(name).run()
    assert sentence in all_text(app)


def test_presets_of_the_loss_become_rows_that_can_be_changed(app: AppTest, workspace_path: Path) -> None:
    app.button_group(key=f"{LOSS}--mode").set_value("MACE weighted").run()
    assert option(workspace_path, "loss") == "weighted"
    app.button_group(key=f"{LOSS}--mode").set_value("Each label").run()
    assert option(workspace_path, "loss") == {"energy": {"forces": {"weight": 100.0}}}
    app.button_group(key=f"{LOSS}--mode").set_value("MACE universal").run()
    assert option(workspace_path, "loss") == "universal"
    app.button_group(key=f"{LOSS}--mode").set_value("One type for all").run()
    app.selectbox(key=f"{LOSS}--type").set_value("mae").run()
    assert option(workspace_path, "loss") == "mae"


def test_an_entry_of_another_shape_blocks_the_start(app: AppTest) -> None:
    add(app, "dos")
    app.number_input(key=card(1, "-num_subtargets")).set_value(5).run()
    app.button(key="train-step-review").click().run()
    assert "holds 6 values for each structure" in all_text(app)
    assert app.button(key="train-start").disabled


def test_the_mapping_offers_every_other_entry_and_stores_what_was_added(open_page: OpenPage, add_file: AddFile) -> None:
    folder = add_file(molecules(), "everything.xyz")
    app = open_page("datasets", dataset=folder.id)
    prefix = f"mapping-{folder.id}-"
    offered = [button.label for button in app.button if str(button.key).startswith(f"{prefix}offer-")]
    assert {"gap", "blocks", "dos"} <= set(offered)
    app.button(key=f"{prefix}offer-dos").click().run()
    app.button(key=f"{prefix}offer-gap").click().run()
    app.button(key=f"{prefix}confirm").click().run()
    targets = (folder.mapping() or {})["targets"]
    assert targets["mtt::dos"] == {"key": "dos", "num_subtargets": 6} and targets["mtt::gap"] == {"key": "gap"}


def test_options_for_metatrain_come_with_what_they_can_not_carry(app: AppTest) -> None:
    app.button_group(key=f"{LOSS}--mode").set_value("MACE universal").run()
    app.button(key="train-step-review").click().run()
    app.session_state["train-metatrain"] = True
    app.run()
    text = all_text(app)
    assert "Options for `mtt train`" in text and "different there" in text
    assert "running average" in text or "ema_decay" in text
