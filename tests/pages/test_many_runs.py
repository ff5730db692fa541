"""A workspace with a thousand runs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "runs_page"))
from measure import drawings, fill


@pytest.mark.slow
def test_a_thousand_runs_are_drawn_in_under_two_seconds(workspace_path: Path) -> None:
    fill(workspace_path, 1000, 60)
    first, again = drawings(workspace_path, 2)
    assert first < 2 and again < 1
