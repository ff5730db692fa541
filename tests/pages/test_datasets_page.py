import re
from collections.abc import Callable
from pathlib import Path

import pytest
from page_helpers import all_text, water
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder, Workspace
from mace_app.options import parse_options

OpenPage = Callable[..., AppTest]
AddFile = Callable[..., DatasetFolder]


def button(app: AppTest, label: str) -> object:
    return next(element for element in app.button if element.label == label)


def test_an_empty_workspace_asks_for_data(open_page: OpenPage) -> None:
    app = open_page("datasets")
    assert len(app.get("file_uploader")) == 1


def test_a_suggestion_is_shown_but_nothing_is_stored_before_the_button(open_page: OpenPage, add_file: AddFile) -> None:
    folder = add_file(water(4))
    app = open_page("datasets", dataset=folder.id)
    assert "mapping to confirm" in all_text(app)
    assert folder.mapping() is None
    app.button(key=f"mapping-{folder.id}-confirm").click().run()
    assert not app.exception
    mapping = folder.mapping()
    assert mapping is not None
    energy = mapping["targets"]["energy"]
    assert (energy["key"], energy["unit"], energy["forces"], energy["stress"]) == (
        "energy",
        "eV",
        {"key": "forces"},
        False,
    )
    parse_options(
        {
            "training_set": {
                "systems": {"read_from": "a.xyz", "length_unit": mapping["length_unit"]},
                "targets": mapping["targets"],
            }
        }
    )
    assert "mapping confirmed" in all_text(app)


def test_what_a_person_changes_in_the_mapping_is_what_is_stored(open_page: OpenPage, add_file: AddFile) -> None:
    folder = add_file(water(4, extra='gap=1.5 mu="0.1 0.2 0.3"'))
    app = open_page("datasets", dataset=folder.id)
    prefix = f"mapping-{folder.id}-"
    app.text_input(key=f"{prefix}training_set-0-targets-0--name").set_value("energy/pbe").run()
    app.selectbox(key=f"{prefix}training_set-0-targets-0-forces").set_value("none").run()
    app.button(key=f"{prefix}offer-forces").click().run()
    app.button(key=f"{prefix}confirm").click().run()
    targets = (folder.mapping() or {})["targets"]
    assert targets["energy/pbe"]["forces"] is False
    assert targets["mtt::dipole"] == {
        "key": "mu",
        "unit": targets["mtt::dipole"].get("unit"),
        "type": {"cartesian": {"rank": 1}},
    }
    assert any(target["key"] in ("gap", "forces") for target in targets.values())


def test_a_name_that_can_not_be_is_answered_at_its_row_and_can_not_be_confirmed(
    open_page: OpenPage, add_file: AddFile
) -> None:
    folder = add_file(water(3))
    app = open_page("datasets", dataset=folder.id)
    app.text_input(key=f"mapping-{folder.id}-training_set-0-targets-0--name").set_value("forces").run()
    assert "is no target of its own" in all_text(app)
    assert app.button(key=f"mapping-{folder.id}-confirm").disabled


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        (water(2) + "3\nProperties=species:S:1:pos:R:3 energy=1\nO 0 0 0\nH 1 0\n" + water(1), "frame"),
        ("these are no structures at all\n", ""),
    ],
    ids=["empty file", "broken frame in the middle", "no structures"],
)
def test_a_file_that_can_not_be_read_is_answered_with_a_sentence(
    text: str, sentence: str, open_page: OpenPage, add_file: AddFile
) -> None:
    folder = add_file(text)
    app = open_page("datasets", dataset=folder.id)
    error = folder.inspection_error()
    assert error is not None and sentence in error and error.endswith(".")
    shown = all_text(app)
    assert "can't be used as it is" in shown and "Traceback" not in shown


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (water(2) + water(2).replace(":forces:R:3", "").replace(" 0.1 0 0.0\n", "\n"), "forces"),
        (water(4).replace("energy=-14.01", "energy=nan"), "NaN"),
        (water(1), "one structure"),
    ],
    ids=["forces on some frames", "NaN label", "one structure"],
)
def test_what_is_odd_in_a_file_is_among_the_findings(
    text: str, sentence: str, open_page: OpenPage, add_file: AddFile
) -> None:
    folder = add_file(text)
    app = open_page("datasets", dataset=folder.id)
    assert sentence.lower() in (all_text(app) + str(folder.inspection_error())).lower()
    assert "Findings" in all_text(app) or folder.inspection_error() is not None


def test_markup_in_keys_values_and_names_is_shown_and_not_obeyed(open_page: OpenPage, add_file: AddFile) -> None:
    folder = add_file(
        water(3, extra='<b>k</b>=1 config_type="<script>alert(1)</script>" "[x](http://evil)"=2'), name="<i>odd<b>.xyz"
    )
    app = open_page("datasets", dataset=folder.id)
    for element in (*app.markdown, *app.caption, *app.error):
        assert not element.proto.allow_html
    for block in app.get("html"):
        assert "<script>" not in block.proto.body and "<b>k" not in block.proto.body
    texts = [str(element.value) for element in (*app.markdown, *app.caption)]
    texts += [str(value) for table in app.table for row in table.value.itertuples() for value in row]
    outside_code = re.sub(r"`[^`]*`|\\\\.", "", "\n".join(texts))
    assert "[x]" not in outside_code and "<b>k" not in outside_code and "<i>" not in outside_code


def test_a_path_that_leads_nowhere_is_answered_with_a_sentence(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("datasets")
    app.button_group(key="datasets-way").set_value("Path on this machine").run()
    app.text_input(key="datasets-path").set_value(str(tmp_path / "nowhere.xyz"))
    button(app, "Add").click().run()
    assert not app.exception
    assert "There is no file" in all_text(app)


def test_a_deleted_dataset_is_gone_and_the_page_goes_on(
    open_page: OpenPage, add_file: AddFile, workspace_path: Path
) -> None:
    folder = add_file(water(2))
    app = open_page("datasets", dataset=folder.id)
    app.button(key="datasets-delete-now").click().run()
    assert not app.exception
    assert Workspace(workspace_path).datasets() == []


def test_a_damaged_dataset_can_still_be_seen_and_deleted(open_page: OpenPage, add_file: AddFile) -> None:
    folder = add_file(water(2))
    (folder.path / "source.json").write_text("{")
    (folder.path / "inspection.json").write_text("[]")
    app = open_page("datasets", dataset=folder.id)
    assert "damaged" in all_text(app)
    app.button(key="datasets-delete-now").click().run()
    assert not folder.path.exists()
