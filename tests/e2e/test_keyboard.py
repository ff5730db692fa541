"""The whole Train form without a mouse: Tab, arrows, Space, Enter and typing, in a real browser.

In six passes, because some options exclude others and no test shall take long; `keyboard_passes` says what each is.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from form_samples import TARGETS, molecules
from foundation_samples import write_files
from keyboard_only import Keyboard, Ready, fill
from keyboard_passes import FROM_CHECKPOINT, FROM_RUN, HEADS, MAPPED, TYPED, before, foundation_beside, options_of
from playwright.sync_api import Page, expect

from mace_app.jobs import Workspace
from mace_app.jobs.inspection import inspect
from mace_app.options import parse_options, parse_yaml
from mace_app.options.model import ModelHypers
from mace_app.options.run import RunOptions
from mace_app.options.training import TrainingHypers
from mace_app.ui.draft import MODEL, TRAINING, Draft

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class Pass:
    """One pass: data in the workspace, and a page at a step of the form with all options shown."""

    def __init__(
        self, name: str, folder: Path, start_server: Callable[[], Any], page: Page, ready: Ready, step: str
    ) -> None:
        self.name, self.page = name, page
        typed = TYPED[name]
        given = "training_set" not in typed
        self.path = add_data(folder, TARGETS if given else MAPPED)
        self.draft_path = folder / "workspace" / "draft.json"
        if given:
            Draft(self.draft_path, {"training_set": [before(name, self.path)]}).save()
        self.keyboard = Keyboard(page, ready)
        page.goto(f"{start_server().url}/train?step={step}")
        self.keyboard.settle()
        self.keyboard.segment("Options shown", "Advanced")

    def values(self, place: tuple[str, ...]) -> Any:
        """What the pass types at a place of the options."""
        return Draft(None, TYPED[self.name]).get(place)

    def finish(self) -> None:
        """The draft is what was to be typed; saved as YAML, cleared and loaded, the form is the same."""
        keyboard, page = self.keyboard, self.page
        draft = Draft.load(self.draft_path)
        found, problems = draft.check()
        assert problems == [] and found == parse_options(options_of(self.name, self.path))
        with page.expect_download() as download:
            keyboard.button("Save YAML")
        written = download.value.path().read_text()
        assert parse_options(parse_yaml(written)) == found
        keyboard.button("Start over")
        keyboard.button("Clear all choices")
        shown = page.locator(".st-key-train-yaml")
        expect(shown).to_contain_text("everything is at its default")
        keyboard.press("Escape")
        keyboard.button("Load YAML")
        keyboard.go("textarea", "or its text")
        page.keyboard.insert_text(written)
        keyboard.press("Control+Enter")
        keyboard.settle()
        keyboard.button("Load")
        expect(shown).to_contain_text(re.compile("everything.xyz"))
        assert Draft.load(self.draft_path).values == draft.values
        assert Draft.load(self.draft_path).check()[0] == found


def add_data(folder: Path, targets: dict[str, Any]) -> str:
    """Structures with every kind of label in the workspace, with a mapping; the file's path."""
    path = folder / "everything.xyz"
    path.write_text(molecules())
    with path.open("rb") as stream:
        dataset = Workspace(folder / "workspace").add_dataset("everything", stream, original=path.name)
    inspect(dataset)
    dataset.write_mapping({"length_unit": "angstrom", "targets": targets})
    return str(dataset.source_path)


@pytest.fixture
def begin(tmp_path: Path, start_server: Callable[[], Any], page: Page, ready: Ready) -> Callable[[str, str], Pass]:
    """Start a pass at a step of the form."""
    return lambda name, step: Pass(name, tmp_path, start_server, page, ready, step)


