"""Labels in a file of their own, and data sets that use some structures of a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from water_files import options, water, waters

from mace_app.data import DataError, PreparedData, prepare
from mace_app.options import parse_options

Write = Callable[..., Path]
Prepared = Callable[..., PreparedData]


def energies(data: PreparedData) -> list[float]:
    graphs = data.training
    return sorted(graphs.collate(list(range(len(graphs))))["label:energy"][:, 0].tolist())


def frames_of(graphs: Any) -> list[int]:
    return sorted(int(frame) for _, frame in graphs.structure_ids)


def test_energy_and_forces_come_from_other_files_frame_by_frame(write: Write, prepared: Prepared) -> None:
    structures = write([water(-1.0 * n, 0.01 * n) for n in range(6)])
    labels = write([water(-100.0 - n, 0.01 * n, forces=False) for n in range(6)], "labels.xyz")
    forces = write([water(None, 7.0 + n) for n in range(6)], "forces.xyz")
    targets = {
        "energy": {"read_from": str(labels), "forces": {"read_from": str(forces)}},
        "mtt::first": {"key": "energy"},
    }
    data = prepared(structures, targets, validation_set=0.2)
    batch = data.training.collate(range(len(data.training)))
    frames = data.training.structure_ids[:, 1]
    np.testing.assert_array_equal(batch["label:energy"][:, 0], -100.0 - frames)
    np.testing.assert_array_equal(batch["label:mtt::first"][:, 0], -1.0 * frames)
    np.testing.assert_array_equal(batch["label:energy.forces"].reshape(-1, 3, 3)[:, 0, 0], 7.0 + frames)
    assert [Path(file["path"]).name for file in data.files] == ["data.xyz", "labels.xyz", "forces.xyz"]


def test_forces_that_are_used_if_found_are_looked_for_beside_their_energy(write: Write, prepared: Prepared) -> None:
    structures = write(waters(5))
    labels = write([frame.replace("energy", "REF_energy") for frame in waters(5, forces=False)], "labels.xyz")
    target = {"key": "REF_energy", "read_from": str(labels)}
    data = prepared(structures, {"energy": target}, validation_set=0.2)
    assert not data.targets["energy"].has_forces, "the forces beside the structures belong to another energy"


def test_label_files_must_match_one_to_one(write: Write, prepared: Prepared) -> None:
    structures = write(waters(5))
    targets = {"energy": {"read_from": str(write(waters(4), "short.xyz"))}}
    with pytest.raises(DataError, match=r"short.xyz: the file ends where .*data.xyz still has structures"):
        prepared(structures, targets)
    targets = {"energy": {"read_from": str(write(waters(6), "long.xyz"))}}
    with pytest.raises(DataError, match=r"data.xyz: the file ends where .*long.xyz still has structures"):
        prepared(structures, targets)
    other = waters(5)
    other[3] = other[3].replace("\nO", "\nS")
    with pytest.raises(DataError, match=r"other.xyz.*3.*atoms differ"):
        prepared(structures, {"energy": {"read_from": str(write(other, "other.xyz"))}})


def test_a_changed_label_file_is_read_again(write: Write, prepared: Prepared) -> None:
    structures, labels = write(waters(5)), write(waters(5, forces=False), "labels.xyz")
    targets = {"energy": {"read_from": str(labels)}}
    before = energies(prepared(structures, targets, validation_set=0.2))
    write([water(-7.0, 0.01 * n) for n in range(5)], "labels.xyz")
    assert energies(prepared(structures, targets, validation_set=0.2)) == [-7.0] * 4 != before


def test_a_data_set_may_use_some_structures_of_its_file(write: Write, tmp_path: Path) -> None:
    path, listed = write(waters(10)), write("1\n3\n5\n8\n", "chosen.txt")
    for number, indices in enumerate(([8, 1, 3, 5], str(listed))):
        sets = [{"systems": str(path), "targets": {"energy": {}}, "indices": indices}]
        data = prepare(options(sets, validation_set=0.25), tmp_path / str(number))
        assert frames_of(data.training) + frames_of(data.validation) != [] and len(data.validation) == 1
        assert sorted(frames_of(data.training) + frames_of(data.validation)) == [1, 3, 5, 8]
    write("0\n2\n4\n6\n", "chosen.txt")
    data = prepare(options(sets, validation_set=0.25), tmp_path / "1")
    assert sorted(frames_of(data.training) + frames_of(data.validation)) == [0, 2, 4, 6], "the list was changed"


def test_validation_indices_count_through_the_whole_file(write: Write, tmp_path: Path) -> None:
    data_set = {"systems": str(write(waters(10))), "targets": {"energy": {}}}
    tree = {"training_set": {**data_set, "indices": [0, 1, 2, 9]}, "validation_set": {"indices": [9, 5]}, "seed": 1}
    data = prepare(parse_options(tree), tmp_path / "a")
    assert (frames_of(data.training), frames_of(data.validation)) == ([0, 1, 2], [5, 9])
    tree["validation_set"] = {**data_set, "indices": [3, 4]}
    data = prepare(parse_options(tree), tmp_path / "b")
    assert (frames_of(data.training), frames_of(data.validation)) == ([0, 1, 2, 9], [3, 4])


def test_indices_beyond_the_file_are_named(write: Write, tmp_path: Path) -> None:
    data_set = {"systems": str(write(waters(4))), "targets": {"energy": {}}, "indices": [0, 1, 4, 9]}
    with pytest.raises(DataError, match=r"data.xyz: `indices` name structure 4, 9, but the file has 4"):
        prepare(options([data_set]), tmp_path / "a")
