"""The Train page with foundation files: real ones, written by mace-torch and read by the real worker."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from foundation_samples import hostile_pickle, work, write_files
from page_helpers import all_text, water
from run_samples import pose_as_supervisor
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder, FoundationFolder, Workspace
from mace_app.ui import starting_point
from mace_app.ui.draft import MODEL, TRAINING, Draft

OpenPage = Callable[..., AppTest]
AddFile = Callable[..., DatasetFolder]
Read = Callable[[Workspace, str], FoundationFolder]
WAY = "option-architecture-model-mace_model--mode"
FILE = "option-architecture-model-mace_model--file"
HEAD = "option-architecture-model-mace_head_name"
BASELINE = "option-architecture-training-atomic_baseline-energy--mode"
TRAINING_DATA = "option-training_set-data"
FOUNDATION = "From a foundation model"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


@pytest.fixture
def space(workspace_path: Path) -> Workspace:
    space = Workspace(workspace_path)
    pose_as_supervisor(space)
    return space


@pytest.fixture(scope="module")
def read(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """``read(space, "one")`` adds a file by its path to a workspace, with what the real worker found in it."""
    worked = Workspace(tmp_path_factory.mktemp("worked") / "workspace")
    for name in ("one", "two"):
        folder = worked.add_foundation("", files / f"{name}.model")
        folder.request_export(heads=[])
        work(folder)
        assert folder.state() == "done" and folder.exports() == []

    def add(space: Workspace, name: str) -> FoundationFolder:
        shutil.copytree(worked.foundation(name).path, space.foundations_path / name)
        return space.foundation(name)

    return add


def draft_of(space: Workspace) -> Draft:
    return Draft.load(space.root / "draft.json")


def learn_from(app: AppTest, *labels: str) -> AppTest:
    app.button(key="train-step-data").click().run()
    app.multiselect(key=TRAINING_DATA).set_value(list(labels)).run()
    return step(app, "model")


def step(app: AppTest, name: str) -> AppTest:
    app.button(key=f"train-step-{name}").click().run()
    assert not app.exception, app.exception
    return app


def keys(app: AppTest) -> set[str]:
    kinds = ("text_input", "number_input", "selectbox", "multiselect", "toggle", "button_group", "button")
    return {str(widget.key) for kind in kinds for widget in app.get(kind)}


def edit(space: Workspace, *changes: tuple[tuple[str, ...], object]) -> None:
    draft = draft_of(space)
    for loc, value in changes:
        draft.set(loc, value)
    draft.save()


def test_the_only_file_is_chosen_at_once_shows_what_it_brings_and_hides_what_it_decides(
    open_page: OpenPage, space: Workspace, read: Read
) -> None:
    folder = read(space, "one")
    app = open_page("train", step="model")
    app.session_state["train-level"] = "Advanced"
    app.text_input(key="option-architecture-model-r_max").set_value("4.5").run()
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    assert draft_of(space).values == {"architecture": {"model": {"mace_model": str(folder.source_path)}}}
    text = all_text(app)
    for words in ("H, C, O", "3.7 Å, 2 layers reach 7.4 Å", "`4x0e + 4x1o`", "64 bit", "1.7 eV", "not known"):
        assert words in text, words
    assert "these options are not shown" in text
    assert [table for table in app.table if "-1028.5" in table.value.to_string().replace("−", "-")]
    drawn = {key.removeprefix("option-architecture-model-").partition("--")[0] for key in keys(app)}
    assert not drawn & set(starting_point.FROM_FILE) and "mace_head_target" in drawn
    app.button_group(key=WAY).set_value("From scratch").run()
    assert draft_of(space).values == {}
    assert "option-architecture-model-r_max" in keys(app)


def test_of_several_files_one_has_to_be_chosen_before_anything_can_be_trained(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    folders = [read(space, name) for name in ("one", "two")]
    add_file(water(20), "water.xyz", confirm=True)
    app = learn_from(open_page("train"), "water")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    assert "Nothing can be trained before a file is chosen" in all_text(app)
    step(app, "review")
    assert app.button(key="train-start").disabled and "name a `.model` file" in all_text(app).replace(
        "<code>", "`"
    ).replace("</code>", "`")
    step(app, "model")
    shown = app.selectbox(key=FILE)
    assert any("one · H, C, O" in option for option in shown.options)
    shown.set_value(str(folders[0].source_path)).run()
    step(app, "review")
    assert not app.button(key="train-start").disabled
    text = all_text(app)
    assert "from one" in text and "licence: not known" in text and "goes on training" in text


def test_a_head_has_to_be_chosen_where_there_are_several(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "two")
    add_file(water(20), "water.xyz", confirm=True)
    app = learn_from(open_page("train"), "water")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    assert "choose the one that" in all_text(app)
    assert app.selectbox(key=HEAD).options == ["dft", "ccsd"]
    app.selectbox(key=HEAD).set_value("ccsd").run()
    assert "choose the one that" not in all_text(app)
    assert draft_of(space).get((*MODEL, "mace_head_name")) == "ccsd"
    assert not step(app, "review").button(key="train-start").disabled


def test_a_path_becomes_a_foundation_of_the_workspace_and_is_read_without_an_export(
    open_page: OpenPage, space: Workspace, files: Path
) -> None:
    app = open_page("train", step="model")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    app.text_input(key="train-start-path").set_value(str(files / "nothing.model"))
    app.button(key="train-start-add").click().run()
    assert "nothing.model" in all_text(app) and space.foundations() == []
    app.text_input(key="train-start-path").set_value(str(files / "one.model"))
    app.button(key="train-start-add").click().run()
    (folder,) = space.foundations()
    assert folder.state() == "queued" and folder.request().heads == ()
    assert draft_of(space).get((*MODEL, "mace_model")) == str(files / "one.model")
    work(folder)
    app.run()
    assert "2 layers reach" in all_text(app) and folder.exports() == []
    app.text_input(key="train-start-path").set_value(str(files / "one.model"))
    app.button(key="train-start-add").click().run()
    assert len(space.foundations()) == 1


def test_a_file_that_can_not_be_read_says_why_and_can_be_read_again(
    open_page: OpenPage, space: Workspace, tmp_path: Path
) -> None:
    made = tmp_path / "made-by-the-pickle"
    path = tmp_path / "stranger.model"
    path.write_bytes(hostile_pickle(made))
    folder = space.add_foundation("", path)
    folder.request_export(heads=[])
    work(folder)
    assert folder.state() == "failed"
    app = open_page("train", foundation=folder.id)
    step(app, "model")
    assert str(folder.error())[:40] in all_text(app).replace("<code>", "`").replace("</code>", "`")
    app.button(key="train-start-read").click().run()
    assert folder.state() == "queued" and not made.exists()


def test_a_foundation_in_the_address_is_taken_once(open_page: OpenPage, space: Workspace, read: Read) -> None:
    folder = read(space, "one")
    edit(space, ((*MODEL, "r_max"), 4.0), ((*TRAINING, "batch_size"), 3))
    app = open_page("train", foundation=folder.id)
    assert "foundation" not in app.query_params
    expected = {"model": {"mace_model": str(folder.source_path)}, "training": {"batch_size": 3}}
    assert draft_of(space).values == {"architecture": expected}
    step(app, "model")
    app.button_group(key=WAY).set_value("From scratch").run()
    assert "mace_model" not in draft_of(space).text()
    app = open_page("train", foundation="gone")
    assert "There is no foundation model" in all_text(app)


def test_elements_and_symmetries_that_the_file_lacks_are_named_where_they_can_be_changed(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "one")
    extra = 'alpha="1 0 0 0 1 0 0 0 1"'
    folder = add_file(water(20, extra=extra, element="S"), "sulphur.xyz", confirm=True)
    tensor = {"key": "alpha", "type": {"cartesian": {"rank": 2}}}
    energy = {"key": "energy", "unit": "eV", "forces": {"key": "forces"}, "stress": False}
    folder.write_mapping({"length_unit": "angstrom", "targets": {"energy": energy, "mtt::alpha": tensor}})
    app = learn_from(open_page("train"), "sulphur")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    assert "Your data contain S, which this file does not know" in all_text(app)
    assert "contains S, which" in all_text(step(app, "data"))
    assert "needs features of kind" in all_text(step(app, "targets"))
    assert step(app, "review").button(key="train-start").disabled


def test_without_a_target_for_the_energy_it_is_said_that_it_is_left_out_and_how_to_keep_it(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "one")
    folder = add_file(water(20, extra='dipole="0 0 1"'), "dipoles.xyz", confirm=True)
    dipole = {"key": "dipole", "unit": "e*Angstrom", "type": {"cartesian": {"rank": 1}}}
    folder.write_mapping({"length_unit": "angstrom", "targets": {"mtt::dipole": dipole}})
    app = learn_from(open_page("train"), "dipoles")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    assert "it is left out of the model" in all_text(app)
    app.button(key="train-energy-keep").click().run()
    assert draft_of(space).get((*TRAINING, "freeze")) == "backbone"
    assert "the file's energy stays exact" in all_text(app)
    app.button(key="train-energy-thaw").click().run()
    assert not draft_of(space).has((*TRAINING, "freeze"))


def test_energies_of_single_atoms_are_of_the_file_estimated_isolated_or_numbers(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "one")
    add_file(water(20), "water.xyz", confirm=True)
    app = learn_from(open_page("train"), "water")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    step(app, "training")  # shown in simple mode, too
    assert app.selectbox(key=BASELINE).options == [
        "of the file",
        "estimated from my data",
        "isolated atoms in my data",
        "per element",
        "one number",
    ]
    assert "right for data of the same level of theory" in all_text(app)
    place = (*TRAINING, "atomic_baseline", "energy")
    for words, value in (("estimated from my data", "estimated"), ("isolated atoms in my data", "isolated_atoms")):
        app.selectbox(key=BASELINE).set_value(words).run()
        assert draft_of(space).get(place) == value and draft_of(space).check()[1] == []
    app.selectbox(key=BASELINE).set_value("per element").run()
    app.text_input(key="option-architecture-training-atomic_baseline-energy--8").set_value("-432.1").run()
    assert draft_of(space).get(place) == {8: -432.1}
    app.selectbox(key=BASELINE).set_value("of the file").run()
    assert not draft_of(space).has(place)


def test_old_data_are_trained_beside_the_new_with_a_weight_of_their_own_and_can_be_removed(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "two")
    add_file(water(20), "water.xyz", confirm=True)
    old = add_file(water(30).replace("energy=", "E0=").replace("forces:R", "F0:R"), "old.xyz")
    mapped = {"key": "E0", "unit": "eV", "forces": {"key": "F0"}, "stress": False}
    old.write_mapping({"length_unit": "angstrom", "targets": {"energy": mapped}})
    app = learn_from(open_page("train"), "water")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    app.selectbox(key=HEAD).set_value("ccsd").run()
    before = draft_of(space).values
    assert app.button(key="train-replay-add").disabled
    app.selectbox(key="train-replay-data").set_value("old").run()
    app.selectbox(key="train-replay-head").set_value("dft").run()
    app.button(key="train-replay-add").click().run()
    draft = draft_of(space)
    assert draft.get((*MODEL, "more_mace_heads")) == {"energy/replay": "dft"}
    assert draft.get(("training_set", "1", "targets")) == {"energy/replay": {"quantity": "energy", **mapped}}
    assert "from head `dft` of the file on" in all_text(app)
    step(app, "targets")
    app.button_group(key="option-architecture-training-loss--mode").set_value("Each label").run()
    app.text_input(key="option-architecture-training-loss-energy/replay-weight").set_value("0.5").run()
    assert draft_of(space).get((*TRAINING, "loss")) == {"energy/replay": {"weight": 0.5}}
    text = all_text(step(app, "review"))
    assert "45 structures to learn from" in text and "5 structures to validate" in text
    assert not app.button(key="train-start").disabled
    step(app, "model")
    app.button(key="train-replay-remove").click().run()
    left = draft_of(space)
    assert left.values == before


def test_old_data_that_are_no_longer_chosen_take_their_head_along(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "one")
    for name in ("water", "old"):
        add_file(water(20), f"{name}.xyz", confirm=True)
    app = learn_from(open_page("train"), "water")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    app.selectbox(key="train-replay-data").set_value("old").run()
    app.button(key="train-replay-add").click().run()
    assert draft_of(space).has((*MODEL, "more_mace_heads"))
    learn_from(app, "water")
    assert not draft_of(space).has((*MODEL, "more_mace_heads"))


def test_presets_are_those_for_fine_tuning_and_estimate_the_energies_of_single_atoms(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "one")
    add_file(water(20), "water.xyz", confirm=True)
    app = learn_from(open_page("train"), "water")
    app.button(key="train-preset-quick").click().run()
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    assert draft_of(space).get(TRAINING) is None  # the preset from scratch went with its model
    assert "train-preset-quick" not in keys(app)
    app.button(key="train-preset-few").click().run()
    assert app.button(key="train-preset-few").disabled
    draft = draft_of(space)
    assert draft.get((*TRAINING, "atomic_baseline")) == {"energy": "estimated"}
    assert draft.check()[1] == []


def test_a_fine_tuning_saved_as_yaml_loads_as_the_same_draft(
    open_page: OpenPage, add_file: AddFile, space: Workspace, read: Read
) -> None:
    read(space, "two")
    for name in ("water", "old"):
        add_file(water(20), f"{name}.xyz", confirm=True)
    app = learn_from(open_page("train"), "water")
    app.button_group(key=WAY).set_value(FOUNDATION).run()
    app.selectbox(key=HEAD).set_value("dft").run()
    app.selectbox(key="train-replay-data").set_value("old").run()
    app.button(key="train-replay-add").click().run()
    app.button(key="train-preset-with").click().run()
    draft = draft_of(space)
    text, values = draft.text(), draft.values
    app.button(key="train-clear").click().run()
    assert draft_of(space).values == {}
    app.text_area(key="train-yaml-text").set_value(text).run()
    app.button(key="train-yaml-load").click().run()
    assert draft_of(space).values == values
    assert app.selectbox(key=HEAD).value == "dft"


def test_a_file_named_by_a_yaml_only_can_be_read_from_here(open_page: OpenPage, space: Workspace, files: Path) -> None:
    edit(space, ((*MODEL, "mace_model"), str(files / "one.model")))
    app = open_page("train", step="model")
    assert "has not been read yet" in all_text(app)
    app.button(key="train-start-read").click().run()
    (folder,) = space.foundations()
    assert folder.state() == "queued" and json.loads((folder.path / "request.json").read_text())["heads"] == []
