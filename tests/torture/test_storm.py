"""Whatever is killed and whenever: every run ends as if nothing had happened."""

from collections import Counter
from pathlib import Path

import pytest
from storm import weather


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_kills_change_nothing_in_what_becomes_of_the_runs(tmp_path: Path) -> None:
    """About three minutes on two idle cores; by hand, with more kills: ``python tests/torture/storm.py FOLDER``."""
    storms = weather(
        tmp_path / "weather", kills=150, seconds=100, runs=2, workspaces=2, epochs=30, seed=20250131, patience=1200
    )
    kills: Counter[str] = sum((storm.kills for storm in storms), Counter())
    assert min(kills[name] for name in ("worker", "supervisor", "server")) > 0, kills
