"""A look at the ends of a long metrics file finds what the whole file says."""

from pathlib import Path

import pytest

from mace_app.jobs.metrics_file import append_header, read_metrics
from mace_app.jobs.metrics_glance import TAIL_BYTES, MetricsGlance, glance_at_metrics


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    append_header(path, {"energy": "eV/atom"}, ["energy"])
    with path.open("a") as stream:
        for epoch in range(9000):
            stream.write(f'{{"epoch": {epoch}, "validation/energy/mae": {1 + epoch % 7}.5, "pad": "{"x" * 50}"}}\n')
        stream.write('{"epoch": 9000, "valid')
    assert path.stat().st_size > 10 * TAIL_BYTES
    return path


@pytest.mark.parametrize("epoch", [1, 2, 17, 450, 4499, 4500, 8000, 8230, 8999])
def test_the_best_epoch_is_found_wherever_it_lies(long_file: Path, epoch: int) -> None:
    found = glance_at_metrics(long_file, epoch)
    whole = {record["epoch"]: record for record in read_metrics(long_file).epochs}
    assert found.best == whole[epoch] and found.last == whole[8999]
    assert (found.labels, found.units) == (["energy"], {"energy": "eV/atom"})


def test_an_epoch_that_is_not_there_and_a_file_that_is_not_there_give_nothing(long_file: Path, tmp_path: Path) -> None:
    assert glance_at_metrics(long_file, 20_000).best is None
    assert glance_at_metrics(tmp_path / "no") == MetricsGlance()


def test_without_a_known_best_the_last_epoch_marked_best_counts_and_never_the_untrained_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_header(path, {}, [])
    path.write_text(path.read_text() + '{"epoch": 0, "best": true}\n')
    assert glance_at_metrics(path).best is None
    path.write_text(path.read_text() + '{"epoch": 1, "best": true}\n{"epoch": 2}\n')
    assert glance_at_metrics(path).best == {"epoch": 1, "best": True}