def head(keyboard: Keyboard, name: str, rest: Callable[[Keyboard, dict[str, Any]], None]) -> None:
    """A further target. Its name comes last: the field keeps the focus although all about the target is named anew."""
    target = HEADS[name]
    keyboard.button("Add a target")
    keyboard.back("combobox", "Key")
    keyboard.select("Key", target["key"])
    if "unit" in target:
        keyboard.select("Unit", target["unit"])
    rest(keyboard, target)
    keyboard.back("text", "Name")
    keyboard.text("Name", name)


def another_energy(keyboard: Keyboard, target: dict[str, Any]) -> None:
    keyboard.open("More")
    keyboard.select("Quantity", target["quantity"])
    keyboard.back("combobox", "Virial")
    keyboard.select("Virial", target["virial"]["key"])
    keyboard.back("combobox", "Stress")
    keyboard.select("Stress", "none")
    keyboard.back("combobox", "Forces")
    keyboard.select("Forces", "none")


def spherical(keyboard: Keyboard, target: dict[str, Any]) -> None:
    """Two blocks; on the way, the other inversion."""
    first, second = target["type"]["spherical"]["irreps"]
    keyboard.select("Type", "spherical")
    keyboard.text("Angular momentum λ", str(first["o3_lambda"]))
    keyboard.segment("Inversion", "pseudo (σ = −1)")
    keyboard.segment("Inversion", "proper (σ = 1)")
    keyboard.text("Copies", str(first["num"]))
    keyboard.button("Add a block")
    keyboard.back("text", "Angular momentum λ")
    keyboard.text("Angular momentum λ", str(second["o3_lambda"]))


def tensor(keyboard: Keyboard, target: dict[str, Any]) -> None:
    keyboard.select("Type", "tensor")
    keyboard.select("The tensor is", "symmetric")


def per_atom(keyboard: Keyboard, target: dict[str, Any]) -> None:
    keyboard.select("Type", "number")
    keyboard.open("More")
    keyboard.segment("One value per", "system")
    keyboard.segment("One value per", target["sample_kind"])


def mean_of_atoms(keyboard: Keyboard, target: dict[str, Any]) -> None:
    keyboard.select("Type", "number")
    keyboard.segment("Per structure as", target["aggregate"])
    keyboard.open("More")
    keyboard.text("Description", target["description"])


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
    keyboard.select("Baseline of `mtt::gap`", "one number")
    keyboard.text("Baseline of every atom for `mtt::gap` (eV)", "0")


def weights_and_biases(keyboard: Keyboard, wanted: dict[str, Any]) -> None:
    keyboard.switch("Weights & Biases", True)
    keyboard.text("Project", wanted["project"])
    keyboard.text("Entity", wanted["entity"])
    keyboard.text("Name", wanted["name"])
    keyboard.text("Group", wanted["group"])
    keyboard.select("Tags", wanted["tags"][0])
    keyboard.press("Escape")
    keyboard.text("Notes", wanted["notes"])


def test_data_and_heads_of_every_kind_are_chosen_with_the_keyboard_alone(begin: Callable[[str, str], Pass]) -> None:
    form = begin("data and heads", "data")
    keyboard = form.keyboard
    keyboard.select("Data to learn from", "everything")
    keyboard.press("Escape")
    keyboard.text("Validation: share of the training data (0 to 1)", "0.2")
    keyboard.text("Test: share of the training data (0 to 1)", "0.1")
    keyboard.button("Next: targets")
    keyboard.go("switch", "`energy`")
    keyboard.open("Definition")
    keyboard.select("Unit", "eV")
    keyboard.select("Forces", "forces")
    keyboard.select("Stress", "stress")
    head(keyboard, "mtt::pbe", another_energy)
    head(keyboard, "mtt::blocks", spherical)
    head(keyboard, "mtt::alpha", tensor)
    head(keyboard, "charge", per_atom)
    head(keyboard, "mtt::gap", mean_of_atoms)
    keyboard.segment("Loss", "Each label")
    keyboard.go("switch", "`mtt::dos`")
    keyboard.open("Definition")
    keyboard.text("Values", "5")
    keyboard.back("text", "Values")
    keyboard.text("Values", "6")
    keyboard.open("More")
    keyboard.text("Mask (key in the file)", "dos_known")
    keyboard.select("Loss of `mtt::dos`", "masked_mse")
    keyboard.button("5 · Review")
    keyboard.go("button", "Start training")
    keyboard.button("2 · Targets")
    form.finish()


