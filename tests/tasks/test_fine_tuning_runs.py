"""Runs that start from a ``.model`` file and change a part of it, from options to exported files and resumed ones."""

import json
import sys
from pathlib import Path

import pytest
import torch
from small_data import options, write_waters

from mace_app.jobs import RunFolder
from mace_app.model import LoRA
from mace_app.options import dump_options, parse_options
from mace_app.tasks.train import train_run
from mace_app.training import load_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "foundation"))
from mace_files import TWO_HEADS, build, save


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save(build(r_max=3.0, max_ell=1, **TWO_HEADS), tmp_path_factory.mktemp("file") / "two.model")


def begin(tmp_path, file, **training):
    value = options(write_waters(tmp_path / "data.xyz"), **training)
    value["architecture"]["model"] = {
        "mace_model": str(file),
        "mace_head_name": "dft",
        "more_mace_heads": {"energy/cc": "ccsd"},
    }
    return RunFolder.create(tmp_path / "run", dump_options(parse_options(value)), "run")


def state(run, kind="last"):
    return {name: value.clone() for name, value in load_model(run.checkpoint_path(kind)).state_dict().items()}


def test_a_run_with_corrections_is_exported_with_them_merged(tmp_path, file):
    run = begin(tmp_path, file, lora_rank=2, num_epochs=2)
    assert train_run(run) == "finished", run.info().reason
    model = load_model(run.checkpoint_path("best"))
    assert model.config.lora == LoRA(2, 1.0) and any(f.any() for f in model.corrections.parameters())
    report = json.loads((run.path / "report.json").read_text())
    assert report["export"]["checks"] and report["native"]["checks"]
    trained = sum(
        w.numel() for n, w in model.named_parameters() if n.startswith(("corrections.", "backbone.readouts."))
    )
    count = sum(w.numel() for w in model.parameters())
    assert f"Trains {trained:,} of {count:,} weights" in run.log_file.read_text()


def test_with_a_frozen_backbone_a_head_without_data_is_carried_along_with_its_bits(tmp_path, file):
    run = begin(tmp_path, file, freeze="backbone", num_epochs=1, optimizer="adamw")
    assert train_run(run) == "finished", run.info().reason
    before = state(run)
    run.write_options(run.options_text().replace("num_epochs: 1", "num_epochs: 3"))
    run.requeue()
    assert train_run(run) == "finished", run.info().reason
    after = state(run)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("backbone.readouts.") for name in moved)
    assert "energy/cc" in load_model(run.checkpoint_path("best")).config.carried


def test_more_frozen_layers_than_the_file_has_fail_with_a_sentence(tmp_path, file):
    run = begin(tmp_path, file, freeze="layers", freeze_layers=3)
    assert train_run(run) == "failed"
    assert run.info().reason.startswith("`freeze_layers: 3` is more than the 2 interaction layers of this model.")
