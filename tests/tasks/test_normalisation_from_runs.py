"""Baselines and scales taken from another run of ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_data import options, write_waters

from mace_app.data import PreparedData, prepare
from mace_app.model import Baseline, MaceModel, ModelConfig, Scaler
from mace_app.options import OptionsError, RunOptions, load_options, parse_options
from mace_app.tasks.errors import TaskError
from mace_app.tasks.normalisation import normalise
from mace_app.tasks.train import make_model
from mace_app.training.checkpoint import model_checkpoint, save_checkpoint
from mace_app.training.errors import CheckpointError


def setting(data: Path, targets: Any = None, **training: Any) -> RunOptions:
    tree = options(data, **training)
    if targets is not None:
        tree["training_set"]["targets"] = targets
    return parse_options(tree)


def prepared_of(options: RunOptions, folder: Path) -> tuple[PreparedData, ModelConfig]:
    data = prepare(options, folder)
    return data, make_model(options, data).config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with one checkpoint whose baseline and scale nobody would measure."""
    chosen = setting(write_waters(tmp_path / "first.xyz"))
    _, config = prepared_of(chosen, tmp_path / "first")
    model = MaceModel(config, torch.float64)
    model.baseline.set("energy", np.array([[-111.0], [-888.0]]))
    model.scaler.set("energy", 0.125)
    path = tmp_path / "run" / "checkpoints" / "best.safetensors"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, model_checkpoint(config, 64, model.state_dict(), "best", 3))
    return tmp_path / "run"


def normalised(options: RunOptions, folder: Path) -> tuple[Baseline, Scaler, str]:
    data, config = prepared_of(options, folder)
    baseline, scaler = Baseline(config), Scaler(config)
    found = normalise(config, baseline, scaler, options.architecture.training, data)
    return baseline, scaler, "\n".join(found.lines())


@pytest.mark.parametrize("part", ["", "checkpoints/best.safetensors"])
def test_a_run_or_a_checkpoint_brings_its_baseline_and_scale(run: Path, tmp_path: Path, part: str) -> None:
    path = str(run / part)
    chosen = setting(write_waters(tmp_path / "a.xyz"), atomic_baseline=path, fixed_scaling_weights=path)
    baseline, scaler, said = normalised(chosen, tmp_path / "a")
    assert baseline.values("energy")[:, 0].tolist() == [-111.0, -888.0]
    assert scaler.scale("energy").tolist() == [0.125]
    assert "(given)" in said and "Warning" not in said


def test_what_the_other_run_does_not_know_is_measured_with_a_warning(run: Path, tmp_path: Path) -> None:
    data = write_waters(tmp_path / "b.xyz")
    sulphur = write_waters(tmp_path / "c.xyz").read_text().replace("\nO ", "\nS ")
    data.write_text(data.read_text() + sulphur)
    targets = {"energy": {"unit": "eV", "forces": "forces"}, "mtt::twin": {"key": "energy"}}
    chosen = setting(data, targets, atomic_baseline=str(run))
    baseline, _, said = normalised(chosen, tmp_path / "b")
    assert baseline.values("energy")[:2, 0].tolist() == [-111.0, -888.0]
    assert baseline.values("energy")[2, 0] == pytest.approx(192, abs=5), "3 atoms of −10 eV beside two given −111"
    assert "does not know S; `energy` is measured there" in said
    assert "has no target `mtt::twin`; its values are measured" in said


def test_a_run_whose_target_is_another_thing_is_refused(run: Path, tmp_path: Path) -> None:
    chosen = setting(write_waters(tmp_path / "d.xyz"), {"energy": {"unit": "kcal/mol"}}, atomic_baseline=str(run))
    with pytest.raises(TaskError, match="unit"):
        normalised(chosen, tmp_path / "d")
    (tmp_path / "foreign.safetensors").write_text("no checkpoint")
    chosen = setting(tmp_path / "d.xyz", atomic_baseline=str(tmp_path / "foreign.safetensors"))
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        normalised(chosen, tmp_path / "d")


def test_a_run_that_is_not_there_is_missed_before_anything_is_read(tmp_path: Path) -> None:
    write_waters(tmp_path / "e.xyz")
    file = tmp_path / "options.yaml"
    file.write_text(
        f"training_set: {tmp_path}/e.xyz\narchitecture: {{training: {{atomic_baseline: {tmp_path}/nothing}}}}\n"
    )
    with pytest.raises(OptionsError, match=r"architecture\.training\.atomic_baseline: There is no file"):
        load_options(file, check_files=True)


def test_numbers_for_elements_that_the_model_does_not_know_are_questioned_where_others_are_missing(
    tmp_path: Path,
) -> None:
    data = write_waters(tmp_path / "f.xyz")
    _, _, said = normalised(setting(data, atomic_baseline={"energy": {1: -1.0, 16: -9.0}}), tmp_path / "f")
    assert "`atomic_baseline.energy` has numbers for S (16), which the model does not know" in said
    whole = {"energy": {1: -1.0, 8: -2.0, 16: -9.0}}
    _, _, said = normalised(setting(data, atomic_baseline=whole), tmp_path / "g")
    assert "does not know" not in said, "a table for many elements is usual"
