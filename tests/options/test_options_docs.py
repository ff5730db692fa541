"""Examples in the documentation are options that can be run."""

import re
from pathlib import Path

import yaml

from mace_app.options import parse_options

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"


def test_the_example_of_the_page_on_targets_is_accepted() -> None:
    first, mask = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    training, _, architecture = mask.partition("architecture:")
    options = yaml.safe_load(first.rstrip() + "\n" + training + "architecture:" + architecture)
    targets = parse_options(options).targets()
    assert set(targets) == set(options["training_set"]["targets"])
    assert targets["mtt::dos"].shape == (200,)
