"""A model asked about sets of structures: predictions beside labels, where they come from, and a map of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mace_app.analysis import Label, Structures, formulas
from mace_app.data import GraphSet
from mace_app.evaluation.rigidity import last_layer_rigidity
from mace_app.evaluation.structure_map import principal_components
from mace_app.model import Batch, EnergyFeatures, MaceModel, last_scalars
from mace_app.training.metrics import ErrorAccumulator, Errors, Reported, reported_labels
from mace_app.training.passes import convert, frozen_weights
from mace_app.training.sampling import in_order

STRUCTURES_AT_ONCE = 32
# A processor is fastest while a batch fits its caches; of a GPU's memory this takes about a gigabyte with the largest
# models in use.
EDGES_AT_ONCE = {"cpu": 800, "cuda": 16_000}


Predict = Callable[[Mapping[str, np.ndarray]], Mapping[str, torch.Tensor]]
"""Physical values of all labels of the model, as of ``MaceModel.physical``, for the arrays of ``GraphSet.collate``."""


@dataclass(frozen=True)
class Part:
    """Structures of one ``split`` (empty for data of none); ``files`` are the paths of the data sets that
    ``graphs.structure_ids`` counts."""

    split: str
    graphs: GraphSet
    files: Sequence[str]


@dataclass(frozen=True)
class Compared:
    """Everything of an ``Analysis`` but its ``info``; ``map`` and ``uncertainty`` are that part of it.

    ``errors`` of each split by label, as ``evaluate`` gives them.
    """

    structures: Structures
    numbers: np.ndarray
    positions: np.ndarray
    labels: dict[str, Label]
    map: dict[str, Any] | None
    uncertainty: dict[str, Any] | None
    errors: dict[str, dict[str, Errors]]


def compare(
    model: MaceModel,
    parts: Sequence[Part],
    length_unit: str = "",
    on_batch: Callable[[int], None] = lambda structures: None,
    structures_at_once: int = STRUCTURES_AT_ONCE,
    predict: Predict | None = None,
) -> Compared:
    """Predict all labels of the model for every structure, at least one, on the model's device, a batch at a time.

    ``on_batch`` is told how many structures each held. A label that the structures lack is NaN. Nothing depends on the
    size of batches, beyond the rounding of the model's precision. ``predict`` takes the place of the model's own
    predictions; features and energies of single atoms are still the model's.
    """
    reported = reported_labels(model.config.targets, model.config.per_structure_targets, length_unit)
    energy = next((name for name, info in model.config.targets.items() if info.is_energy and info.shape == (1,)), None)
    gathered = _Gathered(model, reported, energy if any(part.split == "training" for part in parts) else None, predict)
    errors: dict[str, dict[str, Errors]] = {}
    with frozen_weights(model):
        for part in parts:
            known = {name: entry for name, entry in reported.items() if name in part.graphs.labels}
            sums = ErrorAccumulator(known, model.device)
            for indices in batches(part.graphs, model.device, structures_at_once):
                gathered.add(part, indices, known, sums)
                on_batch(len(indices))
            errors[part.split] = sums.errors()
    return gathered.compared(parts, errors)


def batches(graphs: GraphSet, device: torch.device, structures_at_once: int) -> Iterator[np.ndarray]:
    """Structures of ``graphs`` in order, each time as many as suit the device."""
    neighbours = graphs.avg_num_neighbors() if len(graphs) else 1.0
    most_atoms = max(1, int(EDGES_AT_ONCE[device.type] / neighbours))
    yield from in_order(graphs.n_atoms, structures_at_once, most_atoms)


@dataclass
class _Gathered:
    """What batches leave, in the order of the structures."""

    model: MaceModel
    reported: dict[str, Reported]
    energy: str | None  # whose uncertainty is wanted
    predict: Predict | None
    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._scalars = torch.tensor(last_scalars(self.model.config), device=self.model.device)
        self._energy_features = None if self.energy is None else EnergyFeatures(self.model, self.energy)

    def _keep(self, name: str, values: np.ndarray | torch.Tensor) -> None:
        array = values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        self.columns.setdefault(name, []).append(array)

    def add(self, part: Part, indices: np.ndarray, known: dict[str, Reported], sums: ErrorAccumulator) -> None:
        model = self.model
        arrays = part.graphs.collate(indices)
        batch = Batch.from_arrays(arrays, model.config.atomic_types, model.device, model.dtype)
        predictions, features = model.with_features(batch, model.labels if self.predict is None else set())
        physical: Mapping[str, torch.Tensor] = model.physical(batch, predictions)
        if self.predict is not None:
            physical = {name: values.to(model.device) for name, values in self.predict(arrays).items()}
        sums.update(convert(known, batch, physical), convert(known, batch, batch.labels))
        for name, entry in self.reported.items():
            values = physical[name]
            reference = batch.labels[name] if name in batch.labels else torch.full_like(values, torch.nan)
            self._keep(f"{name}:reference", _undivided(entry, batch, reference))
            self._keep(f"{name}:prediction", _undivided(entry, batch, values))
        for name, info in model.config.targets.items():
            if info.is_energy and name in model.baseline and info.sample_kind == "system":
                self._keep(f"{name}:baseline", summed(batch, model.baseline.values(name)[batch.elements])[:, 0])
        for name in ("numbers", "positions", "cells", "pbc"):
            self._keep(name, arrays[name])
        scalars = summed(batch, features[:, self._scalars]) / batch.n_atoms[:, None]
        self._keep("features", scalars)
        if self._energy_features is not None:
            self._keep("energy features", summed(batch, self._energy_features(features)))

    def _all(self, name: str) -> np.ndarray:
        return np.concatenate(self.columns[name])

    def compared(self, parts: Sequence[Part], errors: dict[str, dict[str, Errors]]) -> Compared:
        labels = {name: self._label(entry) for name, entry in self.reported.items()}
        n_atoms = np.concatenate([part.graphs.n_atoms for part in parts])
        split = np.concatenate([np.full(len(part.graphs), part.split) for part in parts])
        ids = np.concatenate([part.graphs.structure_ids for part in parts])
        files = [part.files[number] for part in parts for number in part.graphs.structure_ids[:, 0]]
        numbers = self._all("numbers").astype(np.int64)
        about_map, coordinates = self._map(len(n_atoms))
        about_sigma, sigma = self._uncertainty(split, labels)
        structures = Structures(
            split=split,
            dataset=np.array(files, dtype=np.str_),
            frame=ids[:, 1],
            group=np.array([group for part in parts for group in part.graphs.groups], dtype=np.str_),
            formula=np.array(formulas(numbers, n_atoms), dtype=np.str_),
            n_atoms=n_atoms,
            cell=self._all("cells"),
            pbc=self._all("pbc").astype(bool),
            map=coordinates,
            uncertainty=sigma,
        )
        positions = self._all("positions")
        return Compared(structures, numbers, positions, labels, about_map, about_sigma, errors)

    def _label(self, entry: Reported) -> Label:
        name = entry.label
        baseline = f"{name}:baseline"
        return Label(
            name=name,
            unit=_undivided_unit(self.model, entry),
            per_atom=entry.per_atom,
            divide_by_atoms=entry.divide != "nothing",
            reference=self._all(f"{name}:reference"),
            prediction=self._all(f"{name}:prediction"),
            baseline=self._all(baseline) if baseline in self.columns else None,
        )

    def _map(self, count: int) -> tuple[dict[str, Any] | None, np.ndarray]:
        found = principal_components(self._all("features"))
        if found is None:
            return None, np.full((count, 2), np.nan)
        return {"method": "PCA", "of": "mean last-layer features", "explained": found[1]}, found[0]

    def _uncertainty(self, split: np.ndarray, labels: dict[str, Label]) -> tuple[dict[str, Any] | None, np.ndarray]:
        unknown = np.full(len(split), np.nan)
        if self.energy is None:
            return None, unknown
        label = labels[self.energy]
        errors = (label.prediction - label.reference)[:, 0]
        trained_on = (split == "training") & np.isfinite(errors)
        found = last_layer_rigidity(self._all("energy features"), trained_on, split == "validation", errors)
        if found is None:
            return None, unknown
        return {
            "method": "LLPR",
            "target": self.energy,
            "unit": label.unit,
            "alpha": found.alpha,
            "regulariser": found.regulariser,
            "calibration": {
                "split": "validation",
                "structures": found.calibrated_on,
                "within_one_sigma": found.within_one,
                "within_two_sigma": found.within_two,
            },
        }, found.sigma


def summed(batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """[N, W] → [G, W], float64."""
    total = torch.zeros((batch.n_structures, values.shape[1]), dtype=torch.float64, device=values.device)
    return total.index_add(0, batch.structure, values.double())


def _undivided(entry: Reported, batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """As stored: a stress that is reported as a virial becomes the virial −V·σ of the whole structure."""
    if entry.divide != "as virial":
        return values
    return values * -batch.volume.reshape(-1, *[1] * (values.dim() - 1))


def _undivided_unit(model: MaceModel, entry: Reported) -> str:
    if entry.divide == "nothing":
        return entry.unit
    targets = model.config.targets
    target = targets[entry.label] if entry.label in targets else targets[entry.label.rpartition(".")[0]]
    return target.unit
