"""The analysis page in a real browser: a lasso over a hundred thousand force components, and what is drawn of it."""

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysis_samples import made_up
from playwright.sync_api import Page, expect

from mace_app.analysis import Analysis, write_analysis
from mace_app.jobs import Workspace

pytestmark = pytest.mark.browser
PARITY = ".st-key-analysis-parity"
STEPS = ".st-key-analysis-steps"
SECONDS = 2.0  # for an interaction on a machine that runs other tests besides


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    """113,000 components; five structures with forces that none of the others has, and on which the model is off."""
    found = made_up(4200, 9, groups=("<img src=x onerror=alert(1)>", "cold"))
    forces = found.labels["energy.forces"]
    for place, structure in enumerate((11, 222, 1333, 2444, 4155)):
        rows = found.rows("energy.forces", structure)
        forces.reference[rows.start] = [8.0 + 0.1 * place, 0.0, 0.0]
        forces.prediction[rows.start] = [9.0 + 0.1 * place, 0.0, 0.0]
    found = replace(found, labels={**found.labels, "energy.forces": forces})
    space = Workspace(tmp_path / "workspace")
    for name, seconds in (("large", "00"), ("other", "01")):
        path = space.root / "analyses" / name / "result"
        path.parent.mkdir(parents=True)
        write_analysis(path, replace(found, info=replace(found.info, created=f"2026-01-01T00:00:{seconds}+00:00")))
    return found


def choose_quantity(page: Page, name: str) -> None:
    page.locator(".st-key-analysis-label [role=combobox], .st-key-analysis-label input").first.click()
    page.get_by_role("option", name=name, exact=True).click()
    page.wait_for_function(
        "([s, t]) => document.querySelector(s + ' .js-plotly-plot')?._fullLayout?.title?.text === t",
        arg=[PARITY, name],
    )


def spot(page: Page, x: float, y: float, chart: str = PARITY) -> tuple[float, float]:
    """Where a point lies on the screen."""
    found = page.evaluate(
        """([s, x, y]) => {
          const plot = document.querySelector(s + ' .js-plotly-plot'), layout = plot._fullLayout;
          const box = plot.getBoundingClientRect();
          const place = (axis, value) => axis._offset + axis.d2p(value);
          return [box.x + place(layout.xaxis, x), box.y + place(layout.yaxis, y)];
        }""",
        [chart, x, y],
    )
    return found[0], found[1]


def lasso(page: Page, corners: Sequence[tuple[float, float]], key: str | None = None) -> None:
    places = [spot(page, *corner) for corner in corners]
    page.mouse.move(*places[0])
    if key:
        page.keyboard.down(key)
    page.mouse.down()
    for place in (*places[1:], places[0]):
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    if key:
        page.keyboard.up(key)


def watch(page: Page) -> None:
    """From now on, note how long after the end of a drag or click the list of the chosen ones changes."""
    page.evaluate(
        """(steps) => {
          window.took = [];
          let ended = null, words = document.querySelector(steps).innerText;
          document.addEventListener('pointerup', () => { ended = performance.now(); }, true);
          const look = () => {
            const now = document.querySelector(steps)?.innerText ?? '';
            if (now !== words && now.includes('of') && ended !== null) {
              window.took.push(performance.now() - ended);
              ended = null;
            }
            words = now;
            requestAnimationFrame(look);
          };
          look();
        }""",
        STEPS,
    )


def overlay_pixels(page: Page) -> int:
    """How much of the parity chart the chosen points cover."""
    return int(
        page.evaluate(
            """(s) => {
              const canvas = document.querySelector(s + ' canvas.overlay');
              const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
              let count = 0;
              for (let n = 3; n < pixels.length; n += 4) if (pixels[n]) count += 1;
              return count;
            }""",
            PARITY,
        )
    )


