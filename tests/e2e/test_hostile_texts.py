"""A data set and a run whose every string is a script: on every page it stays text, also without the page's policy.

The browser is told to ignore the Content-Security-Policy, so that what is tested is that nothing becomes markup, not
that the policy would have stopped it.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from run_samples import add_epochs, finish, make_run, pose_as_supervisor

from mace_app.jobs import Workspace

pytestmark = pytest.mark.browser

CANARY = """
window.canary = [];
window.hit = (name) => window.canary.push(String(name));
for (const name of ["alert", "confirm", "prompt"]) window[name] = (text) => window.hit(`${name} ${text}`);
"""


def evil(name: str) -> str:
    """HTML that runs, Markdown that links, and what Streamlit's own directives would colour; told apart by ``name``."""
    html = f"<img src=x onerror=hit('{name}')><svg/onload=hit('{name}')><b>{name}</b>"
    return f"{html} **{name}** [l](javascript:hit(1)) :red[{name}]"


def data_file() -> str:
    """Keys and values of the comment line, names of columns, the group, free text: all scripts."""
    frames = []
    for number in range(6):
        entries = [
            "energy=-1.5",
            f'"{evil("info-key")}"={number}.5',
            f'note="{evil("info-value")}"',
            f'config_type="{evil("config-type")}"',
            f'"{evil("text-key")}"="{evil("text-value")}"',
            'pbc="F F F"',
        ]
        properties = "species:S:1:pos:R:3:forces:R:3:<img/src=x/onerror=hit('column')>:R:1"
        atoms = "".join(f"{z} {x} {number / 9} 0 0.1 0 0 0.5\n" for z, x in (("O", 0), ("H", 1), ("H", -1)))
        frames.append(f"3\nProperties={properties} {' '.join(entries)}\n{atoms}")
    return "".join(frames)


def assert_only_text(page: Page, where: str) -> None:
    assert page.evaluate("window.canary") == [], where
    for selector in ("img[src='x']", "[onerror]", "[onload]", "a[href^='javascript']", "svg[onload]"):
        assert page.locator(selector).count() == 0, f"{where}: {selector}"
    # plotly makes bold text of a <b> in a title or a tooltip.
    bold = page.locator("b, strong, svg tspan[style*='bold']").all_text_contents()
    strong = [text for text in bold if text in NAMES]
    assert strong == [], where
    assert page.get_by_test_id("stException").count() == 0, where


NAMES = {
    "info-key", "info-value", "config-type", "text-key", "text-value", "data-set", "run-name", "reason", "data-path",
    "log", "output", "label", "unit", "device", "group", "yaml-key", "yaml-value", "target", "message", "progress",
    "phase", "file", "component",
}  # fmt: skip


def watched_page(chromium: Browser, bypass_csp: bool) -> Page:
    """A page in which every script that runs leaves a mark; its context is the caller's to close."""
    context = chromium.new_context(
        viewport={"width": 1400, "height": 900}, bypass_csp=bypass_csp, reduced_motion="reduce"
    )
    context.add_init_script(CANARY)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("dialog", lambda dialog: (page.evaluate("window.hit('dialog')"), dialog.dismiss()))
    return page


@pytest.fixture
def bare_page(chromium: Browser) -> Iterator[Page]:
    """A page without the protection of its policy."""
    page = watched_page(chromium, bypass_csp=True)
    yield page
    page.context.close()


def test_the_marks_are_seen_when_markup_is_obeyed(bare_page: Page, server: Any) -> None:
    bare_page.goto(server.url)
    bare_page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", evil("info-key"))
    bare_page.wait_for_function("window.canary.length > 0")
    with pytest.raises(AssertionError):
        assert_only_text(bare_page, "here")


def test_the_policy_alone_stops_scripts_in_markup(chromium: Browser, server: Any) -> None:
    page = watched_page(chromium, bypass_csp=False)
    page.goto(server.url)
    broken = page.evaluate(
        """(html) => new Promise((done) => {
            const broken = [];
            document.addEventListener("securitypolicyviolation", (event) => {
                broken.push(event.effectiveDirective);
                if (broken.length === 3) done(broken);
            });
            document.body.insertAdjacentHTML("beforeend", html);
            const script = document.createElement("script");
            script.textContent = "hit('script')";
            document.body.append(script);
        })""",
        evil("info-key"),
    )
    assert set(broken) == {"script-src-attr", "script-src-elem"}
    assert page.evaluate("window.canary") == []
    page.context.close()


def test_a_data_set_full_of_scripts_is_shown_and_never_run(
    bare_page: Page, server: Any, ready: Callable[..., None]
) -> None:
    page = bare_page
    page.goto(f"{server.url}/datasets")
    page.locator("input[type=file]").set_input_files(
        {"name": f"{evil('file')}.xyz", "mimeType": "text/plain", "buffer": data_file().encode()}
    )
    expect(page.get_by_role("heading", name="What the keys mean")).to_be_visible(timeout=120_000)
    ready(page)
    expect(page.get_by_text("onerror=hit('info-key')").first).to_be_visible()
    assert_only_text(page, "Datasets")
    page.get_by_role("button", name="Add all").click()
    ready(page)
    assert_only_text(page, "Datasets with every entry as a target")
    workspace = Workspace(server.workspace)
    folder = workspace.datasets()[0]
    folder.rename(evil("data-set"))
    folder.write_mapping(
        {
            "length_unit": "angstrom",
            "targets": {
                "energy": {"quantity": "energy", "unit": "eV", "forces": {"key": "forces"}, "stress": False},
                "mtt::odd": {"unit": evil("unit"), "key": evil("info-key"), "description": evil("target")},
            },
        }
    )
    page.reload()
    ready(page)
    assert_only_text(page, "Datasets, renamed")
    page.goto(f"{server.url}/train?dataset={folder.id}")
    ready(page)
    for step in ("data", "targets", "model", "training", "review"):
        page.get_by_test_id("stMain").get_by_role("button", name=f" {step.capitalize()}").first.click()
        expect(page).to_have_url(re.compile(f"step={step}"))
        ready(page)
        assert_only_text(page, f"Train, {step}")
    page.goto(f"{server.url}/train?step=training")
    ready(page)
    page.get_by_text("Advanced", exact=True).click()
    ready(page)
    expect(page.get_by_text("onerror=hit('config-type')").first).to_be_visible()
    assert_only_text(page, "Train, weights of groups")
    page.goto(server.url)
    ready(page)
    assert_only_text(page, "Home")