def test_the_model_and_the_run_are_chosen_with_the_keyboard_alone(begin: Callable[[str, str], Pass]) -> None:
    form = begin("model and run", "model")
    keyboard = form.keyboard
    fill(keyboard, ModelHypers, form.values(MODEL))
    keyboard.button("Next: training")
    keyboard.segment("Precision of matrix products", "tf32")
    keyboard.segment("Loss", "One type for all")
    keyboard.select("Type of every term", "mae")
    keyboard.segment("Fixed scales", "from a trained model")
    keyboard.text("Checkpoint or run folder to take scales from", FROM_RUN)
    fill(keyboard, RunOptions, form.values(()))
    weights_and_biases(keyboard, form.values(("wandb",)))
    keyboard.text("Elements", "1, 6, 8")
    form.finish()


def test_the_course_of_the_training_is_chosen_with_the_keyboard_alone(begin: Callable[[str, str], Pass]) -> None:
    form = begin("loop", "training")
    keyboard = form.keyboard
    fill(keyboard, TrainingHypers, form.values(TRAINING))
    keyboard.text("Atoms in a batch, at least", "2")
    keyboard.text("Atoms in a batch, at most", "400")
    keyboard.segment("Loss of stage two", "Each label")
    keyboard.text("Weight", "1000")
    keyboard.select("Loss of `mtt::dipole`", "mae")
    form.finish()


def test_loss_and_normalisation_are_chosen_with_the_keyboard_alone(begin: Callable[[str, str], Pass]) -> None:
    form = begin("loss and normalisation", "training")
    keyboard = form.keyboard
    fill(keyboard, TrainingHypers, form.values(TRAINING))
    keyboard.segment("Loss", "Each label")
    loss_rows(keyboard)
    normalisation(keyboard)
    form.finish()


def test_what_excludes_the_others_is_chosen_with_the_keyboard_alone(begin: Callable[[str, str], Pass]) -> None:
    form = begin("what excludes the others", "model")
    keyboard = form.keyboard
    fill(keyboard, ModelHypers, form.values(MODEL))
    keyboard.button("Next: training")
    fill(keyboard, TrainingHypers, form.values(TRAINING))
    keyboard.text("Atoms in a batch, at most", "90")
    keyboard.segment("Loss of stage two", "MACE universal")
    keyboard.segment("Loss", "MACE weighted")
    keyboard.segment("Energies of single atoms", "from a trained model")
    keyboard.text("Checkpoint or run folder to take energies of single atoms from", FROM_CHECKPOINT)
    form.finish()


def test_a_fine_tuning_is_chosen_with_the_keyboard_alone(begin: Callable[[str, str], Pass], tmp_path: Path) -> None:
    form = begin("from a file", "model")
    keyboard, path = form.keyboard, foundation_beside(form.path)
    write_files(Path(path).parent)
    keyboard.segment("Foundation model: where to start", "From a foundation model")
    keyboard.text("Path of a `.model` file on this machine", path)
    keyboard.button("Start from this file")
    expect(form.page.get_by_text("2 layers reach 7.4")).to_be_visible(timeout=180_000)  # the worker has read it
    keyboard.settle()
    keyboard.select("Head of the foundation model", "ccsd")
    keyboard.select("Readouts of `energy/other`", "dft")
    keyboard.button("Next: training")
    fill(keyboard, TrainingHypers, form.values(TRAINING))
    keyboard.select("Baseline of `energy`", "estimated from my data")
    keyboard.select("Baseline of `energy/other`", "isolated atoms in my data")
    form.finish()