def test_a_lasso_chooses_exactly_the_structures_of_the_points_in_it_drawn_or_not(
    analysis: Analysis, start_server: Callable[[], object], page: Page
) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{start_server().url}/analysis?analysis=large")  # type: ignore[attr-defined]
    page.locator(f"{PARITY} .points path").first.wait_for()
    choose_quantity(page, "Forces")
    page.locator(f"{PARITY} .nsewdrag").first.scroll_into_view_if_needed()
    expect(page.locator(STEPS)).to_contain_text("Nothing is chosen")
    watch(page)

    # The five: their largest errors, 1 eV/Å, are equal, so they come in the order of the data.
    lasso(page, [(7500, 8500), (8800, 8500), (8800, 10000), (7500, 10000)])
    expect(page.locator(STEPS)).to_contain_text("1 of 5 chosen")
    expect(page.get_by_text("Structure 11 of")).to_be_visible()
    table = page.locator(".st-key-analysis-worst, [class*=st-key-analysis-worst]").first
    expect(table.get_by_role("button", name="4155", exact=True)).to_be_visible()
    assert overlay_pixels(page) > 100
    expect(page.locator(f"{PARITY} svg.outline")).to_have_count(0)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("Structure 222 of")).to_be_visible()
    expect(page.get_by_role("img", name="Structure 222,")).to_be_visible()

    # Many more than are drawn: exactly those with a component in the region.
    reference = analysis.labels["energy.forces"].reference * 1000
    prediction = analysis.labels["energy.forces"].prediction * 1000
    inside = (reference > 1500) & (reference < 2500) & (prediction > 1000) & (prediction < 4000)
    expected = len(np.unique(analysis.structure_of_atom[inside.any(axis=1)]))
    lasso(page, [(1500, 1000), (2500, 1000), (2500, 4000), (1500, 4000)])
    counted = page.locator(STEPS).get_by_text("chosen").first
    expect(counted).not_to_contain_text("of 5 chosen")
    found = int("".join(c for c in counted.inner_text().split("of")[1] if c.isdigit()))
    assert abs(found - expected) <= 0.01 * expected, "but for a pixel at the edges"
    five = np.array([11, 222, 1333, 2444, 4155])
    more = found + len(np.setdiff1d(five, analysis.structure_of_atom[inside.any(axis=1)]))
    for key, count in (("Shift", more), ("Alt", more - 5)):
        lasso(page, [(7500, 8500), (8800, 8500), (8800, 10000), (7500, 10000)], key=key)
        expect(counted).to_contain_text(f"of {count:,} chosen".replace(",", "\u202f"))

    # A zoom outlives the next choice.
    page.locator(f"{PARITY} .modebar-btn[data-title='Zoom']").click()
    start, end = spot(page, 6000, 6000), spot(page, 9500, 10500)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()
    x_range = f"document.querySelector('{PARITY} .js-plotly-plot')._fullLayout.xaxis.range"
    zoomed = page.evaluate(x_range)
    assert zoomed[0] > 5000
    page.wait_for_timeout(400)  # two presses within 0.3 s are a double click, which resets the axes
    page.mouse.move(*spot(page, 8200, 9200), steps=4)
    expect(page.locator(f"{PARITY} .hovertext")).to_contain_text("structure 1333")
    page.mouse.click(*spot(page, 8200, 9200))
    expect(page.get_by_text("Structure 1333 of")).to_be_visible()
    assert page.evaluate(x_range) == zoomed

    # Pictures of charts, and the structures as files.
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            page.locator(f"{PARITY} .modebar-btn[data-title='Download as {kind}']").click()
        assert Path(download.value.path()).stat().st_size > 5000
        assert download.value.suggested_filename == f"analysis-parity.{kind.lower()}"
    with page.expect_download() as download:
        page.get_by_role("toolbar", name="What is shown").get_by_role("button", name="Download as SVG").click()
    drawn = Path(download.value.path()).read_text()
    assert drawn.count("<circle") >= 7 and "script" not in drawn
    assert 'stroke-opacity="0.44"' in drawn and not re.search('"#[0-9a-f]{8}"', drawn), "as any program reads colours"
    page.get_by_role("button", name="Save structures").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Extended xyz").click()
    saved = Path(download.value.path()).read_text()
    assert saved.count("Properties=") == 1 and "source_frame=1333" in saved
    took = page.evaluate("window.took")
    print("seconds from the end of a choice to its list:", [round(each / 1000, 3) for each in took])
    assert statistics.median(took) < 1000 * SECONDS
    assert dialogs == []


def test_two_clicked_atoms_are_so_far_apart_and_a_narrow_page_fits(
    analysis: Analysis, start_server: Callable[[], object], page: Page
) -> None:
    page.set_viewport_size({"width": 390, "height": 840})
    page.goto(f"{start_server().url}/analysis?analysis=large")  # type: ignore[attr-defined]
    canvas = page.get_by_role("img", name="Structure")
    canvas.scroll_into_view_if_needed()
    expect(page.get_by_text("Click two atoms")).to_be_visible()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    page.get_by_label("Colour").select_option("error")
    for arrows in ("Reference", "Predicted"):
        page.get_by_role("toolbar", name="What is shown").get_by_label(arrows, exact=True).uncheck()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    # Without arrows and bonds, what lies farthest left and farthest right are atoms.
    page.get_by_label("Bonds").uncheck()
    canvas.scroll_into_view_if_needed()
    ends = canvas.evaluate(
        """(canvas) => {
          const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          const found = [];
          for (let x = 0; x < canvas.width; x += 1)
            for (let y = 0; y < canvas.height; y += 1)
              if (pixels[4 * (y * canvas.width + x) + 3] > 200) found.push([x, y]);
          const box = canvas.getBoundingClientRect();
          return [[found[0], 3], [found.at(-1), -3]].map(([[x, y], in_]) => [box.x + x + in_, box.y + y]);
        }"""
    )
    for x, y in ends:
        page.mouse.click(x, y)
    expect(page.get_by_role("status").first).to_contain_text("Å apart")
