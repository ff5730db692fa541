"""A person without a mouse, and how such a person fills the plain fields of a form."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from mace_app.options import OptionField, option_fields, parse_irreps
from mace_app.ui.conversions import choices_of, integers_text, kind_of, number_text
from mace_app.ui.draft import Draft
from mace_app.ui.forms import Form

Ready = Callable[..., None]
MOST_TABS = 400
BY_HAND = (
    "loss",
    "stage_two_loss",
    "config_weights",
    "fixed_scaling_weights",
    "atomic_baseline",
    "batch_atom_bounds",
    "wandb",
)
ELSEWHERE = ("architecture", "training_set", "validation_set", "test_set")

# What has the focus, as a screen reader would name it: [kind, name, value].
FOCUSED = """() => {
  const e = document.activeElement;
  const words = (text) => (text || "").split("\\n").map((line) => line.trim()).filter(Boolean);
  const role = e.getAttribute("role");
  if (role === "radio") {
    return ["radio", e.closest("[role=radiogroup]")?.getAttribute("aria-label") || "", words(e.innerText).pop() || ""];
  }
  if (e.type === "range") {
    return ["slider", e.getAttribute("aria-label") || "", e.getAttribute("aria-valuetext")];
  }
  if (e.tagName === "INPUT") {
    return [role || "text", e.getAttribute("aria-label") || "", role === "switch" ? String(e.checked) : e.value];
  }
  const icon = e.querySelector('[data-testid="stIconMaterial"]')?.innerText || "";
  const named = words(e.innerText).filter((line) => line !== icon && !/^expand_(more|less)$/.test(line));
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

    def go(self, kind: str, name: str, key: str = "Tab") -> str:
        """Tab until the element has the focus; its value."""
        passed = []
        for _ in range(MOST_TABS):
            here = self.page.evaluate(FOCUSED)
            if here[:2] == [kind, name]:
                return str(here[2])
            passed.append((here[0], here[1][:40]))
            self.press(key)
        raise AssertionError(f"{key} never came to the {kind} {name!r}; it came to {passed[-100:]}")

    def back(self, kind: str, name: str) -> str:
        """The same in the other direction."""
        return self.go(kind, name, "Shift+Tab")

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
        # To the right and then to the left: the arrows stop at the ends.
        for key in ["ArrowRight"] * 6 + ["ArrowLeft"] * 6:
            if now == value:
                break
            self.press(key)
            kind, _, now = self.page.evaluate(FOCUSED)
            assert kind == "radio", f"the arrow led away from {name}"
        assert now == value, f"{name} has no {value!r}"
        self.press("Space")
        self.settle()

    def slide(self, name: str, value: str) -> None:
        self.go("slider", name)
        self.press("Home")
        for _ in range(20):
            if self.page.evaluate(FOCUSED)[2] == value:
                return self.settle()
            self.press("ArrowRight")
        raise AssertionError(f"{name} has no {value!r}")

    def switch(self, name: str, on: bool) -> None:
        if self.go("switch", name) != str(on).lower():
            self.press("Space")
            self.settle()


def label_of(item: OptionField) -> str:
    return Form(Draft(None)).label(item, (item.name,))


def fill(keyboard: Keyboard, model: type[Any], values: dict[str, Any]) -> None:
    """Every plain field of a section, in the order of the form."""
    items = [item for item in option_fields(model) if item.name in values and item.name not in (*BY_HAND, *ELSEWHERE)]
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
        elif item.name == "edge_irreps":
            build_irreps(keyboard, name, value)
        elif kind == "integers":
            keyboard.text(name, integers_text(value))
        elif kind in ("integer", "number"):
            keyboard.text(name, number_text(value))
        else:
            assert kind in ("irreps", "text"), item.name
            keyboard.text(name, str(value))


def build_irreps(keyboard: Keyboard, name: str, value: str) -> None:
    """With the builder beside the field."""
    highest = parse_irreps(value)[-1]
    keyboard.go("text", name)
    keyboard.button("Build")
    keyboard.slide("Channels", str(highest.mul))
    keyboard.segment("Highest angular momentum", str(highest.l))
    keyboard.button("Use these")
    keyboard.press("Escape")
    keyboard.settle()
    assert keyboard.back("text", name) == value
