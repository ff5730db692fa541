"""A trainer over real graphs and a small real model, and a recorder that remembers."""

import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tasks"))
from small_data import WATER, frame, options, write_waters

from mace_app.data import PreparedData, prepare
from mace_app.model import MaceModel, fit_baseline, fit_scaler
from mace_app.options import parse_options, resolve_loss
from mace_app.tasks.train import make_model
from mace_app.training import Trainer


class Memory:
    """A recorder that remembers, and asks to stop after so many looks."""

    def __init__(self, folder: Path, looks: int | None = None) -> None:
        self.folder, self.looks = folder, looks
        self.records, self.arrays, self.lines, self.fields = [], {}, [], []

    def log(self, text):
        self.lines.append(text)

    def epoch(self, record):
        self.records.append(record)

    def parity(self, arrays, epoch):
        self.arrays = arrays

    def progress(self, **fields):
        self.fields.append(fields)

    def checkpoint_path(self, kind):
        return self.folder / f"{kind}.safetensors"

    def stop_requested(self):
        if self.looks is not None:
            self.looks -= 1
        return self.looks is not None and self.looks < 0


def prepare_waters(folder: Path, validation: bool, count: int) -> PreparedData:
    value = options(write_waters(folder / "data.xyz", count), num_epochs=0)
    value["validation_set"] = 0.25 if validation else 0.0
    return prepare(parse_options(value), folder / "data")


def prepare_clusters(folder: Path) -> PreparedData:
    """One, two or three molecules of water side by side."""
    random = np.random.default_rng(0)
    frames = []
    for number in range(16):
        count = 1 + number % 3
        positions = np.concatenate([WATER + np.array([2.2 * n, 0, 0]) for n in range(count)])
        frames.append(frame(Atoms("OHH" * count, positions + 0.1 * random.normal(size=positions.shape))))
    (folder / "data.xyz").write_text("".join(frames))
    return prepare(parse_options(options(folder / "data.xyz", num_epochs=0)), folder / "data")


def begin(
    data,
    folder: Path,
    looks: int | None = None,
    seed: int = 3,
    processes=None,
    order_seed=None,
    targets=None,
    precision=64,
    **training,
) -> tuple[Trainer, Memory]:
    """``seed`` is that of the first weights and, without ``order_seed``, of the order."""
    value = options(Path("data.xyz"), **{"batch_size": 2, **training})
    value["base_precision"] = precision
    if targets is not None:
        value["training_set"]["targets"] = targets
    value = parse_options(value)
    torch.manual_seed(seed)
    model: MaceModel = make_model(value, data)
    fit_baseline(model.config, model.baseline, data.training)
    fit_scaler(model.config, model.scaler, model.baseline, data.training)
    hypers = value.architecture.training
    recorder = Memory(folder, looks)
    loss = resolve_loss(hypers, model.config.targets)
    later = None if hypers.stage_two_loss is None else resolve_loss(hypers.in_stage_two(), model.config.targets)
    order = seed if order_seed is None else order_seed
    made = Trainer(model, data, hypers, loss, recorder, "cpu", order, stage_two_loss=later, processes=processes)
    return made, recorder


def folder(tmp_path, name):
    (tmp_path / name).mkdir()
    return tmp_path / name


def same(first: Path, second: Path) -> None:
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
