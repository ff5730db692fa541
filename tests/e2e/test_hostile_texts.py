"""A data set, a run and a foundation model whose every string is a script: on every page it stays text, also without
the page's policy.

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

from mace_app.jobs import FoundationFolder, Workspace

pytestmark = pytest.mark.browser

CANARY = """
window.canary = [];
window.hit = (name) => window.canary.push(String(name));
for (const name of ["alert", "confirm", "prompt"]) window[name] = (text) => window.hit(`${name} ${text}`);
"""
SLY = "$x^2$ :material/skull:"
MARKUP = (
    "img[src='x']", "[onerror]", "[onload]", "svg[onload]", ".katex", "[aria-label^='skull']",
    "img[alt='Streamlit logo']", "a[href^='javascript']", "a[href^='mailto']", "a[href^='http'][href*='example.com']",
)  # fmt: skip


def evil(name: str) -> str:
    """HTML that runs, Markdown that links, formulas, and what Streamlit makes icons, colours and emoji of; told apart
    by ``name``."""
    html = f"<img src=x onerror=hit('{name}')><svg/onload=hit('{name}')><b>{name}</b>"
    return f"{SLY} {html} **{name}** [l](javascript:hit(1)) :red[{name}] www.example.com"


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
    for selector in MARKUP:
        found = page.locator(selector).evaluate_all("found => found.map(node => node.parentElement.outerHTML)")
        assert found == [], f"{where}: {selector}"
    # plotly makes bold text of a <b> in a title or a tooltip.
    bold = page.locator("b, strong, svg tspan[style*='bold']").all_text_contents()
    strong = [text for text in bold if text in NAMES]
    assert strong == [], where
    assert page.get_by_test_id("stException").count() == 0, where


NAMES = {
    "info-key", "info-value", "config-type", "text-key", "text-value", "data-set", "run-name", "reason", "data-path",
    "log", "output", "label", "unit", "device", "group", "yaml-key", "yaml-value", "target", "message", "progress",
    "phase", "file", "component", "tag", "note", "foundation", "head", "kind", "title", "licence", "reference", "error",
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
    tags = ["<b>tag</b>", "<img src=x onerror=hit('tag')>", "[tag](javascript:hit(1)) **tag**", f":red[tag] {SLY}"]
    space.tag_run(run.id, tags)
    space.note_run(run.id, f"{evil('note')}\n# {evil('note')}\n- a -> b :smile: :streamlit: a@example.com")
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
    expect(page.get_by_text("#[tag](javascript:hit(1)) **tag**")).to_be_visible()
    assert_only_text(page, "Runs")
    page.goto(f"{server.url}/runs?run={folder.name}")
    ready(page)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    expect(page.get_by_text("hit('reason')").first).to_be_visible()
    header = page.locator(".st-key-run-header")
    for text in ("onerror=hit('tag')", "[tag](javascript:hit(1)) **tag**", ":red[tag] $x^2$"):
        expect(header).to_contain_text(text)
    expect(page.get_by_text("onerror=hit('note')").first).to_contain_text("[l](javascript:hit(1)) :red[note]")
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
    page.locator(".st-key-run-more").get_by_role("button").click()
    page.get_by_role("menuitem", name="Tags and note").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_test_id("stMultiSelect")).to_contain_text("[tag](javascript:hit(1)) **tag**")
    assert_only_text(page, "Tags and note")
    for path in ("/models", f"/models?run={folder.name}", f"/runs?compare={folder.name}", "/"):
        page.goto(f"{server.url}{path}")
        ready(page)
        assert_only_text(page, path)
    for path in ("/runs?run=", "/models?run=", "/datasets?dataset=", "/train?step=", "/train?dataset="):
        page.goto(f"{server.url}{path}{evil('group')}")
        ready(page)
        assert_only_text(page, path)


def hostile_foundations(space: Workspace, source: Path) -> list[FoundationFolder]:
    """A file that was read and exported, one that was refused, and one that failed: every text of theirs is a script.

    The names of the files have no slash, which would end them.
    """
    path = source / f"$x^2$ {evil('file').replace('/', ' ')}.model"
    path.write_bytes(b"model")
    made = [space.add_foundation(evil("foundation"), path) for _ in range(2)]
    architecture = {
        "r_max": 5.0,
        "num_interactions": 2,
        "num_bessel": 8,
        "radial_type": evil("kind"),
        "distance_transform": evil("kind"),
        "pair_repulsion": False,
        "hidden_irreps": evil("kind"),
        evil("label"): evil("kind"),
    }
    facts: dict[str, Any] = {
        "kind": evil("kind"),
        "parameters": 1000,
        "bytes": 5,
        "dtype": "float64",
        "elements": ["H", "O"],
        "architecture": architecture,
        "heads": [evil("head"), "two"],
        "sha256": evil("kind"),
        "scale": [1.0, 1.0],
        "shift": [0.0, 0.0],
        "atomic_energies": [[-1.0, -2.0], [-1.0, -2.0]],
        "reference": evil("reference"),
        "feature_kinds": ["0e", evil("kind")],
        "layer_irreps": [evil("kind")],
    }
    made[0].write_facts(facts)
    made[1].write_facts(facts | {"title": evil("title"), "licence": evil("licence")})
    check = {"label": "energy", "max_difference": 1e-9, "tolerance": 1e-4, "unit": evil("unit"), "structures": 1}
    structure = {"formula": evil("label"), "source": evil("file"), "atoms": 3, "differences": {"energy": 1e-9}}
    report = {"checks": [check], "structures": [structure], "precision": "float64", "bytes": 5, "sha256": evil("kind")}
    for folder, refused in zip(made, ({}, {"refused": evil("error")}), strict=True):
        for head in facts["heads"]:
            kept = folder.export_folder(head)
            kept.mkdir(parents=True)
            (kept / "model.pt").write_bytes(b"model")
            folder.write_export(head, report | refused)
        folder.set_state("done")
    failed = space.add_foundation(evil("foundation"), path)
    failed.set_state("failed", evil("error"))
    return [*made, failed]


def test_a_foundation_model_full_of_scripts_is_shown_and_never_run(
    bare_page: Page, start_server: Callable[..., Any], tmp_path: Path, ready: Callable[..., None]
) -> None:
    space = Workspace(tmp_path / "workspace")
    pose_as_supervisor(space)
    folders = hostile_foundations(space, tmp_path)
    server, page = start_server(), bare_page
    for folder in folders:
        page.goto(f"{server.url}/foundation?foundation={folder.id}")
        card = page.locator(f"[class*='st-key-foundation'][class*='{folder.id}']").first
        ready(page)
        expect(card).to_contain_text("hit('title')" if folder is folders[1] else "hit('foundation')")
        card.locator("details:not([open]) > summary").evaluate_all("closed => closed.forEach(part => part.click())")
        ready(page)
        if folder is folders[0]:
            expect(card.get_by_text("hit('reference')").first).to_contain_text("hit('file')")
        else:
            expect(card.get_by_text("hit('error')").first).to_be_visible()
        assert_only_text(page, f"Foundation, {folder.id}")
        page.get_by_role("button", name="Remove").first.click()
        expect(page.get_by_role("button", name="Remove for good").first).to_be_visible()
        assert_only_text(page, f"Remove, {folder.id}")
    page.goto(f"{server.url}/train?foundation={folders[1].id}")
    expect(page.locator(".st-key-train-yaml")).to_be_visible()
    ready(page)
    assert_only_text(page, "Train, from a foundation model")
