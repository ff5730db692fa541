"""Steps in less than full precision: where they happen, what comes after them, and what is said about their cost."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import Trainer, begin, prepare_clusters

from mace_app.model import MaceModel
from mace_app.training.precision import matmul_precision


@pytest.fixture
def data(tmp_path: Path):
    return prepare_clusters(tmp_path)


def make(data, folder: Path, epochs: int = 2, **training) -> tuple[Trainer, list[str]]:
    folder.mkdir()
    trainer, recorder = begin(data, folder, num_epochs=epochs, batch_size=4, precision=32, **training)
    assert trainer.model.dtype == torch.float32
    return trainer, recorder.lines


def test_steps_only_are_computed_so_and_the_setting_is_put_back(data, tmp_path, monkeypatch):
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    forward = MaceModel.forward

    def watched(self, batch, labels, create_graph=False):
        seen[create_graph].add(torch.get_float32_matmul_precision())
        return forward(self, batch, labels, create_graph)

    before = torch.get_float32_matmul_precision()
    trainer, _ = make(data, tmp_path / "run", matmul_precision="tf32")
    monkeypatch.setattr("mace_app.training.trainer.cost_of_precision", lambda *arguments: "")
    monkeypatch.setattr(MaceModel, "forward", watched)
    trainer.run()
    assert before == "highest"
    assert seen == {True: {"high"}, False: {"highest"}}
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(KeyError), matmul_precision("bf16"):
        raise KeyError
    assert torch.get_float32_matmul_precision() == before


def test_the_log_tells_what_it_costs_before_and_after(data, tmp_path, monkeypatch):
    """Not every processor rounds, so products are made less exact by hand: forces are 1 % off."""
    forward = MaceModel.forward

    def rounding(self, batch, labels, create_graph=False):
        found = forward(self, batch, labels, create_graph)
        rough = torch.get_float32_matmul_precision() == "medium"
        return {label: value * 1.01 if rough and "forces" in label else value for label, value in found.items()}

    monkeypatch.setattr(MaceModel, "forward", rounding)
    trainer, lines = make(data, tmp_path / "run", matmul_precision="bf16")
    errors = []
    for _ in range(2):
        ready = trainer._load(np.arange(4))
        forces = trainer.model.physical(ready.batch, trainer.model(ready.batch, {"energy.forces"}))["energy.forces"]
        errors.append(10 * float(forces.square().mean().sqrt()))
        if len(errors) == 1:
            trainer.run()
    told = [line for line in lines if line.startswith("`matmul_precision: bf16`")]
    epochs = [number for number, line in enumerate(lines) if line.startswith("Epoch")]
    assert [lines.index(line) for line in told] == [min(epochs) - 1, max(epochs) + 1], lines
    for line, error in zip(told, errors, strict=True):
        found = re.search(r"energy\.forces ([\d.]+) meV/Å", line)
        assert found is not None
        # A processor that does round adds a little.
        assert float(found[1]) == pytest.approx(error, rel=0.05)


def test_a_device_that_does_not_round_is_named(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda name: None)
    trainer, lines = make(data, tmp_path / "run", matmul_precision="bf16")
    trainer.run()
    assert "changes nothing here" in lines[0]


def test_full_precision_says_nothing(data, tmp_path):
    trainer, lines = make(data, tmp_path / "run")
    trainer.run()
    assert not [line for line in lines if "matmul_precision" in line]


def test_it_is_told_after_an_early_end_too_and_for_a_batch_within_the_bounds(data, tmp_path, monkeypatch):
    sizes: list[int] = []
    forward = MaceModel.forward

    def watched(self, batch, labels, create_graph=False):
        sizes.append(len(batch.numbers))
        return forward(self, batch, labels, create_graph)

    monkeypatch.setattr(MaceModel, "forward", watched)
    trainer, lines = make(
        data,
        tmp_path / "run",
        matmul_precision="bf16",
        batch_atom_bounds=[None, 10],
        early_stopping_patience=1,
        learning_rate=0.2,
        stop_when_diverging=False,
        epochs=20,
    )
    result = trainer.run()
    assert result.last_epoch < 20 and "early_stopping_patience" in result.reason
    assert len([line for line in lines if line.startswith("`matmul_precision")]) == 2
    assert max(sizes) <= 10


def test_where_memory_is_not_enough_for_it_the_training_goes_on(data, tmp_path, monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("mace_app.training.trainer.cost_of_precision", fail)
    trainer, lines = make(data, tmp_path / "run", matmul_precision="bf16")
    assert trainer.run().last_epoch == 2
    assert len([line for line in lines if "was not measured. The memory of the GPU" in line]) == 2


def test_digits_that_differ_in_equal_passes_are_no_effect(data, tmp_path, monkeypatch):
    """As on a GPU, which adds in another order every time."""
    noise = torch.Generator().manual_seed(0)
    forward = MaceModel.forward

    def noisy(self, batch, labels, create_graph=False):
        found = forward(self, batch, labels, create_graph)
        return {
            label: value * (1 + 1e-6 * torch.rand(value.shape, generator=noise, dtype=value.dtype))
            for label, value in found.items()
        }

    monkeypatch.setattr(MaceModel, "forward", noisy)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda name: None)
    trainer, lines = make(data, tmp_path / "run", matmul_precision="tf32")
    trainer.run()
    assert "changes nothing here" in lines[0]
