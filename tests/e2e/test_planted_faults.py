"""A new user with a data set in which five things are wrong: each is found within three clicks from the run's page."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from planted import Planted, options, write_planted
from playwright.sync_api import Page, expect

from mace_app.jobs import RunFolder, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120_000


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Planted, RunFolder]:
    """A model that was trained on them, in the workspace."""
    planted = write_planted(tmp_path / "planted.xyz")
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options(planted, num_epochs=8)))
    command = ["train", str(tmp_path / "options.yaml"), "-o", str(tmp_path / "trained"), "--threads", "2"]
    subprocess.run([sys.executable, "-m", "mace_app", *command], check=True, cwd=ROOT, capture_output=True)
    return planted, Workspace(tmp_path / "workspace").import_run(tmp_path / "trained", "Planted").run


def listed(page: Page) -> set[int]:
    """The frames of the structures that are chosen, as the list says."""
    if "chosen" not in page.locator(".st-key-analysis-steps").inner_text().replace("Nothing is chosen", ""):
        return set()
    names = page.locator("[class*=st-key-analysis-worst] tbody td:first-child button").all_inner_texts()
    return {int(name.split()[0]) for name in names}


def test_each_planted_fault_is_found_and_its_structures_are_listed(
    start_server: Callable[[], Any], page: Page, trained: tuple[Planted, RunFolder]
) -> None:
    planted, run = trained
    page.goto(f"{start_server().url}/runs?run={run.id}")
    page.get_by_role("button", name="Analyse").click()
    found = page.locator(".st-key-analysis-findings")
    expect(found.get_by_role("button").first).to_be_visible(timeout=PATIENCE)
    frames = len(planted.path.read_text().split("Properties=")) - 1
    wires = {number for number in range(frames - 1) if number % 3 == 2}
    expected: dict[str, Callable[[set[int]], bool]] = {
        f"the group {planted.shifted} are shifted by 0.1": lambda chosen: len(chosen) > 20 and chosen <= wires,
        "look swapped": lambda chosen: chosen == set(planted.swapped),
        "are the same structure, but their energies differ": lambda chosen: chosen == set(planted.twins),
        "Forces on O are off": lambda chosen: 0 < len(chosen) <= 20,
    }
    for words, right in expected.items():
        found.get_by_role("button", name=words).click()
        for _ in range(80):
            page.wait_for_timeout(250)
            if right(listed(page)):
                break
        assert right(listed(page)), (words, listed(page))
    assert page.get_by_test_id("stException").count() == 0
