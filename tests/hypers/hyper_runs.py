"""The smallest data, models and trainings that show what an option does, and what can be seen of each.

Everything is the real thing, from parsed options to the trainer; only what an option can't touch is left out of a run.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from mace_app.data import PreparedData, prepare
from mace_app.model import Batch, MaceModel
from mace_app.options import RunOptions, parse_options, resolve_loss
from mace_app.tasks.normalisation import normalise
from mace_app.tasks.train import make_model
from mace_app.training import Trainer

TINY = {
    "r_max": 3.0,
    "hidden_irreps": "2x0e + 2x1o",
    "max_ell": 1,
    "correlation": 1,
    "num_radial_basis": 4,
    "radial_MLP": [4],
    "MLP_irreps": "2x0e",
}
SHORT = {"num_epochs": 3, "batch_size": 2, "grad_clip_norm": 100.0, "num_workers": 0}
ENERGY = {"energy": {"unit": "eV"}}
VECTOR = {"cartesian": {"rank": 1}}
SPHERICAL = {"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1}, {"o3_lambda": 1, "o3_sigma": 1}]}}


def molecules(seed: int = 5) -> str:
    """Eight small molecules in extended xyz with made-up labels of every kind; four have a periodic cell."""
    random = np.random.default_rng(seed)
    frames = []
    for number in range(8):
        symbols = ("OH2", "CO2", "H2O2", "CH4")[number % 4]
        atoms = Atoms(symbols)
        grid = np.array([[0.9 * (n % 2), 0.9 * (n // 2 % 2), 0.9 * (n // 4)] for n in range(len(atoms))])
        positions = grid + 0.1 * random.normal(size=grid.shape)
        info = {
            "energy": f"{-10 * len(atoms) + random.normal():.9f}",
            "gap": f"{2 + random.normal():.9f}",
            "dipole": _text(random.normal(size=3)),
            "tensor": _text(_symmetric(random)),
            "mixed": _text(random.normal(size=4)),
            "gap_mask": "F" if number == 2 else "T",
            "other_mask": "F" if number == 3 else "T",
            "config_type": "ab"[number % 2],
        }
        if number in (0, 1, 4, 5):
            info |= {key: _text(0.01 * _symmetric(random)) for key in ("stress", "other_stress", "virial")}
        cell = 'Lattice="4 0 0 0 4 0 0 0 4" pbc="T T T"' if number in (0, 1, 4, 5) else 'pbc="F F F"'
        words = " ".join(f"{key}={value}" for key, value in info.items())
        columns = "species:S:1:pos:R:3:forces:R:3:charge:R:1"
        lines = [str(len(atoms)), f"Properties={columns} {cell} {words}"]
        for symbol, position in zip(atoms.symbols, positions, strict=True):
            numbers = [*position, *random.normal(size=3), random.normal()]
            lines.append(f"{symbol} " + " ".join(f"{value:.9f}" for value in numbers))
        frames.append("\n".join(lines) + "\n")
    return "".join(frames)


def _symmetric(random: np.random.Generator) -> np.ndarray:
    matrix = random.normal(size=(3, 3))
    return (matrix + matrix.T).ravel()


def _text(values: np.ndarray) -> str:
    return '"' + " ".join(f"{value:.9f}" for value in values) + '"'


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings joined level by level; targets, losses and the like are values of their own."""
    result = copy.deepcopy(dict(base))
    for name, value in more.items():
        if name in ("architecture", "model", "training") and isinstance(value, Mapping):
            result[name] = merged(result.get(name, {}), value)
        else:
            result[name] = copy.deepcopy(value)
    return result


@dataclass
class Memory:
    """A recorder that remembers."""

    folder: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)

    def log(self, text: str) -> None:
        self.lines.append(text)

    def epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def parity(self, arrays: Mapping[str, np.ndarray], epoch: int) -> None: ...

    def progress(self, **fields: Any) -> None: ...

    def checkpoint_path(self, kind: str) -> Path:
        self.files.add(kind)
        return self.folder / f"{kind}.safetensors"

    def stop_requested(self) -> bool:
        return False


