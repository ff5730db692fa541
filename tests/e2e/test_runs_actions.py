"""What a person does with runs on the Runs page, clicked in a real browser and looked for on disk."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from run_samples import add_epochs, finish, make_run, pose_as_supervisor, pose_as_worker, write_last_checkpoint

from mace_app.jobs import Job, RunFolder, Workspace

pytestmark = pytest.mark.browser
Ready = Callable[..., None]
Choose = Callable[[str, str], None]
StartServer = Callable[..., Any]
PATIENCE_SECONDS = 20.0
CARDS = "GPU 0: NVIDIA A100 80GB PCIe (UUID: GPU-aa)\nGPU 1: NVIDIA H100 PCIe (UUID: GPU-bb)\n"


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Its supervisor is this process, which starts nothing: what waits goes on waiting."""
    space = Workspace(tmp_path / "workspace")
    pose_as_supervisor(space)
    return space


@pytest.fixture
def cards(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine with two GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{CARDS}END\n")
    (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def eventually(fact: Callable[[], object], page: Page) -> None:
    """Wait until the disk says so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not fact():
        assert time.monotonic() < deadline, "what was clicked has not happened"
        page.wait_for_timeout(50)


@pytest.fixture
def choose(page: Page, ready: Ready) -> Choose:
    """``choose(menu, entry)``, once the page stands still: what is drawn anew closes its menus."""

    def choose(menu: str, entry: str) -> None:
        ready(page)
        page.locator(f".st-key-{menu}").get_by_role("button").click()
        page.get_by_role("menuitem", name=entry, exact=True).click()

    return choose


def opened(page: Page, title: str) -> Locator:
    """The dialog of this title, once it is there."""
    dialog = page.get_by_role("dialog").filter(has=page.get_by_role("heading", name=title))
    expect(dialog).to_be_visible()
    return dialog


def cells(table: Locator) -> list[list[str]]:
    rows: list[list[str]] = table.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    return rows


def closed(page: Page) -> None:
    expect(page.get_by_role("dialog")).to_have_count(0)


def finished(space: Workspace, name: str, error: float, epochs: int = 60, **changes: str) -> RunFolder:
    """A run of this MAE of the validation energies (eV/atom), with other values in its options."""
    run = make_run(space, name, "finished")
    add_epochs(run, 0, 12)
    finish(run, b"model")
    write_last_checkpoint(run, epochs)
    report: dict[str, Any] = run.report()  # type: ignore[assignment]
    report["splits"]["validation"]["energy"]["mae"] = error
    run.write_report(report)
    text = run.options_text()
    for name_, value in changes.items():
        text, count = re.subn(rf"(?m)^(\s+{name_}): .*$", rf"\1: {value}", text)
        assert count == 1
    run.write_options(text)
    return run


def num_epochs(run: RunFolder) -> int:
    return run.options().architecture.training.num_epochs


def test_waiting_runs_are_put_in_order_held_and_sent_elsewhere_and_a_running_one_is_stopped(
    space: Workspace, cards: dict[str, str], start_server: StartServer, page: Page, ready: Ready, choose: Choose
) -> None:
    running = make_run(space, "at work", "running")
    pose_as_worker(running)
    add_epochs(running, 0, 5)
    first, second, third = (make_run(space, name, "queued") for name in ("first", "second", "third"))

    def order() -> list[str]:
        return [job.folder.removeprefix("runs/") for job in space.queue.active()]

    def job(run: RunFolder) -> Job:
        found = space.queue.active_job(f"runs/{run.id}")
        assert found is not None
        return found

    assert order() == [first.id, second.id, third.id]
    page.emulate_media(color_scheme="dark")
    page.goto(f"{start_server(cards).url}/runs")
    queue = page.locator(".st-key-run-queue")
    expect(queue).to_contain_text("3 runs waiting")

    lines = queue.locator("[class*=st-key-queue-line-]")
    choose(f"queue-{third.id}", "Start next")
    expect(lines).to_contain_text(["third", "first", "second"])
    assert order() == [third.id, first.id, second.id]
    choose(f"queue-{first.id}", "Move down")
    expect(lines).to_contain_text(["third", "second", "first"])
    assert order() == [third.id, second.id, first.id]

    choose(f"queue-{second.id}", "Hold")
    expect(page.get_by_text("On hold, number 2")).to_be_visible()
    assert [job(run).held for run in (first, second, third)] == [False, True, False]

    choose(f"queue-{second.id}", "Device …")
    dialog = opened(page, "Where shall it run?")
    dialog.get_by_role("combobox").click()
    expect(page.get_by_role("option")).to_have_text(
        ["auto", "cpu", "cuda", "cuda:0 · NVIDIA A100 80GB PCIe", "cuda:1 · NVIDIA H100 PCIe"]
    )
    page.get_by_role("option", name="cuda:1 · NVIDIA H100 PCIe").click()
    change = dialog.get_by_role("button", name="Change")
    expect(change).to_have_css("color", "rgb(15, 22, 38)")  # dark on the dark theme's light blue, in dialogs too
    change.click()
    closed(page)
    assert job(second).requested_device == second.options().device == second.info().device == "cuda:1"
    assert job(first).requested_device == first.options().device == "cpu"
    expect(page.locator(f".st-key-queue-line-{second.id}")).to_contain_text("cuda:1")

    queue.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Queue paused, number 1")).to_be_visible()
    assert space.queue.paused and space.queue.claim(["cpu", "cuda:0", "cuda:1"], 2) is None
    queue.get_by_role("button", name="Let the queue go on").click()
    expect(page.get_by_text("Waiting, number 1")).to_be_visible()
    assert not space.queue.paused
    choose(f"queue-{second.id}", "Let it go")
    expect(page.get_by_text("Waiting, number 2")).to_be_visible()
    assert not job(second).held

    page.get_by_role("link", name="at work").click()
    actions = page.locator(".st-key-run-actions")
    expect(actions.get_by_role("button", name="Rename")).to_be_visible()
    ready(page)
    expect(actions.get_by_role("button", name="Delete")).to_have_count(0)
    actions.get_by_role("button", name="Stop", exact=True).click()
    expect(actions.get_by_role("button", name="Stopping …")).to_be_disabled()
    request = running.path / "stop.request"
    assert request.read_text() == "best\n" and running.info().state == "stopping"
    choose("run-more", "Stop at once")
    opened(page, "Stop at once?").get_by_role("button", name="Let it go on").click()
    closed(page)
    assert request.read_text() == "best\n"
    choose("run-more", "Stop at once")
    opened(page, "Stop at once?").get_by_role("button", name="Stop at once").click()
    closed(page)
    eventually(lambda: request.read_text() == "now\n", page)
    expect(actions.get_by_role("button", name="Delete")).to_have_count(0)


def test_runs_are_compared_named_archived_trained_longer_deleted_and_imported(
    space: Workspace, start_server: StartServer, page: Page, ready: Ready, choose: Choose
) -> None:
    small = finished(space, "small", 0.004)
    medium = finished(space, "medium", 0.002, r_max="5.0")
    large = finished(space, "large", 0.003, r_max="6.0", batch_size="4")
    url = f"{start_server().url}/runs"
    page.goto(url)
    page.get_by_role("link", name="small").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("small")

    choose("run-more", "Compare")
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare runs")
    for name in ("medium", "large"):
        page.locator(".st-key-compare-runs").get_by_role("combobox").click()
        page.get_by_role("option", name=re.compile(f"^{name} · ")).click()
        expect(page.get_by_test_id("stTable").first).to_contain_text(name)
    page.keyboard.press("Escape")
    names = ["small", "medium", "large"]
    page.wait_for_function(
        """names => {
          const plots = [...document.querySelectorAll(".st-key-compare-learning .js-plotly-plot")];
          return plots.length === 5 && plots.every(
            plot => plot._fullData?.length === 3 && plot._fullData.every(
              (curve, place) => curve.name === names[place] && curve.x.length === 13));
        }""",
        arg=names,
    )
    ready(page)
    errors, differing = page.get_by_test_id("stTable").all()
    assert ["Validation: Energy MAE (meV/atom)", "4.00", "2.00", "3.00"] in cells(errors)
    expect(errors.locator("strong")).to_have_text("2.00")
    assert cells(differing) == [
        ["model.r_max", "4.0", "5.0", "6.0"],
        ["training.batch_size", "8", "8", "4"],
    ]
    expect(page).to_have_url(f"{url}?compare={small.id}%2C{medium.id}%2C{large.id}")

    page.get_by_role("button", name="All runs").click()
    page.get_by_role("link", name="small").click()
    page.get_by_role("button", name="Rename").click()
    dialog = opened(page, "Rename the run")
    dialog.get_by_label("Name").fill("smallest of all")
    dialog.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("smallest of all")
    assert small.info().name == "smallest of all"

    choose("run-more", "Tags and note")
    dialog = opened(page, "Tags and note")
    dialog.get_by_role("combobox", name="Tags").click()
    for tag in ("paper", "cutoff 4 Å"):
        page.keyboard.type(tag)
        page.keyboard.press("Enter")
    # While the list of tags is open, all else is hidden from roles.
    page.get_by_label("Note", exact=True).fill("First line.\nSecond *line*.")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator(".st-key-run-header")).to_contain_text("cutoff 4 Å")
    expect(page.get_by_text("Second *line*.")).to_be_visible()
    assert (small.info().tags, small.info().note) == (["paper", "cutoff 4 Å"], "First line.\nSecond *line*.")

    choose("run-more", "Archive")
    expect(page.locator(".st-key-run-header")).to_contain_text("archived")
    assert small.info().archived
    page.get_by_role("button", name="All runs").click()
    expect(page.get_by_role("link", name="large")).to_be_visible()
    expect(page.get_by_role("link", name="smallest of all")).to_have_count(0)
    ready(page)
    page.get_by_role("radio", name="Archived").click()
    expect(page.get_by_role("radio", name="Archived")).to_be_checked()
    page.get_by_role("link", name="smallest of all").click()
    choose("run-more", "Bring back from the archive")
    eventually(lambda: not small.info().archived, page)

    choose("run-more", "Train longer")
    dialog = opened(page, "Train longer")
    expect(dialog).to_contain_text("has done 60 epochs of 60")
    dialog.get_by_label("Epochs in all").fill("90")
    dialog.get_by_role("button", name="Go on").click()
    expect(page.locator(".st-key-run-header")).to_contain_text("number 1 in the queue")
    assert num_epochs(small) == 90 and small.info().state == "queued"
    assert space.queue.place(f"runs/{small.id}") == 1

    # Between the question and the answer somebody else goes on with the run.
    page.goto(f"{url}?run={large.id}")
    page.get_by_role("button", name="Delete").click()
    dialog = opened(page, "Delete the run?")
    space.resume_run(large.id, num_epochs=100)
    dialog.get_by_role("button", name="Delete for good").click()
    expect(dialog.get_by_role("alert")).to_contain_text("is not over. Stop it first")
    assert large.path.is_dir() and large.info().state == "queued"
    page.keyboard.press("Escape")
    closed(page)
    space.stop_run(large.id)
    page.get_by_role("button", name="Delete").click()
    opened(page, "Delete the run?").get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("link", name="medium")).to_be_visible()
    expect(page.get_by_role("link", name="large")).to_have_count(0)
    assert not large.path.exists() and not (space.root / "removed").exists()

    metrics = medium.metrics_file.read_bytes()
    page.get_by_role("link", name="medium").click()
    page.get_by_role("button", name="Delete").click()
    dialog = opened(page, "Delete the run?")
    dialog.get_by_text("Keep its files").click()
    dialog.get_by_role("button", name="Remove from the app").click()
    expect(page.get_by_role("link", name="smallest of all")).to_be_visible()
    expect(page.get_by_role("link", name="medium")).to_have_count(0)
    kept = space.root / "removed" / medium.id
    assert not medium.path.exists() and (kept / "model.pt").read_bytes() == b"model"

    page.get_by_role("button", name="Import").click()
    dialog = opened(page, "Import a run")
    dialog.get_by_label("Folder").fill(str(kept))
    dialog.get_by_label("Name").fill("from elsewhere")
    dialog.get_by_role("button", name="Import").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("from elsewhere")
    expect(page.get_by_text("model.pt was left out")).to_be_visible()
    imported = space.run(str(page.evaluate("() => new URLSearchParams(location.search).get('run')")))
    assert imported.info().imported == {"from": str(kept), "id": medium.id}
    assert imported.metrics_file.read_bytes() == metrics and not imported.model_file.exists()
    assert {run.id for run in space.runs()} == {small.id, imported.id}
