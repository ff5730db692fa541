"""The Foundation models page without a browser, on files of mace-torch and with the real worker."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ase.build
import ase.io
import pytest
from foundation_samples import hostile_pickle, work, write_files
from page_helpers import all_text, water
from run_samples import pose_as_supervisor
from streamlit.testing.v1 import AppTest

from mace_app.jobs import DatasetFolder, FoundationFolder, Workspace
from mace_app.published import DOWNLOADABLE
from mace_app.ui.ase_code import ase_code
from mace_app.ui.engine_code import ipi_code
from mace_app.ui.foundation_results import TARGET

OpenPage = Callable[..., AppTest]
AddFile = Callable[..., DatasetFolder]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def worked(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which ``one`` was exported at once, ``two`` only read, and ``two-2`` exported with both heads."""
    space = Workspace(tmp_path_factory.mktemp("worked") / "workspace")
    for name in ("one", "two", "two"):
        with (files / f"{name}.model").open("rb") as stream:
            folder = space.add_foundation("", stream, original=f"{name}.model")
        work(folder)
        assert folder.state() == "done", folder.error()
    folder.request_export(heads=["dft", "ccsd"])
    work(folder)
    assert [export.refused for export in folder.exports()] == [None, None]
    return space.root


@pytest.fixture
def space(workspace_path: Path) -> Workspace:
    space = Workspace(workspace_path)
    pose_as_supervisor(space)
    return space


@pytest.fixture
def full(space: Workspace, worked: Path) -> Workspace:
    """The workspace with the models of ``worked``."""
    shutil.copytree(worked / "foundations", space.root / "foundations", dirs_exist_ok=True)
    return space


def add(space: Workspace, data: bytes, original: str) -> FoundationFolder:
    return space.add_foundation("", io.BytesIO(data), original=original)


def links(app: AppTest) -> dict[str, str]:
    """Addresses of downloads by what the links say."""
    protos = [element.proto for element in app.get("bidi_component")]
    lists = [json.loads(proto.json) for proto in protos if proto.component_name == "mace_download_list"]
    return {file["title"]: file["url"] for content in lists for file in content["files"]}


def queued(space: Workspace) -> list[str]:
    return [job.folder for job in space.queue.active() if job.kind == "foundation"]


def test_an_empty_workspace_says_what_the_page_does_and_offers_three_ways_in(
    open_page: OpenPage, space: Workspace
) -> None:
    app = open_page("foundation")
    text = all_text(app)
    assert "nothing in it is executed" in text and "agree with the original MACE" in text
    assert len(app.get("file_uploader")) == 1
    app.segmented_control(key="foundation-way").set_value("Path on this machine").run()
    assert [field.key for field in app.text_input] == ["foundation-path"]
    app.segmented_control(key="foundation-way").set_value("Published models").run()
    offered = {button.label for button in app.button}
    assert {model.title for model in DOWNLOADABLE.values()} <= offered
    assert "89 elements" in all_text(app) and "academic use only" in all_text(app)


def test_dropped_files_are_kept_and_started_without_a_further_click(
    open_page: OpenPage, space: Workspace, files: Path
) -> None:
    app = open_page("foundation")
    uploader = app.file_uploader[0]
    for name in ("one", "two"):
        uploader.upload(f"{name}.model", (files / f"{name}.model").read_bytes())
    app.run()
    assert not app.exception
    assert sorted(queued(space)) == ["foundations/one", "foundations/two"]
    assert space.foundation("two").source_path.read_bytes() == (files / "two.model").read_bytes()
    assert app.query_params["foundation"] == "one"
    assert not app.file_uploader[0].value  # and no copy of it in memory
    assert all_text(app).count("waiting") == 2


def test_a_path_is_read_where_it_is_and_a_wrong_one_is_answered(
    open_page: OpenPage, space: Workspace, files: Path
) -> None:
    app = open_page("foundation")
    app.segmented_control(key="foundation-way").set_value("Path on this machine").run()
    app.text_input(key="foundation-path").set_value("/no/such/file.model")
    app.button(key="foundation-path-add").click().run()
    assert "There is no file /no/such/file.model" in all_text(app) and queued(space) == []
    app.text_input(key="foundation-path").set_value(str(files / "one.model"))
    app.button(key="foundation-path-add").click().run()
    assert space.foundation("one").source_path == files / "one.model" and queued(space) == ["foundations/one"]


def test_a_free_model_is_downloaded_at_a_click_and_one_under_a_licence_asks_first(
    open_page: OpenPage, space: Workspace
) -> None:
    app = open_page("foundation")
    app.segmented_control(key="foundation-way").set_value("Published models").run()
    app.button(key="foundation-get-off-small").click().run()
    assert "for academic work, not for commercial use" in all_text(app)
    assert space.foundations() == []
    app.button(key="foundation-get-medium-mpa-0").click().run()
    assert space.foundation("mace-mpa-0-medium").info().published == "medium-mpa-0"
    assert queued(space) == ["foundations/mace-mpa-0-medium"]
    assert "foundation-open-medium-mpa-0" in [button.key for button in app.button]


