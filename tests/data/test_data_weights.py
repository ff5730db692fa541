import re

import numpy as np
import pytest
from water_files import options, water, waters

from mace_app.data import DataError, load_prepared, prepare
from mace_app.options import parse_options


def weighted(path, types, **changes):
    """Options with ``config_weights``, and the same file to validate on."""
    value = options(path, **changes).model_dump()
    value["architecture"]["training"]["config_weights"] = types
    return parse_options(value)


def weights_of(graphs):
    return dict(zip(graphs.structure_ids[:, 1].tolist(), graphs.collate(range(len(graphs)))["weight"], strict=True))


def frames():
    """Weights 1, 2, 3·10, 10, 0 (a type that is a number) and isolated oxygen."""
    comments = ("", "config_weight=2", "config_weight=3 config_type=dimer", "config_type=dimer", "config_type=7")
    oxygen = '1\nProperties=species:S:1:pos:R:3 energy=-430 config_type=IsolatedAtom pbc="F F F"\nO 0 0 0\n'
    return [water(-2000 - n, 0.01 * n, comment=comment) for n, comment in enumerate(comments)] + [oxygen]


def test_a_weight_is_that_of_the_structure_times_that_of_its_type(write, tmp_path):
    path = write(frames())
    given = weighted(path, {"dimer": 10, "7": 0}, validation_set={"systems": str(path), "targets": {"energy": {}}})
    prepared = prepare(given, tmp_path / "a")
    expected = {0: 1.0, 1: 2.0, 2: 30.0, 3: 10.0, 4: 0.0}
    assert weights_of(prepared.training) == expected
    assert weights_of(prepared.validation) == expected
    said = " ".join(prepared.warnings)
    assert "`config_weight` was found for 2 of 5 structures" in said
    assert "1 of 5 structures have the weight 0" in said
    without = weighted(path, {"Default": 5}, validation_set=0.0, num_epochs=0)
    assert weights_of(prepare(without, tmp_path / "b").training) == {0: 5.0, 1: 10.0, 2: 3.0, 3: 1.0, 4: 1.0}


def test_weights_stay_with_their_structures_through_the_split_and_in_any_order(write, prepared):
    frames = [water(-2000.0 - n, 0.01 * n, comment=f"config_weight={n}") for n in range(9)]
    data = prepared(write(frames), validation_set=0.4)
    for graphs in (data.training, data.validation):
        backwards = np.arange(len(graphs))[::-1]
        assert graphs.collate(backwards)["weight"].tolist() == graphs.structure_ids[backwards, 1].tolist()
    assert data.training.structure_ids[:, 1].tolist() != list(range(len(data.training)))


def test_structures_without_a_word_about_weights_have_the_weight_one(write, prepared):
    data = prepared(write(waters(4)), validation_set=0.25)
    assert (data.training.collate([0, 1, 2])["weight"] == np.ones(3)).all()
    assert not any("weight" in warning for warning in data.warnings)


def test_other_weights_prepare_the_data_anew(write, tmp_path):
    path, folder = write(frames()), tmp_path / "prepared"
    prepare(weighted(path, {}, validation_set=0.2), folder)
    before = (folder / "prepared.json").read_text()
    prepare(weighted(path, {"dimer": 1}, validation_set=0.2), folder)
    assert (folder / "prepared.json").read_text() != before
    assert load_prepared(folder) is not None


def test_a_folder_of_an_earlier_format_is_not_taken_for_prepared_data(write, tmp_path):
    path, folder = write(waters(4)), tmp_path / "prepared"
    given = options(path, validation_set=0.25)
    prepare(given, folder)
    manifest = folder / "prepared.json"
    manifest.write_text(re.sub(r'"format": \d+', '"format": 1', manifest.read_text()))
    (folder / "training_weights.npy").unlink()  # as it was then
    assert load_prepared(folder) is None
    assert (prepare(given, folder).training.collate([0])["weight"] == 1).all()


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({"dimr": 2}, ["`dimr`", "`7`, `Default`, `dimer`", "Did you mean `dimer`"]),
        ({"IsolatedAtom": 0.1}, ["only isolated atoms have", "baseline"]),
        ({"dimer": 0, "Default": 0, "7": 0}, ["nothing to learn"]),
    ],
)
def test_a_type_that_no_training_structure_has_is_an_error_with_those_there_are(write, tmp_path, types, words):
    with pytest.raises(DataError) as caught:
        prepare(weighted(write(frames()), types, validation_set=0.2), tmp_path / "prepared")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "much", '"1 2"', "T"])
def test_a_weight_that_is_none_is_named_with_file_and_frame(write, tmp_path, value):
    path = write([*waters(2), water(-2001.0, 0.1, comment=f"config_weight={value}")])
    with pytest.raises(DataError) as caught:
        prepare(options(path, validation_set=0.4), tmp_path / "prepared")
    assert f"{path}, frame 2" in str(caught.value) and "`config_weight`" in str(caught.value)


@pytest.mark.parametrize(("picked", "words"), [([0, 1], "nothing to learn"), ([2, 3], "loss is 0 whatever")])
def test_a_set_all_of_whose_structures_have_the_weight_0_is_refused_after_the_split(write, tmp_path, picked, words):
    kinds = ["", "", "config_type=old", "config_type=old"]
    path = write([water(-2000 - n, 0.01 * n, comment=comment) for n, comment in enumerate(kinds)])
    with pytest.raises(DataError, match=words):
        prepare(weighted(path, {"old": 0}, validation_set={"indices": picked}), tmp_path / "prepared")
    without = weighted(path, {"old": 0}, validation_set={"indices": picked}, num_epochs=0)
    assert len(prepare(without, tmp_path / "prepared").training) == 2, "nothing is learnt, so no weight is needed"
