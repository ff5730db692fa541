"""Labels with several axes, several irreps or a mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read, write
from water_files import water

from mace_app.data import DataError, PreparedData, prepare
from mace_app.options import OptionsError, parse_options

TENSOR = {"cartesian": {"rank": 2}}
IRREPS = {"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1}, {"o3_lambda": 2, "o3_sigma": 1, "num": 2}]}}


def prepared(
    folder: Path, comments: list[str], targets: dict[str, Any], loss: Any = "mse", extra: Any = None
) -> PreparedData:
    data = folder / "data.xyz"
    data.write_text("".join(water(comment=comment, shift=0.01 * i) for i, comment in enumerate(comments)))
    model = {"r_max": 3.0, "hidden_irreps": "4x0e + 4x1o + 4x2e"}
    systems = {"systems": str(data), "targets": targets, "extra_data": extra or {}}
    architecture = {"model": model, "training": {"num_epochs": 1, "loss": loss}}
    options = {"seed": 1, "architecture": architecture, "training_set": systems, "validation_set": {"indices": [0]}}
    return prepare(parse_options(options), folder / "prepared")


def test_a_tensor_may_stand_as_matrix_or_as_row(tmp_path: Path) -> None:
    row = 'a="1 2 3 4 5 6 7 8 9"'
    matrix = 'a="_JSON [[1, 2, 3], [4, 5, 6], [7, 8, 9]]"'
    targets = {"mtt::a": {"key": "a", "type": {"cartesian": {"rank": 2, "symmetric": True}}}}
    data = prepared(tmp_path, [row, row, matrix], targets)
    expected = np.arange(1.0, 10.0).reshape(3, 3, 1)
    for label in data.training.collate([0, 1])["label:mtt::a"]:
        np.testing.assert_array_equal(label, expected)


def test_the_data_decide_whether_a_tensor_is_symmetric(tmp_path: Path) -> None:
    symmetric = 'a="1 2 3 2 5 6 3 6 9"'
    (tmp_path / "a").mkdir()
    data = prepared(tmp_path / "a", [symmetric] * 3, {"mtt::a": {"key": "a", "type": TENSOR}})
    assert data.targets["mtt::a"].symmetric is True
    (tmp_path / "b").mkdir()
    with pytest.raises(OptionsError, match=r"`mtt::a` needs `1e`.*4x1e"):
        prepared(
            tmp_path / "b", [symmetric, symmetric, 'a="1 2 3 -2 5 6 3 6 9"'], {"mtt::a": {"key": "a", "type": TENSOR}}
        )


def test_several_irreps_stand_in_one_row_block_after_block(tmp_path: Path) -> None:
    row = 'q="' + " ".join(str(i) for i in range(11)) + '"'
    data = prepared(tmp_path, [row] * 3, {"mtt::q": {"key": "q", "type": IRREPS}})
    label = data.training.collate([0])["label:mtt::q"]
    assert label.shape == (1, 11)
    block = data.targets["mtt::q"].blocks[1]
    np.testing.assert_array_equal(label[0, block.start : block.stop].reshape(5, 2)[:, 1], [2, 4, 6, 8, 10])


MASKED = {"mtt::dos": {"key": "dos", "num_subtargets": 4}}


def test_what_a_mask_leaves_out_is_unknown(tmp_path: Path) -> None:
    comments = ['dos="1 2 3 4" m="T T F F"', 'dos="1 2 3 4" m="1 0 1 0"', 'dos="1 2 3 4" m=F', 'dos="1 2 3 4"']
    data = prepared(tmp_path, comments[:1] + comments, MASKED, "masked_mse", {"mtt::dos_mask": {"key": "m"}})
    labels = data.training.collate([0, 1, 2, 3])["label:mtt::dos"]
    nan = np.nan
    np.testing.assert_array_equal(labels, [[1, 2, nan, nan], [1, nan, 3, nan], [nan] * 4, [1, 2, 3, 4]])
    assert list(data.training.labels_present("mtt::dos")) == [True, True, False, True]


def test_forces_have_a_mask_of_their_own_for_each_atom(tmp_path: Path) -> None:
    data = tmp_path / "waters.xyz"
    data.write_text("".join(water(shift=0.1 * i) for i in range(3)))
    frames = read(data, ":")
    for frame in frames:
        frame.set_array("fixed", np.array([True, False, True]))
        frame.info["energy"] = frame.get_potential_energy()
        frame.set_array("forces", frame.get_forces())
        frame.calc = None
    write(data, frames, format="extxyz")
    systems = {
        "systems": str(data),
        "targets": {"energy": {"key": "energy", "forces": {"key": "forces"}, "stress": False}},
        "extra_data": {"energy_forces_mask": "fixed"},
    }
    training = {"num_epochs": 1, "loss": {"energy": {"forces": "masked_huber"}}}
    options = {"architecture": {"model": {"r_max": 3.0}, "training": training}, "training_set": systems, "seed": 1}
    prepared = prepare(parse_options({**options, "validation_set": {"indices": [0]}}), tmp_path / "prepared")
    forces = prepared.training.collate([0])["label:energy.forces"]
    assert np.isnan(forces[1]).all()
    assert np.isfinite(forces[[0, 2]]).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ('m="1 2 0 1"', "must hold true or false"),
        ('m="T F"', "has the shape 2, but `mtt::dos` has 4"),
        ("", "no structure has the key `m`"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path: Path, mask: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepared(tmp_path, [f'dos="1 2 3 4" {mask}'] * 3, MASKED, "masked_mse", {"mtt::dos_mask": {"key": "m"}})


@pytest.mark.parametrize("name", ["mask", "mtt::dos_masks", "mtt::other_mask", "mtt::dos_forces_mask"])
def test_extra_data_that_is_no_mask_of_a_target_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionsError, match=r"extra_data|mask"):
        prepared(tmp_path, ['dos="1 2 3 4"'] * 3, MASKED, extra={name: {"key": "m"}})
