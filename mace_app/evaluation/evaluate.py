"""A model on a set of graphs: predictions and errors."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mace_app.data import GraphSet
from mace_app.model import MaceModel
from mace_app.training.metrics import ErrorAccumulator, Errors, reported_labels
from mace_app.training.passes import convert, frozen_weights, load_batch
from mace_app.training.sampling import in_order


@dataclass(frozen=True)
class Evaluation:
    """``predictions`` hold physical values of every label of the model (SPEC's units, nothing divided), row by row as
    in the graphs; empty unless they were asked for. ``errors`` only has labels with references."""

    errors: dict[str, Errors]
    structures: int
    atoms: int
    seconds: float
    predictions: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def milliseconds_per_atom(self) -> float:
        return 1000 * self.seconds / max(1, self.atoms)

    def to_json(self) -> dict[str, Any]:
        """As in ``report.json``: label → mae, rmse, max, r2, count, unit."""
        return {label: errors.to_json() for label, errors in self.errors.items()}


def evaluate(
    model: MaceModel,
    graphs: GraphSet,
    batch_size: int,
    length_unit: str = "",
    keep_predictions: bool = False,
    on_batch: Callable[[int], None] = lambda structures: None,
    most_atoms: int | None = None,
    separate_blocks: bool = False,
    labels: Collection[str] | None = None,
) -> Evaluation:
    """Predict every structure of ``graphs`` on the model's device and compare with the labels that are there.

    A batch has at most ``batch_size`` structures and ``most_atoms`` atoms, or is one structure. ``labels`` are those
    to predict; all of the model's if not given.
    """
    targets = model.config.targets
    reported = reported_labels(targets, model.config.per_structure_targets, length_unit, separate_blocks)
    if labels is not None:
        reported = {name: entry for name, entry in reported.items() if entry.label in labels}
    wanted = {entry.label for entry in reported.values() if keep_predictions or entry.label in graphs.labels}
    known = {name: entry for name, entry in reported.items() if entry.label in graphs.labels}
    errors = ErrorAccumulator(known, model.device)
    parts: dict[str, list[np.ndarray]] = {label: [] for label in wanted}
    start = time.perf_counter()
    with frozen_weights(model):
        for indices in in_order(graphs.n_atoms, batch_size, most_atoms):
            batch = load_batch(graphs, indices, model)
            physical = model.physical(batch, model(batch, wanted, create_graph=False))
            errors.update(convert(known, batch, physical), convert(known, batch, batch.labels))
            if keep_predictions:
                for label, values in physical.items():
                    parts[label].append(values.cpu().numpy())
            on_batch(len(indices))
    found = errors.errors()  # waits for the device
    return Evaluation(
        errors=found,
        structures=len(graphs),
        atoms=int(np.sum(graphs.n_atoms)),
        seconds=time.perf_counter() - start,
        predictions={label: np.concatenate(arrays) for label, arrays in parts.items() if arrays},
    )
