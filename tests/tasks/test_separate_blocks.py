"""``log_separate_blocks`` from the options to every file of a run."""

from pathlib import Path

import numpy as np
import pytest
from many_targets import TARGETS, options, write_molecules
from small_data import write_options

from mace_app.__main__ import main
from mace_app.jobs import RunFolder

NAME = "mtt::multipoles"
BLOCKS = [f"{NAME} (λ=0 σ=+1)", f"{NAME} (λ=2 σ=+1)"]


def trained(folder: Path, separate: bool) -> RunFolder:
    value = options(write_molecules(folder / "data.xyz", 12, without=False), num_epochs=1, log_separate_blocks=separate)
    value["training_set"]["targets"] = {NAME: TARGETS[NAME]}
    run = folder / f"run-{separate}"
    assert main(["train", str(write_options(folder / "options.yaml", value)), "-o", str(run)]) == 0
    return RunFolder(run)


def test_each_irrep_has_errors_of_its_own_and_nothing_else_changes(tmp_path: Path) -> None:
    run, plain = trained(tmp_path, True), trained(tmp_path, False)
    metrics, before = run.metrics(), plain.metrics()
    assert metrics.labels == [NAME, *BLOCKS] and before.labels == [NAME]
    record = metrics.epochs[-1]
    parity = run.parity().labels
    for split in ("train", "validation"):
        whole, scalar, tensor = (record[f"{split}/{label}/rmse"] for label in (NAME, *BLOCKS))
        assert whole**2 * 6 == pytest.approx(scalar**2 + tensor**2 * 5)
    tensor = parity[BLOCKS[1]]
    assert tensor.reference.shape == (3, 5)
    assert np.array_equal(tensor.reference, parity[NAME].reference[:, 1:])
    assert abs(tensor.prediction - tensor.reference).mean() == pytest.approx(record[f"validation/{BLOCKS[1]}/mae"])
    for label in (NAME, *BLOCKS):
        assert run.report()["splits"]["validation"][label]["mae"] == pytest.approx(record[f"validation/{label}/mae"])
    same = [key for key in before.epochs[-1] if key not in ("seconds", "structures_per_second")]
    assert {key: record[key] for key in same} == {key: before.epochs[-1][key] for key in same}
