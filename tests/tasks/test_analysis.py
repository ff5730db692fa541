"""What an analysis says: the model's own predictions, beside the labels of the right structures."""

import json
import re
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from many_targets import TARGETS
from test_evaluation_of_other_data import molecules, untrained_run

from mace_app.analysis import Analysis, read_analysis
from mace_app.evaluation import compare
from mace_app.jobs import RunFolder
from mace_app.model import Batch, MaceModel
from mace_app.model.foundation import AtomsGraphs
from mace_app.tasks.analyse import analyse_model, own_structures
from mace_app.tasks.errors import TaskError
from mace_app.tasks.evaluate import evaluate_model
from mace_app.tasks.sources import open_model
from mace_app.training import load_checkpoint, load_model


@pytest.fixture
def analysis(run: RunFolder, tmp_path: Path) -> Analysis:
    """Of the run's best epoch on its own structures."""
    analyse_model(run.path, [], tmp_path / "result", device="cpu")
    return read_analysis(tmp_path / "result")


def alone(model: MaceModel, atoms: Atoms) -> dict[str, np.ndarray]:
    """The model called for one structure."""
    graphs = AtomsGraphs([atoms], model.config.cutoff)
    batch = Batch.from_arrays(graphs.collate([0]), model.config.atomic_types, model.device, model.dtype)
    return {name: value.numpy() for name, value in model.physical(batch, model(batch, model.labels)).items()}


def errors(analysis: Analysis, label: str, rows: np.ndarray) -> tuple[float, float]:
    """MAE and RMSE from the columns alone, as docs/analysis-files.md tells."""
    column = analysis.labels[label]
    chosen = rows[analysis.structure_of_atom] if column.per_atom else rows
    difference = (column.prediction - column.reference)[chosen]
    if column.divide_by_atoms:
        difference = difference / analysis.structures.n_atoms[chosen].reshape(-1, *[1] * (difference.ndim - 1))
    return float(np.nanmean(np.abs(difference))), float(np.sqrt(np.nanmean(difference**2)))


def test_errors_from_the_columns_are_those_of_the_run_and_of_evaluate(
    run: RunFolder, analysis: Analysis, tmp_path: Path
) -> None:
    report = run.report()
    assert report is not None
    for split in ("training", "validation"):
        rows = analysis.structures.split == split
        for label, expected in report["splits"][split].items():
            assert errors(analysis, label, rows) == pytest.approx((expected["mae"], expected["rmse"]), rel=1e-12)
    files = [Path(entry["path"]) for entry in analysis.info.data]
    said = analyse_model(run.path, files, tmp_path / "others", device="cpu").splitlines()
    table = evaluate_model(run.path, files, device="cpu").splitlines()
    assert [line for line in table if re.match("energy|label", line)] == said[-4:-1], "to all digits that are shown"
    others = read_analysis(tmp_path / "others")
    value = json.loads(evaluate_model(run.path, files, device="cpu", as_json=True))
    for label, expected in value["errors"].items():
        found = errors(others, label, np.full(len(others), True))
        assert found == pytest.approx((expected["mae"], expected["rmse"]), rel=1e-12)
    assert set(others.structures.split) == {""} and np.isnan(others.structures.uncertainty).all()


def test_predictions_are_those_of_the_model_called_directly(run: RunFolder, analysis: Analysis) -> None:
    model = load_model(run.path)
    atomic = dict(zip(model.config.atomic_types, model.baseline.values("energy")[:, 0].tolist(), strict=True))
    for structure in range(len(analysis)):
        atoms = analysis.atoms(structure)
        for name, expected in alone(model, atoms).items():
            rows = analysis.rows(name, structure)
            np.testing.assert_allclose(analysis.labels[name].prediction[rows], expected, rtol=0, atol=1e-12)
        baseline = analysis.labels["energy"].baseline
        assert baseline is not None and baseline[structure] == pytest.approx(sum(atomic[z] for z in atoms.numbers))


def test_every_row_names_the_structure_it_came_from(run: RunFolder, analysis: Analysis) -> None:
    table = analysis.structures
    assert set(analysis.labels) == {"energy", "energy.forces"}
    for row in range(len(analysis)):
        atoms = ase.io.read(table.dataset[row], index=int(table.frame[row]))
        np.testing.assert_array_equal(atoms.positions, analysis.atoms(row).positions)
        assert table.group[row] == atoms.info.get("config_type", "")
        assert table.formula[row] == atoms.get_chemical_formula()
        reference = analysis.labels["energy"].reference[row]
        assert reference == atoms.calc.results["energy"], "undivided"
        forces = analysis.labels["energy.forces"].reference[analysis.rows("energy.forces", row)]
        np.testing.assert_array_equal(forces, atoms.calc.results["forces"])
    names = [Path(path).name for path in table.dataset]
    assert {(name, group) for name, group in zip(names, table.group, strict=True)} == {
        ("a.xyz", "warm"),
        ("a.xyz", "cold"),
        ("b.xyz", ""),
    }
    splits = run.splits()
    assert splits is not None
    for split, positions in splits.items():
        rows = table.split == split
        first = np.array([0 if name == "a.xyz" else 13 for name in names])
        assert sorted((first + table.frame)[rows]) == sorted(positions)
    assert not ((table.frame == 0) & (np.array(names) == "a.xyz")).any(), "the isolated atom is in no split"


