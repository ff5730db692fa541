"""The whole Train form without a mouse: Tab, arrows, Space, Enter and typing, in a real browser."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from form_samples import MODEL_ONE, RUN_ONE, TARGETS, TRAINING_ONE, molecules, options
from playwright.sync_api import Page, expect

from mace_app.jobs import Workspace
from mace_app.jobs.inspection import inspect
from mace_app.options import OptionField, option_fields, parse_options, parse_yaml
from mace_app.options.model import ModelHypers
from mace_app.options.run import RunOptions
from mace_app.options.training import TrainingHypers
from mace_app.ui.conversions import choices_of, integers_text, kind_of, number_text
from mace_app.ui.draft import Draft
from mace_app.ui.forms import Form

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Ready = Callable[..., None]
MOST_TABS = 400
NEW = "mtt::gap"
BY_HAND = ("loss", "stage_two_loss", "config_weights", "fixed_scaling_weights", "atomic_baseline", "batch_atom_bounds")

# What has the focus, as a screen reader would name it: [kind, name, value].
FOCUSED = """() => {
  const e = document.activeElement;
  const words = (text) => (text || "").split("\\n").map((line) => line.trim()).filter(Boolean);
  const role = e.getAttribute("role");
  if (role === "radio") {
    return ["radio", e.closest("[role=radiogroup]")?.getAttribute("aria-label") || "", words(e.innerText).pop() || ""];
  }
  if (e.tagName === "INPUT") {
    return [role || "text", e.getAttribute("aria-label") || "", role === "switch" ? String(e.checked) : e.value];
  }
  const icon = e.querySelector('[data-testid="stIconMaterial"]')?.innerText || "";
  const named = words(e.innerText).filter((line) => line !== icon && line !== "expand_more");
  const name = e.tagName === "SUMMARY" ? named.pop() : named.join(" ");
  return [e.tagName.toLowerCase(), e.getAttribute("aria-label") || name, ""];
}"""


class Keyboard:
    """A person who has no mouse."""

    def __init__(self, page: Page, ready: Ready) -> None:
        self.page, self.ready = page, ready

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def settle(self) -> None:
        """A change is sent, answered and drawn; parts of the page that are loaded late have come."""
        self.page.wait_for_timeout(150)
        self.ready(self.page)
        expect(self.page.locator("[data-testid=stSkeleton]:visible, [data-stale=true]")).to_have_count(0)

    def go(self, kind: str, name: str) -> str:
        """Tab until the element has the focus; its value."""
        passed = []
        for _ in range(MOST_TABS):
            here = self.page.evaluate(FOCUSED)
            if here[:2] == [kind, name]:
                return str(here[2])
            passed.append(here[:2])
            self.press("Tab")
        raise AssertionError(f"Tab never came to the {kind} {name!r}; it came to {passed[-150:]}")

    def button(self, name: str) -> None:
        self.go("button", name)
        self.press("Enter")
        self.settle()

    def open(self, name: str) -> None:
        """An expander."""
        self.go("summary", name)
        self.press("Enter")
        self.page.wait_for_timeout(300)

    def text(self, name: str, value: str) -> None:
        self.go("text", name)
        self.press("Control+A", *(["Delete"] if not value else []))
        self.page.keyboard.type(value)
        self.press("Tab")
        self.settle()

    def select(self, name: str, value: str) -> None:
        self.go("combobox", name)
        self.press("Control+A")
        self.page.keyboard.type(value)
        self.page.wait_for_timeout(150)
        self.press("Enter")
        self.page.wait_for_timeout(100)
        self.settle()

    def segment(self, name: str, value: str) -> None:
        now = self.go("radio", name)
        for _ in range(8):
            if now == value:
                break
            self.press("ArrowRight")
            kind, _, now = self.page.evaluate(FOCUSED)
            assert kind == "radio", f"the arrow led away from {name}"
        assert now == value, f"{name} has no {value!r}"
        self.press("Space")
        self.settle()

    def switch(self, name: str, on: bool) -> None:
        if self.go("switch", name) != str(on).lower():
            self.press("Space")
            self.settle()


def label_of(item: OptionField) -> str:
    return Form(Draft(None)).label(item, (item.name,))


def fill(keyboard: Keyboard, model: type[Any], values: dict[str, Any]) -> None:
    """Every plain field of a section, in the order of the form."""
    items = [item for item in option_fields(model) if item.name in values and item.name not in BY_HAND]
    titles = list(dict.fromkeys(item.section for item in option_fields(model)))
    for item in sorted(items, key=lambda item: titles.index(item.section)):
        value, name = values[item.name], label_of(item)
        kind = kind_of(item)
        if item.name in ("mace_head_target", "device", "per_structure_targets"):
            keyboard.select(name, value[0] if isinstance(value, list) else value)
            keyboard.press("Escape")
        elif kind == "toggle":
            keyboard.switch(name, value)
        elif kind == "choice":
            words = next(choice.label for choice in choices_of(item) if choice.value == value)
            few = len(choices_of(item)) <= 4
            (keyboard.segment if few else keyboard.select)(name, words)
        elif kind == "auto_number":
            keyboard.segment(name, "own number")
            keyboard.text(f"Number for {item.title}", number_text(value))
        elif kind == "integers":
            keyboard.text(name, integers_text(value))
        elif kind in ("integer", "number"):
            keyboard.text(name, number_text(value))
        else:
            assert kind in ("irreps", "text"), item.name
            keyboard.text(name, str(value))


def loss_rows(keyboard: Keyboard) -> None:
    keyboard.select("Loss of `energy`", "huber")
    keyboard.text("Weight", "2")
    keyboard.text("Delta", "0.01")
    keyboard.go("combobox", "Loss of `energy.forces`")
    keyboard.text("Weight", "25")
    keyboard.segment("Reduction", "sum")
    keyboard.select("Loss of `energy.stress`", "mae")
    keyboard.select("Loss of `mtt::dos`", "masked_mse")
    keyboard.text("Weight", "0.5")


def add_head(keyboard: Keyboard) -> None:
    """A target with name, key, unit, type, kind of sum, description; then a mask for another one."""
    keyboard.button("Add a target")
    keyboard.select("Key", "gap")
    keyboard.select("Unit", "eV")
    keyboard.select("Type", "number")
    keyboard.segment("Per structure as", "mean")
    keyboard.open("More")
    keyboard.text("Description", "of the orbitals")
    # The name last: its field keeps the focus although everything about the target is named anew.
    keyboard.text("Name", NEW)


def normalisation(keyboard: Keyboard) -> None:
    keyboard.text("`warm`", "2.5")
    keyboard.text("Another group", "other")
    keyboard.text("`other`", "0")
    keyboard.select("Scale of `charge`", "per element")
    keyboard.text("H (e)", "0.5")
    keyboard.text("O (e)", "0.7")
    keyboard.select("Scale of `mtt::dipole`", "one number")
    keyboard.text("Scale of `mtt::dipole` (e·Å)", "2")
    keyboard.select("Baseline of `energy`", "per element")
    keyboard.text("H (eV)", "-13.6")
    keyboard.text("O (eV)", "-432.1")
    keyboard.select("Baseline of `energy/other`", "fit")
    keyboard.select(f"Baseline of `{NEW}`", "one number")
    keyboard.text(f"Baseline of every atom for `{NEW}` (eV)", "0")


@pytest.fixture
def workspace_with_data(tmp_path: Path) -> str:
    """Data in the workspace, mapped but for one target; the file's path."""
    path = tmp_path / "everything.xyz"
    path.write_text(molecules())
    with path.open("rb") as stream:
        folder = Workspace(tmp_path / "workspace").add_dataset("everything", stream, original=path.name)
    inspect(folder)
    targets = {name: target for name, target in TARGETS.items() if name != NEW}
    folder.write_mapping({"length_unit": "angstrom", "targets": targets})
    return str(folder.source_path)