def test_without_a_network_a_sentence_says_so_and_the_download_can_be_tried_again(
    open_page: OpenPage, space: Workspace, tmp_path: Path
) -> None:
    folder = space.add_published("small")
    nowhere = "http://127.0.0.1:9"
    work(folder, https_proxy=nowhere, HTTPS_PROXY=nowhere, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert folder.state() == "failed"
    app = open_page("foundation")
    sentence = folder.error()
    assert sentence is not None and sentence.replace("`", "") in all_text(app).replace("<code>", "").replace(
        "</code>", ""
    )
    app.button(key=f"foundation:{folder.id}:again").click().run()
    assert queued(space) == [f"foundations/{folder.id}"] and folder.state() == "queued"


def test_an_exported_file_shows_that_it_agrees_its_download_and_what_is_in_it(
    open_page: OpenPage, full: Workspace
) -> None:
    app = open_page("foundation", foundation="one")
    text = all_text(app)
    assert "agrees with the original MACE on" in text and "licence not known" in text
    differences = app.table[0].value
    assert list(differences["Quantity"]) == ["Energy", "Forces", "Stress"]
    assert all("agrees" in result for result in differences["Result"])
    assert next(iter(differences["Largest difference"])).endswith(" eV")
    each = app.table[1].value
    assert "the file's elements" in list(each["From"])
    assert links(app)["Download for ASE, LAMMPS and i-PI"] == "/downloads/foundations/one/one.pt"
    lines = "\n".join(block.value for block in app.code)
    assert 'MetatomicCalculator("one.pt")' in lines
    assert "pair_style metatomic one.pt" in lines and "pair_coeff * * 1 6 8" in lines
    assert "model: one.pt," in lines
    assert "3.7 Å, 2 layers reach 7.4 Å" in text and "H, C, O" in text and "`ScaleShiftMACE`" in text
    assert "\N{MINUS SIGN}1028.5" in text and "0.21" in text
    assert full.foundation("one").facts()["sha256"] in text  # type: ignore[index]


def test_of_several_heads_each_has_a_file_differences_and_lines_of_its_own(
    open_page: OpenPage, full: Workspace
) -> None:
    app = open_page("foundation", foundation="two-2")
    found = links(app)
    assert found["Download dft"].endswith("/two-2/two-dft.pt") and found["Download ccsd"].endswith("/two-2/two-ccsd.pt")
    assert list(app.table[0].value["Head"]) == ["`dft`", "`ccsd`"]
    assert 'MetatomicCalculator("two-dft.pt")' in app.code[0].value
    app.selectbox(key="foundation:two-2:head").set_value("ccsd").run()
    assert 'MetatomicCalculator("two-ccsd.pt")' in app.code[0].value


def test_heads_are_chosen_and_exported_together_with_structures_of_a_dataset(
    open_page: OpenPage, full: Workspace, add_file: AddFile
) -> None:
    dataset = add_file(water(3))
    app = open_page("foundation", foundation="two")
    assert "choose heads" in all_text(app) and app.button(key="foundation:two:export").label == "Export all heads"
    app.multiselect(key="foundation:two:heads").set_value(["ccsd"]).run()
    app.segmented_control(key="foundation:two:structures").set_value("A dataset").run()
    app.segmented_control(key="foundation:two:precision").set_value("32 bit").run()
    assert app.button(key="foundation:two:export").label == "Export 1 head"
    app.button(key="foundation:two:export").click().run()
    assert not app.exception
    folder = full.foundation("two")
    request = folder.request()
    assert (request.heads, request.structures, request.precision) == (("ccsd",), str(dataset.source_path), "float32")
    assert queued(full) == ["foundations/two"]
    work(folder)
    app.run()
    each = next(table.value for table in app.table if "From" in table.value)
    assert sum("structures.xyz" in source for source in each["From"]) == 3
    assert "32 bit" in all_text(app)


def test_an_export_that_disagrees_has_no_download_but_its_differences(open_page: OpenPage, full: Workspace) -> None:
    folder = full.foundation("one")
    (export,) = folder.exports()
    checks = [check | {"max_difference": 1.5, "tolerance": 1e-9} for check in export.report["checks"]]
    folder.write_export(export.head, export.report | {"checks": checks, "refused": "It disagrees with the original."})
    folder.set_state("failed", "It disagrees with the original.")
    app = open_page("foundation", foundation="one")
    text = all_text(app)
    assert "disagrees" in text and "It disagrees with the original." in text
    assert "agrees with the original MACE on" not in text and not app.code
    assert not any("/one/" in address for address in links(app).values())
    assert all("differs" in result for result in app.table[0].value["Result"])
    assert next(iter(app.table[0].value["Largest difference"])) == "1.50 eV"


def test_a_hostile_file_gets_a_sentence_runs_nothing_and_can_be_removed_alone(
    open_page: OpenPage, space: Workspace, files: Path, tmp_path: Path
) -> None:
    folder = add(space, hostile_pickle(tmp_path / "executed"), "<b>evil</b>.model")
    cut = add(space, (files / "one.model").read_bytes()[:50_000], "cut.model")
    for each in (folder, cut):
        work(each)
    assert not (tmp_path / "executed").exists()
    app = open_page("foundation")
    text = all_text(app)
    assert "was not loaded" in text and "cut off or damaged" in text and "Traceback" not in text
    assert "<b>" not in text
    app.button(key=f"foundation:{folder.id}:delete").click().run()
    assert [left.id for left in space.foundations()] == [cut.id]
    assert "was not loaded" not in all_text(app)


def test_a_job_can_be_cancelled_and_started_again(open_page: OpenPage, space: Workspace, files: Path) -> None:
    folder = add(space, (files / "one.model").read_bytes(), "one.model")
    space.start_foundation(folder)
    app = open_page("foundation")
    app.button(key="foundation:one:cancel").click().run()
    assert queued(space) == [] and "cancelled" in all_text(app)
    app.button(key="foundation:one:again").click().run()
    assert queued(space) == ["foundations/one"]


def test_a_link_to_a_model_that_is_gone_says_so_and_a_damaged_folder_can_be_removed(
    open_page: OpenPage, full: Workspace
) -> None:
    assert "There is no foundation model `no-such`" in all_text(open_page("foundation", foundation="no-such"))
    (full.foundation("two").path / "state.json").write_text("{")
    app = open_page("foundation", foundation="two")
    assert "damaged" in all_text(app)
    app.button(key="foundation:two:delete").click().run()
    assert {folder.id for folder in full.foundations()} == {"one", "two-2"}


def test_any_two_names_can_stand_beside_each_other(open_page: OpenPage, space: Workspace) -> None:
    names = ["add", "list", "first", "way", "a", "a-head", "a-open", "path-add"]
    for name in names:
        add(space, b"", f"{name}.model")
    app = open_page("foundation")
    assert sorted(folder.id for folder in space.foundations()) == sorted(names)
    assert sum(button.label == "Remove for good" for button in app.button) == len(names)


def test_names_of_heads_and_files_are_text_and_never_markup(open_page: OpenPage, full: Workspace) -> None:
    folder = full.foundation("one")
    facts = folder.facts()
    assert facts is not None
    name = "**bold** <img src=x> :red[x]"
    folder.write_facts(facts | {"heads": [name], "kind": "`x` <script>"})
    (folder.path / "exports").rename(folder.path / "old")
    shutil.copytree(next((folder.path / "old").iterdir()), folder.export_folder(name))
    app = open_page("foundation", foundation="one")
    values = [str(element.value) for element in (*app.markdown, *app.caption)]
    assert f"`{name}`" in values and "`'x' <script>`" in values


def test_the_lines_for_ase_run_as_they_are(worked: Path, tmp_path: Path) -> None:
    shutil.copy(_exported(worked), tmp_path / "one.pt")
    _structure(tmp_path)
    (tmp_path / "run.py").write_text(ase_code("one.pt", [TARGET]))
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(title in done.stdout for title in ("energy: ", "forces: ", "stress: "))


def test_the_lines_for_ipi_run_as_they_are_and_conserve_energy(worked: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("i-pi")
    if not program.exists():
        pytest.skip("there is no i-pi beside this Python: pip install ipi")
    shutil.copy(_exported(worked), tmp_path / "one.pt")
    _structure(tmp_path)
    (tmp_path / "input.xml").write_text(ipi_code("one.pt"))
    done = subprocess.run([program, "input.xml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    rows = [line.split() for line in (tmp_path / "simulation.out").read_text().splitlines() if line[0] != "#"]
    assert len(rows) == 101, done.stdout + done.stderr
    conserved = [float(row[2]) for row in rows]
    assert max(conserved) - min(conserved) < 1e-2


def _exported(root: Path) -> Path:
    path = Workspace(root).foundation("one").exports()[0].path
    assert path is not None
    return path


def _structure(folder: Path) -> None:
    atoms = ase.build.molecule("CH3CH2OH", vacuum=4.0)
    atoms.pbc = True
    ase.io.write(folder / "structure.xyz", atoms)
