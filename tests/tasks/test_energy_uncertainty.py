"""The uncertainty of the energy from the end of a training to exported files."""

import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from many_targets import TARGETS, write_molecules
from many_targets import options as options_of_many
from metatomic.torch import ModelOutput, load_atomistic_model
from metatomic_ase import MetatomicCalculator
from small_data import frame, options, waters, write_options

from mace_app.__main__ import main
from mace_app.analysis import read_analysis
from mace_app.data import prepare
from mace_app.jobs import RunFolder
from mace_app.model import EnergyUncertainty
from mace_app.options import parse_options
from mace_app.tasks.analyse import analyse_model
from mace_app.tasks.export import export_model
from mace_app.tasks.folders import new_run
from mace_app.tasks.recorder import RunRecorder
from mace_app.tasks.train import make_model, train_run
from mace_app.tasks.uncertainty import find_uncertainties
from mace_app.training import (
    CheckpointError,
    load_checkpoint,
    load_model,
    put_uncertainties,
    save_checkpoint,
    uncertainties_of,
)
from mace_app.training.checkpoint import model_checkpoint

REQUEST = {"energy_uncertainty": ModelOutput(unit="eV", sample_kind="system")}


def sigmas(model: Path, structures: list[Atoms]) -> np.ndarray:
    calculator = MetatomicCalculator(model, device="cpu", check_consistency=True)
    return calculator.run_model(structures, REQUEST)["energy_uncertainty"].block().values[:, 0].numpy()


def test_an_export_says_what_the_analysis_says(run: RunFolder, tmp_path: Path) -> None:
    analyse_model(run.path, [], tmp_path / "result", device="cpu")
    analysis = read_analysis(tmp_path / "result")
    structures = [analysis.atoms(row) for row in range(len(analysis))]
    np.testing.assert_allclose(sigmas(run.model_file, structures), analysis.structures.uncertainty, rtol=1e-8)
    (kept,) = uncertainties_of(load_checkpoint(run.checkpoint_path("best"))).values()
    about = analysis.info.uncertainty
    assert about is not None and kept.alpha == pytest.approx(about["alpha"], rel=1e-8)
    assert kept.regulariser == pytest.approx(about["regulariser"], rel=1e-8)
    assert kept.trained_on == (analysis.structures.split == "training").sum()
    assert kept.calibrated_on == about["calibration"]["structures"]
    assert kept.within_one == about["calibration"]["within_one_sigma"]


def test_report_and_log_tell_of_it(run: RunFolder) -> None:
    report = run.report()
    assert report is not None
    assert set(report["uncertainty"]["energy"]) == {
        "alpha",
        "regulariser",
        "trained_on",
        "calibrated_on",
        "within_one",
        "within_two",
    }
    assert "energy_uncertainty" in {check["label"] for check in report["export"]["checks"]}
    splits, log = run.splits(), run.log_file.read_text()
    assert splits is not None
    counts = f"from {len(splits['training'])} training structures, calibrated on {len(splits['validation'])} validation"
    assert f"Uncertainty of energy: {counts} structures" in log
    assert "few structures; take it as a rough guess" in log


def test_copies_and_exports_of_them_and_of_the_checkpoint_alone_give_the_same(run: RunFolder, tmp_path: Path) -> None:
    structures = waters(3, seed=9)
    expected = sigmas(run.model_file, structures)
    shutil.copytree(run.path, tmp_path / "copy")
    assert main(["export", str(tmp_path / "copy"), "-o", str(tmp_path / "again.pt")]) == 0
    np.testing.assert_array_equal(sigmas(tmp_path / "again.pt", structures), expected)
    shutil.copy(run.checkpoint_path("best"), tmp_path / "alone.safetensors")
    ase.io.write(tmp_path / "structures.xyz", structures, format="extxyz")
    export_model(tmp_path / "alone.safetensors", tmp_path / "alone.pt", tmp_path / "structures.xyz")
    np.testing.assert_array_equal(sigmas(tmp_path / "alone.pt", structures), expected)


def test_runs_of_older_versions_export_without_and_get_one_when_resumed(run: RunFolder, tmp_path: Path) -> None:
    path = run.checkpoint_path("best")
    new = load_checkpoint(path)
    old = load_checkpoint(path)
    del old.tensors["uncertainty/energy"], old.header["uncertainty"]
    save_checkpoint(path, old)
    report = export_model(run.path, tmp_path / "old.pt")
    assert "energy_uncertainty" not in {check.label for check in report.checks}
    assert "energy_uncertainty" not in load_atomistic_model(tmp_path / "old.pt").capabilities().outputs
    run.set_state("interrupted")
    assert train_run(run) == "finished"
    again = load_checkpoint(path)
    assert again.header["uncertainty"] == new.header["uncertainty"]
    assert torch.equal(again.tensors["uncertainty/energy"], new.tensors["uncertainty/energy"])