def test_the_whole_form_can_be_filled_with_the_keyboard_alone_and_read_back(
    workspace_with_data: str, start_server: Callable[[], Any], page: Page, ready: Ready
) -> None:
    server = start_server()
    page.goto(f"{server.url}/train?step=data")
    keyboard = Keyboard(page, ready)
    keyboard.settle()
    keyboard.segment("Options shown", "Advanced")
    keyboard.select("Data to learn from", "everything")
    keyboard.press("Escape")
    keyboard.text("Validation: share of the training data (0 to 1)", "0.2")
    keyboard.text("Test: share of the training data (0 to 1)", "0.1")
    keyboard.button("Next: targets")
    add_head(keyboard)
    keyboard.button("Next: model")
    fill(keyboard, ModelHypers, MODEL_ONE)
    keyboard.button("Next: training")
    training = dict(TRAINING_ONE)
    fill(keyboard, TrainingHypers, training)
    keyboard.text("Atoms in a batch, at least", "2")
    keyboard.text("Atoms in a batch, at most", "400")
    keyboard.segment("Loss of stage two", "Each label")
    keyboard.text("Weight", "1000")
    keyboard.select("Loss of `mtt::dipole`", "mae")
    keyboard.segment("Loss", "Each label")
    loss_rows(keyboard)
    normalisation(keyboard)
    fill(keyboard, RunOptions, {name: value for name, value in RUN_ONE.items() if not name.endswith("_set")})
    keyboard.text("Elements", "1, 6, 8")
    keyboard.button("2 · Targets")
    keyboard.go("switch", "`mtt::dos`")
    keyboard.open("Definition")
    keyboard.open("More")
    keyboard.text("Mask (key in the file)", "dos_known")
    keyboard.button("5 · Review")

    draft = Draft.load(server.workspace / "draft.json")
    wanted = copy.deepcopy(options(one=True, path=workspace_with_data))
    wanted["training_set"][0]["targets"][NEW]["description"] = "of the orbitals"
    found, problems = draft.check()
    assert problems == [] and found == parse_options(wanted)

    keyboard.go("button", "Start training")
    page.goto(f"{server.url}/train?step=training")
    keyboard.settle()
    with page.expect_download() as download:
        keyboard.button("Save YAML")
    written = download.value.path().read_text()
    assert parse_options(parse_yaml(written)) == found
    keyboard.button("Start over")
    keyboard.button("Clear all choices")
    expect(page.locator(".st-key-train-yaml")).to_contain_text("everything is at its default")
    keyboard.press("Escape")
    keyboard.button("Load YAML")
    keyboard.go("textarea", "or its text")
    page.keyboard.insert_text(written)
    keyboard.press("Control+Enter")
    keyboard.settle()
    keyboard.button("Load")
    expect(page.locator(".st-key-train-yaml")).to_contain_text(re.compile("batch_size: 4"))
    assert Draft.load(server.workspace / "draft.json").values == draft.values
    assert Draft.load(server.workspace / "draft.json").check()[0] == found
