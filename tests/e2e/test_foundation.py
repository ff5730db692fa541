"""The Foundation models page in a real browser, with the real supervisor and worker: from a dropped file to numbers."""

import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.build
import ase.io
import pytest
from foundation_samples import hostile_pickle, write_files
from playwright.sync_api import Page, expect

from mace_app.jobs import Workspace

pytestmark = pytest.mark.browser
# Another process may be at work on the same two cores.
PATIENCE = 240_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


def drop(page: Page, *paths: Path) -> None:
    page.locator(".st-key-foundation-add input[type=file]").set_input_files(paths)


def test_a_dropped_file_is_exported_compared_downloaded_and_runs_by_the_lines_that_are_offered(
    server: Any, page: Page, files: Path, tmp_path: Path
) -> None:
    page.goto(f"{server.url}/foundation")
    drop(page, files / "one.model")
    link = page.get_by_role("link", name="Download for ASE, LAMMPS and i-PI")
    expect(link).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("agrees with the original MACE on")).to_be_visible()
    table = page.get_by_test_id("stTable").first
    for quantity in ("Energy", "Forces", "Stress"):
        expect(table.get_by_role("row").filter(has_text=quantity)).to_contain_text("agrees")
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "one.pt"
    shutil.copy(download.value.path(), tmp_path / "one.pt")
    atoms = ase.build.molecule("CH3CH2OH", vacuum=4.0)
    atoms.pbc = True
    ase.io.write(tmp_path / "structure.xyz", atoms)
    (tmp_path / "run.py").write_text(page.get_by_test_id("stCode").first.inner_text())
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "energy: " in done.stdout, done.stderr
    assert "Traceback" not in server.log.read_text()


def test_hostile_files_beside_a_good_one_get_a_sentence_each_run_nothing_and_stop_nothing(
    server: Any, page: Page, files: Path, tmp_path: Path
) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    evil, cut = tmp_path / "evil.model", tmp_path / "cut.model"
    evil.write_bytes(hostile_pickle(tmp_path / "executed"))
    cut.write_bytes((files / "one.model").read_bytes()[:50_000])
    page.goto(f"{server.url}/foundation")
    drop(page, evil, cut, files / "two.model")
    card = page.locator(".st-key-foundation-list")
    expect(card.get_by_role("alert").filter(has_text="evil.model")).to_contain_text("was not loaded", timeout=PATIENCE)
    expect(card.get_by_role("alert").filter(has_text="cut.model")).to_contain_text("cut off", timeout=PATIENCE)
    expect(page.get_by_text("choose heads")).to_be_visible(timeout=PATIENCE)
    assert not (tmp_path / "executed").exists() and dialogs == []

    card.get_by_role("button", name="two", exact=True).click()
    export = page.get_by_role("button", name="Export all heads")
    expect(export).to_be_visible()

    evil_card = page.locator(".st-key-foundation-evil")
    evil_card.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove for good").click()
    expect(evil_card).to_have_count(0)

    export.click()
    expect(page.get_by_role("link", name="Download dft")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("link", name="Download ccsd")).to_be_visible(timeout=PATIENCE)
    assert page.url.endswith("/foundation?foundation=two")
    assert page.get_by_test_id("stException").count() == 0

    page.get_by_role("link", name="Fine-tune this").click()
    expect(page.locator(".st-key-train-yaml")).to_contain_text("two/source/two.model")
    assert "/train" in page.url and "foundation=" not in page.url  # taken once


def test_a_cold_deep_link_opens_the_model_it_names(
    start_server: Callable[[], Any], page: Page, tmp_path: Path, files: Path
) -> None:
    space = Workspace(tmp_path / "workspace")
    for name in ("one", "two"):
        space.add_foundation("", files / f"{name}.model")
    page.goto(f"{start_server().url}/foundation?foundation=one")
    expect(page.get_by_role("heading", name="one", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="two", exact=True)).to_be_visible()


def test_nothing_but_accepted_exports_can_be_fetched(server: Any, files: Path, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "workspace")
    folder = space.add_foundation("", files / "one.model")
    folder.write_facts({"heads": ["Default"]})
    kept = folder.export_folder("Default")
    kept.mkdir(parents=True)
    (kept / "model.pt").write_bytes(b"model" * 1000)
    folder.write_export("Default", {})
    (name,) = [export.name for export in folder.exports()]
    address = f"{server.url}/downloads/foundations/one"
    with urllib.request.urlopen(f"{address}/{name}") as answer:
        assert answer.read() == b"model" * 1000
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'

    secret = tmp_path / "secret.txt"
    secret.write_text("CLASSIFIED")
    (space.foundations_path / "evil").symlink_to(tmp_path)
    for path in ("/report.json", "/model.pt", "/source.json", "/..%2fone%2fsource.json", "/../evil/secret.txt"):
        assert _refused(address + path), path
    folder.write_export("Default", {"refused": "It disagrees."})
    assert _refused(f"{address}/{name}")
    folder.write_export("Default", {})
    (kept / "model.pt").unlink()
    (kept / "model.pt").symlink_to(secret)
    assert _refused(f"{address}/{name}")


def _refused(address: str) -> bool:
    try:
        with urllib.request.urlopen(address) as answer:
            body = answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code in (400, 404)
    # Streamlit answers what is no address of ours with its own page.
    return b"CLASSIFIED" not in body and b"<!doctype html>" in body[:200].lower()