def test_one_that_is_damaged_is_named(run: RunFolder, tmp_path: Path) -> None:
    path = run.checkpoint_path("best")
    for tensor, header in ((torch.ones(2, 3), None), (torch.full((2, 2), torch.nan), None), (None, {"energy": {}})):
        broken = load_checkpoint(path)
        if tensor is not None:
            broken.tensors["uncertainty/energy"] = tensor
        if header is not None:
            broken.header["uncertainty"] = header
        save_checkpoint(tmp_path / "broken.safetensors", broken)
        with pytest.raises(CheckpointError, match=r"The uncertainty of `energy` in .* is damaged\. Resume the run"):
            uncertainties_of(load_checkpoint(tmp_path / "broken.safetensors"))
        load_model(tmp_path / "broken.safetensors")


def log_of(value: dict, folder: Path) -> str:
    """Of the end of a run that trained nothing, whose checkpoint has an uncertainty from before."""
    chosen = parse_options(value)
    run = new_run(chosen, folder / "run", "a")
    prepared = prepare(chosen, folder / "prepared")
    model = make_model(chosen, prepared)
    before = model_checkpoint(model.config, 64, model.state_dict(), kind="best", epoch=0)
    put_uncertainties(before, {"energy": EnergyUncertainty(np.eye(2), 1.0, 1.0, 3, 3, 1.0, 1.0)})
    save_checkpoint(run.checkpoint_path("best"), before)
    assert find_uncertainties(model.eval(), run, prepared, 4, RunRecorder(run)) == {}
    after = load_checkpoint(run.checkpoint_path("best"))
    assert not uncertainties_of(after) and after.group("model").keys() == before.group("model").keys()
    return run.log_file.read_text()


def test_too_few_validation_structures_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("".join(frame(atoms) for atoms in waters(8)))
    log = log_of(options(tmp_path / "a.xyz"), tmp_path)
    assert "no uncertainty of energy: 2 validation structures have this energy, and it takes at least 3" in log


def test_without_an_energy_it_is_said(tmp_path: Path) -> None:
    write_molecules(tmp_path / "a.xyz", 8, without=False)
    value = options_of_many(tmp_path / "a.xyz")
    value["training_set"]["targets"] = {"mtt::gap": TARGETS["mtt::gap"]}
    log = log_of(value, tmp_path)
    assert "The export has no uncertainty: the model has no target `energy` or variant of it." in log


def test_with_an_energy_that_has_none_no_other_has_one(tmp_path: Path) -> None:
    """Or ASE, told to use the variant, would refuse the file."""
    (tmp_path / "a.xyz").write_text("".join(frame(atoms) for atoms in waters(16)))
    (tmp_path / "b.xyz").write_text("".join(frame(atoms, key="other") for atoms in waters(3, seed=5)))
    value = options(tmp_path / "a.xyz")
    variant = {"quantity": "energy", "key": "other", "unit": "eV", "forces": None}
    first = value["training_set"]
    value["training_set"] = [first, {"systems": str(tmp_path / "b.xyz"), "targets": {"energy/other": variant}}]
    value["validation_set"] = {"systems": str(tmp_path / "a.xyz"), "targets": first["targets"]}
    log = log_of(value, tmp_path)
    assert "no uncertainty of energy/other: 0 validation structures" in log and "Nor of energy:" in log


def test_a_run_that_is_stopped_at_once_does_not_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunRecorder, "stop_mode", lambda self: "now")
    (tmp_path / "a.xyz").write_text("".join(frame(atoms) for atoms in waters(16)))
    assert "no uncertainty of energy: the run was stopped meanwhile." in log_of(options(tmp_path / "a.xyz"), tmp_path)


@pytest.mark.slow
def test_about_two_thirds_of_the_errors_on_other_structures_are_within_one_sigma(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("".join(frame(atoms) for atoms in waters(240, seed=3)))
    value = options(tmp_path / "a.xyz", num_epochs=16)
    value |= {"validation_set": 0.25, "test_set": 0.5, "final_eval": False}
    file = write_options(tmp_path / "options.yaml", value)
    assert main(["train", str(file), "-o", str(tmp_path / "run")]) == 0
    run = RunFolder(tmp_path / "run")
    splits = run.splits()
    assert splits is not None
    held_out = [ase.io.read(tmp_path / "a.xyz", index=index) for index in splits["test"]]
    sigma = sigmas(run.model_file, held_out)
    energies = MetatomicCalculator(run.model_file, device="cpu").run_model(
        held_out, {"energy": ModelOutput(unit="eV", sample_kind="system")}
    )
    errors = energies["energy"].block().values[:, 0].numpy() - [atoms.get_potential_energy() for atoms in held_out]
    within = np.mean(np.abs(errors) < sigma)
    assert len(held_out) >= 100 and 0.5 < within < 0.85
    assert np.mean((errors / sigma) ** 2) == pytest.approx(1, abs=0.5)
    far = [Atoms(atoms.numbers, 1.25 * atoms.positions) for atoms in held_out[:20]]
    assert np.median(sigmas(run.model_file, far)) > np.median(sigma)
