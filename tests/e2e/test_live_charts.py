"""Charts, actions and downloads of the Runs page in a real browser, up to a real training that is stopped."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from run_samples import add_epochs, finish, make_run, pose_as_supervisor, pose_as_worker

from mace_app.jobs import RunFolder, Workspace

pytestmark = pytest.mark.browser
SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "samples" / "copper_emt.xyz"
LOSS = ".st-key-chart-loss .js-plotly-plot"


@pytest.fixture(autouse=True)
def patience(page: Page) -> Iterator[None]:
    """A training, a server and a browser may share two cores."""
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def newest_epoch(page: Page, chart: str = LOSS, more_than: float = -1) -> float:
    """The last epoch of the chart's first curve, once it is later than ``more_than``."""
    page.wait_for_function(
        """([selector, least]) => {
          const x = document.querySelector(selector)?._fullData?.[0]?.x;
          return x && x[x.length - 1] > least;
        }""",
        arg=[chart, more_than],
    )
    return float(
        page.evaluate("s => { const x = document.querySelector(s)._fullData[0].x; return x[x.length-1] }", chart)
    )


def zoom(page: Page, chart: str = LOSS) -> list[float]:
    """Drag a box in the chart; returns the range of the x axis that results."""
    area = page.locator(f"{chart} .nsewdrag").first
    area.scroll_into_view_if_needed()  # the mouse reaches only what is on the screen
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=8)
    page.mouse.up()
    page.wait_for_function("s => document.querySelector(s)._fullLayout.xaxis.autorange === false", arg=chart)
    return x_range(page, chart)


def x_range(page: Page, chart: str = LOSS) -> list[float]:
    return list(page.evaluate("s => document.querySelector(s)._fullLayout.xaxis.range", chart))


def test_a_chart_takes_new_epochs_and_keeps_zoom_legend_and_node(
    space: Workspace, start_server: Callable[[], object], page: Page, ready: Callable[..., None]
) -> None:
    pose_as_supervisor(space)
    run = make_run(space, "live", "running")
    pose_as_worker(run)
    add_epochs(run, 0, 6)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{start_server().url}/runs?run={run.id}")  # type: ignore[attr-defined]
    assert newest_epoch(page) == 6
    page.evaluate("s => { document.querySelector(s).dataset.mine = 'yes' }", LOSS)
    page.locator(f"{LOSS} .legendtoggle").first.click()
    page.wait_for_function("s => document.querySelector(s)._fullData[0].visible === 'legendonly'", arg=LOSS)
    zoomed = zoom(page)

    add_epochs(run, 7, 12)
    assert newest_epoch(page, more_than=6) == 12
    assert x_range(page) == zoomed
    assert page.evaluate("s => document.querySelector(s).dataset.mine", LOSS) == "yes"
    assert page.evaluate("s => document.querySelector(s)._fullData[0].visible", LOSS) == "legendonly"
    expect(page.get_by_text("After epoch 12.")).to_be_visible()
    forces = ".st-key-parity-energy-forces .js-plotly-plot"
    page.wait_for_function("s => document.querySelector(s)?._fullData?.[1]?.x?.length > 1000", arg=forces)
    expect(page.get_by_text("epoch 12 of 60")).to_be_visible()

    # A drag that is under way when new data come is not taken out of the hand.
    box = page.locator(".st-key-chart-error-energy .nsewdrag").first.bounding_box()
    assert box is not None
    page.locator(".st-key-chart-error-energy").scroll_into_view_if_needed()
    box = page.locator(".st-key-chart-error-energy .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 100, steps=5)
    add_epochs(run, 13, 15)
    assert newest_epoch(page, more_than=12) == 15
    expect(page.locator(".st-key-chart-error-energy .zoombox")).to_be_attached()
    page.mouse.up()
    newest_epoch(page, ".st-key-chart-error-energy .js-plotly-plot", more_than=12)
    assert page.evaluate(
        "document.querySelector('.st-key-chart-error-energy .js-plotly-plot')._fullLayout.xaxis.autorange"
    ) is False  # fmt: skip

    # The end is noticed without reloading, and the timers stop.
    finish(run, b"exported model" * 1000)
    run.set_state("finished")
    expect(page.get_by_text("Final errors")).to_be_visible()
    assert x_range(page) == zoomed
    with page.expect_download() as download:
        page.get_by_role("link", name="Exported model").click()
    assert download.value.suggested_filename == "live-model.pt"
    assert Path(download.value.path()).read_bytes() == run.model_file.read_bytes()
    assert errors == []


def test_charts_follow_the_theme_and_a_point_tells_its_structure(
    space: Workspace, start_server: Callable[[], object], page: Page
) -> None:
    pose_as_supervisor(space)
    run = make_run(space, "dark", "finished")
    add_epochs(run, 0, 3)
    page.emulate_media(color_scheme="dark")
    page.goto(f"{start_server().url}/runs?run={run.id}")  # type: ignore[attr-defined]
    newest_epoch(page)
    colour = "s => document.querySelector(s)._fullData[1].line.color"
    assert page.evaluate(colour, LOSS) == "#85a8ff"
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"s => ({colour})(s) === '#2f5fd0'", arg=LOSS)
    buttons = page.locator(".st-key-chart-loss .modebar-btn").evaluate_all("found => found.map(b => b.dataset.title)")
    assert buttons == ["Download plot", "Zoom", "Pan", "Reset axes"], "nothing here may send data elsewhere"
    parity = ".st-key-parity-energy"
    page.locator(f"{parity} .nsewdrag").first.scroll_into_view_if_needed()
    spot = page.evaluate(
        """s => {
          const plot = document.querySelector(s), layout = plot._fullLayout, points = plot._fullData[1];
          const box = plot.getBoundingClientRect();
          const top = points.x.indexOf(Math.max(...points.x));
          return [box.x + layout.xaxis._offset + layout.xaxis.l2p(points.x[top]),
                  box.y + layout.yaxis._offset + layout.yaxis.l2p(points.y[top])];
        }""",
        f"{parity} .js-plotly-plot",
    )
    page.mouse.move(spot[0], spot[1], steps=4)
    expect(page.locator(f"{parity} .hovertext")).to_contain_text(re.compile(r"structure 6\d\d"))


