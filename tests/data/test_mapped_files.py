"""Mapped arrays keep their values and only so much memory."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from mace_app.data import mapped
from mace_app.data.mapped import MappedFiles, _of_files

linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")


@linux
def test_pages_are_given_back_and_read_again_with_the_same_values(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "MOST_BYTES", 8 * 2**20)
    numbers = np.arange(6_000_000, dtype=np.int64)  # 48 MB
    np.save(tmp_path / "numbers.npy", numbers)
    files = MappedFiles()
    array = files.load(tmp_path / "numbers.npy")
    before = _of_files()
    assert int(array.sum()) == int(numbers.sum())
    assert _of_files() - before > 40e6
    files.read()
    assert _of_files() - before < 8e6
    for start in range(0, len(array), 200_000):
        assert np.array_equal(array[start : start + 200_000], numbers[start : start + 200_000])
        files.read()
        assert _of_files() - before < 16e6


@linux
def test_what_others_map_is_not_taken_for_ours(tmp_path, monkeypatch):
    """Otherwise pages would be given back after every read."""
    monkeypatch.setattr(mapped, "MOST_BYTES", 8 * 2**20)
    np.save(tmp_path / "numbers.npy", np.arange(1000))
    files = MappedFiles()
    files.load(tmp_path / "numbers.npy")
    given: list[int] = []
    give_back = files.give_back
    monkeypatch.setattr(files, "give_back", lambda: (given.append(1), give_back()))
    (tmp_path / "other").write_bytes(bytes(32 * 2**20))
    with (tmp_path / "other").open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as other:
        assert sum(other[:: mmap.PAGESIZE]) == 0
        for _ in range(5):
            files.read()
    assert len(given) == 1


def test_an_array_without_rows_is_read(tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 3)))
    files = MappedFiles()
    assert files.load(tmp_path / "none.npy").shape == (0, 3)
    files.give_back()


def test_nothing_can_be_written_into_a_mapped_array(tmp_path):
    np.save(tmp_path / "numbers.npy", np.arange(3))
    with pytest.raises(ValueError, match="read-only"):
        MappedFiles().load(tmp_path / "numbers.npy")[0] = 1
