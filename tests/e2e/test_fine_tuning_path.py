"""From a foundation file to a fine-tuned model in a real browser: choose the file, choose data, train, download."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from form_samples import TARGETS, molecules
from foundation_samples import work, write_files
from playwright.sync_api import Page, expect

from mace_app.jobs import RunFolder, Workspace
from mace_app.jobs.inspection import inspect

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Ready = Callable[..., None]
PATIENCE = 600.0


def prepare(space: Workspace, folder: Path) -> str:
    """A foundation file with two heads that was read, and data with an energy and a dipole; the file's id."""
    write_files(folder)
    foundation = space.add_foundation("", folder / "two.model")
    work(foundation)  # of several heads none is exported without being asked for
    path = folder / "molecules.xyz"
    path.write_text(molecules(20))
    dataset = space.add_dataset("molecules", path)
    inspect(dataset)
    targets = {name: TARGETS[name] for name in ("energy", "mtt::dipole")}
    dataset.write_mapping({"length_unit": "angstrom", "targets": targets})
    return foundation.id


def finished(run: Path) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        record = json.loads((run / "run.json").read_text())
        if record["state"] not in ("queued", "running"):
            return dict(record)
        time.sleep(1)
    raise AssertionError(f"not finished after {PATIENCE:g} s")


def test_a_foundation_file_is_fine_tuned_and_both_files_are_offered(
    server: Any, page: Page, ready: Ready, tmp_path: Path
) -> None:
    identifier = prepare(Workspace(server.workspace), tmp_path)
    page.goto(f"{server.url}/train?foundation={identifier}")
    ready(page)
    expect(page.locator(".st-key-train-yaml")).to_contain_text("two.model")
    page.get_by_role("combobox", name=re.compile("Data to learn from")).click()
    page.get_by_role("option", name="molecules").click()
    page.keyboard.press("Escape")
    ready(page)
    for step in ("targets", "model"):
        page.get_by_role("button", name=f"Next: {step}").click()
        expect(page).to_have_url(re.compile(f"step={step}"))
        ready(page)
    expect(page.get_by_text("2 layers reach 7.4")).to_be_visible()
    expect(page.get_by_text("choose the one that")).to_be_visible()
    page.get_by_role("combobox", name=re.compile("Head of the foundation model")).click()
    page.get_by_role("option", name="ccsd").click()
    expect(page.get_by_text("choose the one that")).to_have_count(0)
    expect(page.get_by_text("naive fine-tuning")).to_be_visible()
    page.locator(".st-key-train-preset-few").get_by_role("button").first.click()
    expect(page.locator(".st-key-train-yaml")).to_contain_text("estimated")
    page.get_by_role("button", name="Next: training").click()
    ready(page)
    epochs = page.get_by_role("spinbutton", name=re.compile("Epochs"))
    epochs.fill("2")
    epochs.press("Enter")
    expect(page.locator(".st-key-train-yaml")).to_contain_text(re.compile(r"num_epochs: 2(?!\d)"))
    page.get_by_role("button", name="Next: review").click()
    ready(page)
    expect(page.get_by_text("from two")).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile(r"/runs\?run="))
    expect(page.locator(".st-key-run-origin")).to_contain_text("two.model")
    run = server.workspace / "runs" / page.url.rsplit("run=", 1)[1].split("&")[0]
    training = RunFolder(run).options().architecture.training
    assert (training.num_epochs, training.batch_size, training.learning_rate) == (2, 5, 0.001)  # as the preset says
    record = finished(run)
    assert record["state"] == "finished", record["reason"]

    page.reload()
    ready(page)
    expect(page.locator(".st-key-run-origin")).to_contain_text("head ccsd as energy")
    for name in ("model.pt", "model.model"):
        link = page.locator(f'a[href$="/{name}"]').first
        with page.expect_download() as download:
            link.click()
        assert download.value.path().stat().st_size == (run / name).stat().st_size > 1000
    report = json.loads((run / "report.json").read_text())
    assert report["foundation"]["heads"] == {"energy": "ccsd"}
    assert all(check["max_difference"] <= check["tolerance"] for check in report["native"]["checks"])
