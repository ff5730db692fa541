"""A run's model on structures that its options did not know of."""

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from many_targets import TARGETS, options, write_molecules

from mace_app.data import prepare
from mace_app.options import parse_options
from mace_app.tasks.errors import TaskError
from mace_app.tasks.evaluate import evaluate_model
from mace_app.tasks.folders import new_run
from mace_app.tasks.train import make_model
from mace_app.training import save_checkpoint
from mace_app.training.checkpoint import model_checkpoint


def untrained_run(folder: Path, sets: list[dict[str, Any]]) -> Path:
    """The folder of a run with random weights."""
    value = options(folder / "unused.xyz", num_epochs=0)
    value["training_set"], value["validation_set"] = sets, 0.0
    chosen = parse_options(value)
    model = make_model(chosen, prepare(chosen, folder / "prepared"))
    run = new_run(chosen, folder / "run", "a")
    checkpoint = model_checkpoint(model.config, 64, model.state_dict(), kind="best", epoch=0, length_unit="angstrom")
    save_checkpoint(run.checkpoint_path("best"), checkpoint)
    return run.path


def molecules(path: Path, names: list[str], seed: int = 0, count: int = 6, **more: Any) -> dict[str, Any]:
    """A data set of the file that is written."""
    write_molecules(path, count, without=False, seed=seed)
    targets = {name: TARGETS[name] for name in names}
    return {"systems": {"read_from": str(path), "length_unit": "angstrom"}, "targets": targets, **more}


def errors(run: Path, data: Path) -> dict[str, Any]:
    return json.loads(evaluate_model(run, [data], as_json=True))


def test_targets_of_every_training_set_are_evaluated(tmp_path: Path) -> None:
    energies = molecules(tmp_path / "a.xyz", ["energy"])
    energies["targets"] = {"energy": {**TARGETS["energy"], "forces": False}}
    others = molecules(tmp_path / "b.xyz", ["energy", "mtt::gap", "charge"])
    run = untrained_run(tmp_path, [energies, others])
    write_molecules(tmp_path / "c.xyz", 3, without=False, seed=5)
    assert set(errors(run, tmp_path / "c.xyz")["errors"]) == {"energy", "energy.forces", "mtt::gap", "charge"}


def test_labels_that_other_structures_lack_are_named_and_the_rest_is_compared(tmp_path: Path) -> None:
    run = untrained_run(tmp_path, [molecules(tmp_path / "a.xyz", ["energy", "mtt::gap"])])
    frames = ase.io.read(tmp_path / "a.xyz", ":")
    for frame in frames:
        del frame.info["gap"]
    ase.io.write(tmp_path / "b.xyz", frames, format="extxyz")
    found = errors(run, tmp_path / "b.xyz")
    assert set(found["errors"]) == {"energy", "energy.forces"}
    assert any("`mtt::gap` (key `gap`) is known for no structure" in warning for warning in found["warnings"])

    bare = [Atoms(frame.numbers, frame.positions) for frame in frames]
    ase.io.write(tmp_path / "c.xyz", bare, format="extxyz")
    said = evaluate_model(run, [tmp_path / "c.xyz"], output=tmp_path / "predicted.npz")
    assert "There are no labels to compare with." in said
    with np.load(tmp_path / "predicted.npz") as predicted:
        assert predicted["mtt::gap"].shape == (6, 1) and predicted["energy"].shape == (6, 1)


def test_masks_of_the_run_hold_in_an_evaluation(tmp_path: Path) -> None:
    data = molecules(tmp_path / "a.xyz", ["mtt::dos"], extra_data={"mtt::dos_mask": {"key": "known"}})
    frames = ase.io.read(tmp_path / "a.xyz", ":")
    for frame in frames:
        frame.info["known"] = np.array([True, True, False, False, False, False])
    ase.io.write(tmp_path / "a.xyz", frames, format="extxyz")
    run = untrained_run(tmp_path, [data])
    assert errors(run, tmp_path / "a.xyz")["errors"]["mtt::dos"]["count"] == 2 * 6

    write_molecules(tmp_path / "b.xyz", 3, without=False)
    found = errors(run, tmp_path / "b.xyz")
    assert found["errors"]["mtt::dos"]["count"] == 6 * 3
    assert any("no structure has the key `known`" in warning for warning in found["warnings"])


def test_a_symmetric_model_is_compared_with_tensors_that_are_not_quite_symmetric(tmp_path: Path) -> None:
    run = untrained_run(tmp_path, [molecules(tmp_path / "a.xyz", ["mtt::alpha"])])
    frames = ase.io.read(tmp_path / "a.xyz", ":")
    for frame in frames:
        frame.info["alpha"] = frame.info["alpha"] + np.array([[0, 0.1, 0], [0, 0, 0], [0, 0, 0]])
    ase.io.write(tmp_path / "b.xyz", frames, format="extxyz")
    assert errors(run, tmp_path / "b.xyz")["errors"]["mtt::alpha"]["count"] == 9 * 6


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"num_subtargets": 1, "key": "gap"}, "shape"), ({"unit": "eV"}, "unit"), ({"aggregate": "mean"}, None)],
)
def test_a_target_that_is_another_thing_than_the_models_is_refused(
    tmp_path: Path, changed: dict[str, Any], named: str | None
) -> None:
    data = molecules(tmp_path / "a.xyz", ["mtt::dos"])
    data["targets"]["mtt::dos"] = {**TARGETS["mtt::dos"], "unit": "1/eV"}
    run = untrained_run(tmp_path, [data])
    data["targets"]["mtt::dos"] = {**data["targets"]["mtt::dos"], **changed}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(data))
    if named is None:
        errors(run, tmp_path / "test.yaml")
        return
    with pytest.raises(TaskError, match=f"The {named} of `mtt::dos`"):
        errors(run, tmp_path / "test.yaml")
