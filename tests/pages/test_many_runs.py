"""A workspace with a thousand runs, and a run with a hundred thousand epochs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "runs_page"))
import long_run
from measure import drawings, fill


@pytest.mark.slow
def test_a_thousand_runs_are_drawn_in_under_two_seconds(workspace_path: Path) -> None:
    fill(workspace_path, 1000, 60)
    first, again = drawings(workspace_path, 2)
    assert first < 2 and again < 1


@pytest.mark.slow
@pytest.mark.parametrize("labels", [3, 10])
def test_a_hundred_thousand_epochs_open_in_two_seconds_and_are_followed_at_little_cost(
    workspace_path: Path, labels: int
) -> None:
    run = long_run.fill(workspace_path, 100_000, labels)
    opened, updates = long_run.drawings(workspace_path, run)
    assert opened < 2 and min(updates) < 0.1, (opened, updates)
