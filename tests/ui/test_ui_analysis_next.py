"""What follows from structures that stand out: options without them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from analysis_samples import made_up

from mace_app.analysis import Analysis
from mace_app.options import parse_options
from mace_app.ui.analysis_next import CanNotLeaveOut, without


def analysis(files: tuple[str, ...] = ("a.xyz",), each: int = 10) -> Analysis:
    found = made_up(each * len(files))
    table = replace(
        found.structures,
        dataset=np.repeat(np.array(files), each),
        frame=np.tile(np.arange(each), len(files)),
    )
    data = [{"name": file, "path": file, "sha256": "0", "structures": each} for file in files]
    return replace(found, structures=table, info=replace(found.info, data=data))


def entry(path: str, **more: Any) -> dict[str, Any]:
    return {"systems": {"read_from": path, "length_unit": "angstrom"}, "targets": {"energy": {"unit": "eV"}}, **more}


def test_the_frames_are_left_out_of_every_set_they_are_in() -> None:
    tree = {"training_set": [entry("a.xyz"), entry("b.xyz")], "validation_set": [entry("c.xyz")], "test_set": 0.1}
    found = without(tree, analysis(("a.xyz", "b.xyz", "c.xyz")), np.array([2, 7, 25]))
    assert found["training_set"][0]["indices"] == [0, 1, 3, 4, 5, 6, 8, 9]
    assert "indices" not in found["training_set"][1]
    assert found["validation_set"][0]["indices"] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert found["test_set"] == 0.1 and "indices" not in tree["training_set"][0]
    options = parse_options(found)
    assert options.training_datasets[0].indices == found["training_set"][0]["indices"]


def test_of_frames_that_were_picked_already_the_rest_stays() -> None:
    tree = {"training_set": entry("a.xyz", indices=[1, 2, 3, 5]), "validation_set": 0.1}
    assert without(tree, analysis(), np.array([2]))["training_set"]["indices"] == [1, 3, 5]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"training_set": entry("a.xyz"), "validation_set": {"indices": [1, 2]}}, "which would move"),
        ({"training_set": entry("other.xyz"), "validation_set": 0.1}, "not among the data"),
        ({"training_set": entry("a.xyz", indices="chosen.txt"), "validation_set": 0.1}, "edit its options"),
    ],
)
def test_what_can_not_be_said_by_indices_is_a_sentence(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(CanNotLeaveOut, match=words):
        without(tree, analysis(), np.array([2]))