def test_the_map_is_the_same_for_every_size_of_batch_and_separates_kinds(run: RunFolder, tmp_path: Path) -> None:
    source = open_model(run.path)
    parts = own_structures(run, source, tmp_path / "scratch").parts
    assert not (tmp_path / "scratch").exists(), "the run's own packed structures are used"
    first, second = (compare(source.model, parts, "", structures_at_once=size) for size in (1, 7))
    assert first.map is not None and second.map is not None
    assert first.map["method"] == "PCA" and sum(first.map["explained"]) <= 1 + 1e-12
    np.testing.assert_allclose(first.structures.map, second.structures.map, rtol=0, atol=1e-10)
    np.testing.assert_allclose(first.structures.uncertainty, second.structures.uncertainty, rtol=1e-8)
    for name, label in first.labels.items():
        np.testing.assert_allclose(label.prediction, second.labels[name].prediction, rtol=0, atol=1e-10)
    water = first.structures.n_atoms == 3
    across = first.structures.map[:, 0]
    assert across[water].max() < across[~water].min() or across[water].min() > across[~water].max()


def test_the_last_epoch_is_judged_by_its_averaged_weights(run: RunFolder, tmp_path: Path) -> None:
    analyse_model(run.path, [], tmp_path / "last", which="last", device="cpu")
    last = read_analysis(tmp_path / "last")
    report = run.report()
    assert report is not None and last.info.model["which"] == "last"
    assert report["best_epoch"] == last.info.model["epoch"] == 2, "so the report is of the same weights"
    found = errors(last, "energy", last.structures.split == "validation")
    expected = report["splits"]["validation"]["energy"]
    assert found == pytest.approx((expected["mae"], expected["rmse"]), rel=1e-9)
    own = load_checkpoint(run.checkpoint_path("last"))
    assert any((own.group("average")[name] != own.group("model")[name]).any() for name in own.group("average"))


def test_uncertainty_is_there_for_every_structure_and_calibrated_on_the_validation_set(analysis: Analysis) -> None:
    about = analysis.info.uncertainty
    assert about is not None and (about["method"], about["target"], about["unit"]) == ("LLPR", "energy", "eV")
    assert about["calibration"]["structures"] == (analysis.structures.split == "validation").sum()
    assert (analysis.structures.uncertainty > 0).all()


def test_labels_of_every_kind_are_stored_with_their_shape(tmp_path: Path) -> None:
    data = molecules(tmp_path / "a.xyz", [name for name in TARGETS])
    run = untrained_run(tmp_path, [data])
    written = tmp_path / "data.yaml"
    written.write_text(json.dumps(data))
    analyse_model(run, [written], tmp_path / "result", device="cpu")
    analysis = read_analysis(tmp_path / "result")
    model = load_model(run)
    assert set(analysis.labels) == model.labels
    predicted = alone(model, analysis.atoms(4))
    evaluated = json.loads(evaluate_model(run, [written], as_json=True))["errors"]
    for name, label in analysis.labels.items():
        np.testing.assert_allclose(label.prediction[analysis.rows(name, 4)], predicted[name], atol=1e-10)
        assert not np.isnan(label.reference).any() and label.reference.shape == label.prediction.shape
        found = errors(analysis, name, np.full(len(analysis), True))
        assert found == pytest.approx((evaluated[name]["mae"], evaluated[name]["rmse"]), rel=1e-9)
    assert analysis.info.targets == model.config.targets


def test_virials_are_compared_as_virials_and_labels_that_lack_are_nan(tmp_path: Path) -> None:
    frames = []
    for size in (4.0, 4.2, 4.4):
        atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.9]], cell=[size] * 3, pbc=True)
        atoms.info |= {"E": size, "W": np.eye(3) * size}
        frames.append(atoms)
    del frames[1].info["W"]
    ase.io.write(tmp_path / "a.xyz", frames, format="extxyz")
    energy = {"quantity": "energy", "key": "E", "unit": "eV", "forces": False, "virial": {"key": "W"}}
    data = {"systems": {"read_from": str(tmp_path / "a.xyz"), "length_unit": "angstrom"}, "targets": {"energy": energy}}
    run = untrained_run(tmp_path, [data])
    analyse_model(run, [tmp_path / "a.xyz"], tmp_path / "result", device="cpu")
    analysis = read_analysis(tmp_path / "result")
    virial = analysis.labels["energy.stress"]
    assert (virial.unit, virial.divide_by_atoms, virial.per_atom) == ("eV", True, False)
    np.testing.assert_allclose(virial.reference[[0, 2]], [np.eye(3) * 4.0, np.eye(3) * 4.4], atol=1e-12)
    assert np.isnan(virial.reference[1]).all() and np.isfinite(virial.prediction).all()
    value = json.loads(evaluate_model(run, [tmp_path / "a.xyz"], as_json=True))["errors"]["energy.stress"]
    assert value["unit"] == "eV/atom"
    found = errors(analysis, "energy.stress", np.full(3, True))
    assert found == pytest.approx((value["mae"], value["rmse"]), rel=1e-9)


def test_what_can_not_be_done_is_a_sentence(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(TaskError, match=r"holds no analysis\. Name another folder"):
        analyse_model(run.path, [], tmp_path / "mine")
    with pytest.raises(TaskError, match="There is no"):
        analyse_model(tmp_path / "nothing", [], tmp_path / "result")
    checkpoint = tmp_path / "alone.safetensors"
    checkpoint.write_bytes(run.checkpoint_path("best").read_bytes())
    with pytest.raises(TaskError, match="no structures of its own"):
        analyse_model(checkpoint, [], tmp_path / "result")
    source = open_model(run.path)
    changed = [entry | {"sha256": "0"} for entry in run.info().data or []]
    run.update(lambda now: replace(now, data=changed))
    rebuilt = own_structures(run, source, tmp_path / "scratch")
    assert (tmp_path / "scratch").is_dir() and rebuilt.structures == 20, "what lies in the run was not trusted"