def test_yaml_full_of_scripts_is_refused_as_text(bare_page: Page, server: Any, ready: Callable[..., None]) -> None:
    page = bare_page
    page.goto(f"{server.url}/train")
    ready(page)
    whole = {"systems": evil("yaml-value"), "targets": {evil("target"): {"unit": evil("unit")}}}
    texts = [
        json.dumps({evil("yaml-key"): evil("yaml-value")}),
        json.dumps({"training_set": evil("yaml-value"), "architecture": {"training": {evil("yaml-key"): 1}}}),
        json.dumps({"training_set": whole}),
        f"training_set: [{evil('yaml-value')}",
    ]
    for number, text in enumerate(texts):
        page.get_by_role("button", name="Load YAML").click()
        page.get_by_label("or its text").fill(text)
        page.get_by_role("button", name="Load", exact=True).click()
        ready(page)
        assert_only_text(page, f"Train, YAML {number}")
        page.reload()
        ready(page)
        assert_only_text(page, f"Train, YAML {number}, reloaded")


def hostile_run(space: Workspace) -> Path:
    """A finished run of which every file says scripts."""
    run = make_run(space, evil("run-name"), "finished", evil("reason"))
    run.update(
        lambda info: replace(
            info, device=evil("device"), data=[{"path": f"/d/{evil('data-path')}", "sha256": "0" * 64, "structures": 9}]
        )
    )
    add_epochs(run, 0, 12)
    label, unit = evil("label"), evil("unit")
    lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    lines[0]["header"]["labels"] = ["energy", label]
    lines[0]["header"]["units"] = {"energy": unit, label: unit}
    for line in lines[1:]:
        for key in [key for key in line if "/mtt::dipole" in key]:
            line[key.replace("mtt::dipole", label)] = line.pop(key)
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    values = np.random.default_rng(0).normal(size=(40, 12))
    arrays = {f"{label}:reference": values, f"{label}:prediction": values + 0.1, f"{label}:structure": np.arange(40)}
    run.write_parity(arrays, 12)
    finish(run, b"model")
    report = json.loads((run.path / "report.json").read_text())
    errors = {"mae": 1.0, "rmse": 1.0, "max": 1.0, "r2": 0.5, "count": 3, "unit": unit}
    report["splits"] = {evil("group"): {label: errors}, "validation": {label: errors}}
    report["export"]["checks"] = [
        {"label": label, "max_difference": 1e-9, "tolerance": 1e-4, "unit": unit, "structures": 1}
    ]
    (run.path / "report.json").write_text(json.dumps(report))
    run.append_log(evil("log"))
    run.output_file.write_text(evil("output"))
    text = (
        run.options_text()
        .replace("e*Angstrom", json.dumps(unit))
        .replace("description: ''", f"description: {json.dumps(evil('target'))}")
    )
    run.write_options(text)
    return run.path


def test_a_run_full_of_scripts_is_shown_and_never_run(
    bare_page: Page, start_server: Callable[..., Any], tmp_path: Path, ready: Callable[..., None]
) -> None:
    space = Workspace(tmp_path / "workspace")
    pose_as_supervisor(space)
    folder = hostile_run(space)
    server, page = start_server(), bare_page
    page.goto(f"{server.url}/runs")
    ready(page)
    expect(page.get_by_role("link", name="hit('run-name')")).to_be_visible()
    assert_only_text(page, "Runs")
    page.goto(f"{server.url}/runs?run={folder.name}")
    ready(page)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    expect(page.get_by_text("hit('reason')").first).to_be_visible()
    page.get_by_text("Log", exact=True).click()
    expect(page.get_by_text("hit('log')").first).to_be_visible()
    page.get_by_text("All options as YAML").click()
    for plot in page.locator(".js-plotly-plot").all():
        plot.evaluate("(node) => node.scrollIntoView({block: 'center'})")
        box = plot.bounding_box()
        if box is not None:  # tooltips are made of texts too
            for share in (0.3, 0.5, 0.7):
                page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
                page.wait_for_timeout(60)
    assert_only_text(page, "Run")
    for name in ("Rename", "Delete"):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert_only_text(page, name)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    for path in ("/models", f"/models?run={folder.name}", "/"):
        page.goto(f"{server.url}{path}")
        ready(page)
        assert_only_text(page, path)
    for path in ("/runs?run=", "/models?run=", "/datasets?dataset=", "/train?step=", "/train?dataset="):
        page.goto(f"{server.url}{path}{evil('group')}")
        ready(page)
        assert_only_text(page, path)
