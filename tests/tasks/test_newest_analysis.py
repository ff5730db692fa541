"""The validation that a real training left, as an analysis."""

import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from small_data import options, write_waters

from mace_app.analysis import read_analysis
from mace_app.analysis.errors import Look, pairs, statistics
from mace_app.jobs import RunFolder
from mace_app.jobs.newest import newest_analysis
from mace_app.options import dump_options, parse_options
from mace_app.tasks.analyse import analyse_model
from mace_app.tasks.train import train_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("newest")
    value = options(write_waters(folder / "data.xyz", 20), num_epochs=2)
    run = RunFolder.create(folder / "run", dump_options(parse_options(value)), "Waters")
    assert train_run(run) == "finished", run.info().reason
    return run


def test_it_equals_the_analysis_of_the_last_weights(trained: RunFolder, tmp_path: Path) -> None:
    newest = newest_analysis(trained)
    assert newest is not None
    analyse_model(trained.path, [], tmp_path / "full", which="last", device="cpu")
    whole = read_analysis(tmp_path / "full")
    chosen = whole.structures.split == "validation"
    for name in (field.name for field in fields(whole.structures)):
        if name not in ("map", "uncertainty"):
            np.testing.assert_array_equal(getattr(newest.structures, name), getattr(whole.structures, name)[chosen])
    for name, label in newest.labels.items():
        rows = chosen[whole.structure_of_atom] if label.per_atom else chosen
        other = whole.labels[name]
        assert (label.unit, label.divide_by_atoms) == (other.unit, other.divide_by_atoms)
        np.testing.assert_allclose(label.reference, other.reference[rows], rtol=0, atol=1e-9)


def test_its_errors_are_those_of_the_last_epoch(trained: RunFolder) -> None:
    newest, history = newest_analysis(trained), trained.metrics()
    assert newest is not None and newest.info.model["epoch"] == history.last_epoch == 2
    for label in newest.labels:
        told = statistics(pairs(newest, Look(label)))
        assert told is not None
        assert told.mae == pytest.approx(history.value(f"validation/{label}/mae", 2), rel=1e-6)
        assert told.rmse == pytest.approx(history.value(f"validation/{label}/rmse", 2), rel=1e-6)


def test_without_predictions_or_packed_structures_there_is_none(trained: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(shutil.copytree(trained.path, tmp_path / "copy"))
    shutil.rmtree(copy.data_path)
    assert newest_analysis(copy) is None
    other = RunFolder(shutil.copytree(trained.path, tmp_path / "other"))
    other.parity_file.unlink()
    assert newest_analysis(other) is None


def test_a_unit_that_ends_in_per_atom_is_only_divided_where_the_metrics_are(trained: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(shutil.copytree(trained.path, tmp_path / "copy"))
    text = copy.options_text().replace("per_structure_targets: []", "per_structure_targets: [energy]")
    assert text != copy.options_text()
    (copy.path / "options.yaml").write_text(text)
    newest, parity = newest_analysis(copy), copy.parity()
    assert newest is not None and parity is not None
    np.testing.assert_array_equal(newest.labels["energy"].prediction, parity.labels["energy"].prediction)
    assert not newest.labels["energy"].divide_by_atoms