class Laboratory:
    """Runs options and remembers what was seen, so that a common starting point is computed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data.xyz"
        self.data.write_text(molecules())
        self._models: dict[str, tuple[MaceModel, dict[str, torch.Tensor]]] = {}
        self._seen: dict[str, Any] = {}
        self._count = 0

    def options(self, changes: Mapping[str, Any], targets: Mapping[str, Any] | None = None) -> RunOptions:
        return parse_options(self.tree(changes, targets))

    def tree(self, changes: Mapping[str, Any], targets: Mapping[str, Any] | None = None) -> dict[str, Any]:
        base = {
            "seed": 1,
            "device": "cpu",
            "architecture": {"model": TINY, "training": SHORT},
            "training_set": {"systems": str(self.data), "targets": targets or ENERGY},
            "validation_set": 0.25,
        }
        return merged(base, changes)

    def prepared(self, options: RunOptions) -> PreparedData:
        self._count += 1
        return prepare(options, self.folder / f"prepared{self._count}")

    def model(self, options: RunOptions, prepared: PreparedData) -> MaceModel:
        """As at the start of a run; models of one kind are built once and get their first weights back."""
        key = json.dumps([_config(options, prepared), options.base_precision, options.seed])
        if key not in self._models:
            torch.manual_seed(options.seed or 0)
            model = make_model(options, prepared)
            self._models[key] = model, {name: value.clone() for name, value in model.state_dict().items()}
        model, start = self._models[key]
        model.load_state_dict(start)
        model.zero_grad()
        return model

    def once(self, kind: str, tree: Any, compute: Any) -> Any:
        key = kind + json.dumps(tree, default=str)
        if key not in self._seen:
            self._seen[key] = compute()
        return self._seen[key]

    # What can be seen of a model

    def network(self, changes: Mapping[str, Any], targets: Mapping[str, Any] | None = None) -> "Network":
        def look() -> Network:
            options = self.options(changes, targets)
            prepared = self.prepared(options)
            return Network(self.model(options, prepared), prepared)

        return self.once("network", [changes, targets], look)

    # What can be seen of a training

    def training(self, changes: Mapping[str, Any], targets: Mapping[str, Any] | None = None) -> "Seen":
        def look() -> Seen:
            options = self.options(changes, targets)
            prepared = self.prepared(options)
            model = self.model(options, prepared)
            hypers = options.architecture.training
            said = normalise(model.config, model.baseline, model.scaler, hypers, prepared).lines()
            loss = resolve_loss(hypers, model.config.targets)
            later = None if hypers.stage_two_loss is None else resolve_loss(hypers.in_stage_two(), model.config.targets)
            self._count += 1
            memory = Memory(self.folder / f"run{self._count}", lines=said)
            memory.folder.mkdir()
            seed = options.seed or 0
            trainer = Trainer(model, prepared, hypers, loss, memory, "cpu", seed, stage_two_loss=later)
            return _seen(trainer, memory)

        return self.once("training", [changes, targets], look)


def _config(options: RunOptions, prepared: PreparedData) -> Any:
    targets = {name: target.to_json() for name, target in prepared.targets.items()}
    per_structure = options.architecture.training.per_structure_targets
    neighbours = prepared.training.avg_num_neighbors()
    return [options.architecture.model.model_dump(), targets, prepared.atomic_types, per_structure, neighbours]


@dataclass
class Network:
    """A model at its first weights, and a batch of all training structures."""

    model: MaceModel
    prepared: PreparedData

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(weight.shape) for name, weight in self.model.named_parameters()}

    @cached_property
    def batch(self) -> Batch:
        arrays = self.prepared.training.collate(range(len(self.prepared.training)))
        return Batch.from_arrays(arrays, self.model.config.atomic_types, "cpu", self.model.dtype)

    def predictions(self, weights: Mapping[str, torch.Tensor] | None = None) -> np.ndarray:
        """Everything the model predicts, in one row, at ``weights`` or its first ones."""
        if weights is not None:
            with torch.no_grad():
                for name, weight in self.model.named_parameters():
                    weight.copy_(weights[name])
        found = self.model(self.batch, self.model.labels)
        return np.concatenate([found[label].numpy().ravel() for label in sorted(found)])

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: weight.detach().clone() for name, weight in self.model.named_parameters()}

    def backward(self) -> bool:
        """Whether a step of a training would go well: finite predictions and gradients, and some that are not zero."""
        self.model.zero_grad()
        found = self.model(self.batch, self.model.labels, create_graph=True)
        total = sum(torch.nan_to_num(value).square().sum() for value in found.values())
        total.backward()
        gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
        finite = all(torch.isfinite(gradient).all() for gradient in gradients) and torch.isfinite(total)
        return bool(finite) and any(gradient.abs().max() > 0 for gradient in gradients)


@dataclass
class Seen:
    """Of a finished training: everything that an option may change."""

    weights: np.ndarray
    batches: list[list[list[int]]]
    rates: list[float]
    losses: list[float]
    errors: list[float]
    monitored: list[float | None]
    keys: list[str]
    epochs: list[int]
    files: list[str]
    normalisation: list[float]
    workers: int
    result: Any
    lines: list[str]

    def part(self, name: str) -> str:
        value = getattr(self, name)
        return value.tobytes().hex() if isinstance(value, np.ndarray) else repr(value)


def _seen(trainer: Trainer, memory: Memory) -> Seen:
    model, records = trainer.model, memory.records
    numbers = [*model.baseline.buffers(), *model.scaler.buffers()]
    normalisation = [float(value) for buffer in numbers for value in buffer.ravel()]
    result = trainer.run()
    weights = np.concatenate([weight.detach().numpy().ravel() for weight in model.parameters()])
    last = records[-1]
    return Seen(
        weights=weights,
        batches=[[[int(i) for i in batch] for batch in step] for step in trainer.order.steps(1)],
        rates=[record["learning_rate"] for record in records],
        losses=[record.get("train/loss", 0.0) for record in records],
        errors=[value for key, value in last.items() if key.startswith("validation/") and key.endswith("rmse")],
        monitored=[record["monitored"] for record in records],
        keys=sorted({key for record in records for key in record}),
        epochs=[record["epoch"] for record in records],
        files=sorted(memory.files),
        normalisation=normalisation,
        workers=trainer.workers,
        result=result,
        lines=memory.lines,
    )
