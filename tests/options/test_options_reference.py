"""The generated reference page."""

from pathlib import Path

from mace_app.options import ModelHypers, TrainingHypers
from mace_app.options.reference import options_reference
from mace_app.options.yaml_files import parse_options, parse_yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"


def test_the_reference_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == options_reference(), "run python docs/make_options_reference.py"


def test_the_reference_page_has_every_hyper_and_its_example_is_valid() -> None:
    page = options_reference()
    for name in (*ModelHypers.model_fields, *TrainingHypers.model_fields):
        assert f"**`{name}`**" in page
    example = page.split("```yaml\n")[1].split("```")[0]
    assert parse_options(parse_yaml(example)).targets()["mtt::dipole"].rank == 1