def test_the_list_opens_renames_and_deletes_runs(
    space: Workspace, start_server: Callable[[], object], page: Page, ready: Callable[..., None]
) -> None:
    pose_as_supervisor(space)
    kept = make_run(space, "kept", "stopped")
    run = make_run(space, "<img src=x onerror=alert(1)>", "failed", "It **failed** <b>badly</b>.")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{start_server().url}/runs")  # type: ignore[attr-defined]
    page.get_by_role("link", name="<img src=x onerror=alert(1)>").click()
    expect(page).to_have_url(re.compile(re.escape(run.id)))
    expect(page.get_by_role("heading", level=1)).to_have_text("<img src=x onerror=alert(1)>")
    expect(page.get_by_text("It **failed** <b>badly</b>.")).to_be_visible()

    page.get_by_role("button", name="Rename").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("a better name")
    dialog.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("a better name")

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert run.path.exists()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("link", name="kept")).to_be_visible()
    expect(page.get_by_role("link", name="a better name")).to_have_count(0)
    assert not run.path.exists() and kept.path.exists() and dialogs == []


def test_a_real_training_is_watched_stopped_and_leaves_its_best_model(
    space: Workspace, start_server: Callable[[], object], page: Page
) -> None:
    run: RunFolder = space.create_run(
        {
            "device": "cpu",
            "architecture": {
                "name": "experimental.mace",
                "model": {"hidden_irreps": "4x0e", "r_max": 3.0, "num_interactions": 1, "max_ell": 1},
                "training": {"batch_size": 4, "num_epochs": 100_000},
            },
            "training_set": {
                "systems": {"read_from": str(SAMPLE), "length_unit": "angstrom"},
                "targets": {
                    "energy": {
                        "key": "REF_energy",
                        "unit": "eV",
                        "forces": {"key": "REF_forces"},
                        "stress": {"key": "REF_stress"},
                    }
                },
            },
            "validation_set": 0.2,
            "test_set": 0.0,
        },
        "copper",
    )
    space.ensure_supervisor()
    page.goto(f"{start_server().url}/runs?run={run.id}")  # type: ignore[attr-defined]
    seen = newest_epoch(page)
    assert newest_epoch(page, more_than=seen) > seen
    expect(page.get_by_text(re.compile(r"about .* left"))).to_be_visible()
    page.locator(".st-key-parity-energy-stress .js-plotly-plot").wait_for()
    page.locator(".st-key-run-actions").get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Final errors")).to_be_visible(timeout=180_000)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert run.info().state == "stopped", run.info().reason
    page.get_by_role("link", name="Open the model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the model").click()
    assert Path(download.value.path()).read_bytes() == run.model_file.read_bytes()
