"""One pass over a set of graphs without changing the model: loss, errors, and what a parity plot needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from mace_app.data import GraphSet
from mace_app.model import Batch, MaceModel
from mace_app.training.loading import prepared_ahead
from mace_app.training.losses import Loss, LossAccumulator, LossSummary
from mace_app.training.memory import memory_for
from mace_app.training.metrics import ErrorAccumulator, Errors, Reported
from mace_app.training.processes import Processes
from mace_app.training.sampling import in_order

PARITY_VALUES = 200_000


@dataclass(frozen=True)
class PassResult:
    loss: LossSummary
    errors: dict[str, Errors]
    parity: dict[str, np.ndarray] = field(default_factory=dict)


class PassStopped(Exception):
    """Raised by the callback of a pass that should end early."""


def load_batch(graphs: GraphSet, indices: Sequence[int] | np.ndarray, model: MaceModel) -> Batch:
    """Structures ``indices`` of ``graphs`` on the model's device and in its dtype."""
    return Batch.from_arrays(graphs.collate(indices), model.config.atomic_types, model.device, model.dtype)


def convert(
    reported: Mapping[str, Reported], batch: Batch, values: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Physical values of the batch in the reported units; what is reported of the labels that ``values`` has."""
    return {
        name: entry.convert(values[entry.label], batch.n_atoms, batch.volume)
        for name, entry in reported.items()
        if entry.label in values
    }


@dataclass(frozen=True)
class Ready:
    """A batch with all that its labels say whatever is predicted, made by the threads that prepare batches:
    ``normalised`` for the loss, ``references`` in the reported units."""

    batch: Batch
    normalised: dict[str, torch.Tensor]
    references: dict[str, torch.Tensor]


def load_ready(
    graphs: GraphSet, indices: Sequence[int] | np.ndarray, model: MaceModel, reported: Mapping[str, Reported]
) -> Ready | None:
    """None without structures."""
    if len(indices) == 0:
        return None
    batch = load_batch(graphs, indices, model)
    return Ready(batch, model.normalise_labels(batch), convert(reported, batch, batch.labels))


@contextmanager
def frozen_weights(model: torch.nn.Module) -> Iterator[None]:
    """Inside the block no gradient of the weights is prepared, which makes forces cheaper."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def run_pass(
    model: MaceModel,
    graphs: GraphSet,
    loss: Loss,
    reported: Mapping[str, Reported],
    batch_size: int,
    parity: bool = False,
    on_batch: Callable[[int], None] = lambda structures: None,
    most_atoms: int | None = None,
    workers: int = 0,
    processes: Processes | None = None,
) -> PassResult:
    """Predict every structure of ``graphs`` and compare with its labels.

    Labels the graphs don't have are left out. ``on_batch`` is told after every batch how many structures it held.
    Batches are limited by ``batch_size`` and ``most_atoms``, and prepared ahead by ``workers`` threads. Several
    ``processes`` divide each batch, and have the same result; only the first has what a parity plot needs.
    """
    processes = Processes() if processes is None else processes
    known = {name: entry for name, entry in reported.items() if entry.label in graphs.labels}
    labels = {entry.label for entry in known.values()}
    part = Loss({label: term for label, term in loss.terms.items() if label in labels})
    errors = ErrorAccumulator(known, model.device)
    losses = LossAccumulator(part.terms, model.device)
    collector = ParityCollector(graphs, known) if parity else None
    batches = list(in_order(graphs.n_atoms, batch_size, most_atoms))
    own = [processes.part(indices, graphs) for indices in batches]
    loaded = prepared_ahead(own, lambda indices: load_ready(graphs, indices, model, known), workers)
    with frozen_weights(model), closing(loaded):
        for whole, indices in zip(batches, own, strict=True):
            with memory_for(graphs, [indices], "predicting"):
                ready = next(loaded)
                if ready is not None:
                    batch = ready.batch
                    predictions = model(batch, labels, create_graph=False)
                    losses.update(part(predictions, ready.normalised, batch), len(indices))
                    physical = convert(known, batch, model.physical(batch, predictions))
                    errors.update(physical, ready.references)
            if ready is not None and collector is not None:
                collector.add(indices, physical, ready.references)
            on_batch(len(whole))
    found = processes.gathered([losses.sums, errors.sums])
    losses.sums, errors.sums = found[0]
    losses.structures = len(graphs)
    for loss_sums, error_sums in found[1:]:
        losses.add(loss_sums)
        errors.add(error_sums)
    arrays = {} if collector is None else in_order_of_structures(processes.collect(collector.arrays()))
    return PassResult(losses.summary(), errors.errors(), arrays)


def in_order_of_structures(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What the collectors of several processes found, as if one had seen all."""
    if len(parts) < 2:
        return dict(parts[0]) if parts else {}
    found = {
        name: np.concatenate([part[name] for part in parts if name in part])
        for name in dict.fromkeys(name for part in parts for name in part)
    }
    for label in dict.fromkeys(name.rpartition(":")[0] for name in found):
        order = np.argsort(found[f"{label}:structure"], kind="stable")  # atoms of one structure stand in order already
        for name in [name for name in found if name.rpartition(":")[0] == label]:
            found[name] = found[name][order]
    return found


class ParityCollector:
    """Reference and prediction of every value, or of evenly chosen rows where there are more than ``most`` values.

    Gives, for each label, ``<label>:reference`` and ``:prediction [rows, …]`` in reported units, ``:structure [rows]``
    (position in the set) and, for labels per atom, ``:atom [rows]`` (position in the structure).
    """

    def __init__(self, graphs: GraphSet, reported: Mapping[str, Reported], most: int = PARITY_VALUES) -> None:
        self.reported = dict(reported)
        self.n_atoms = np.asarray(graphs.n_atoms)
        self.first_atom = np.concatenate(([0], np.cumsum(self.n_atoms)))
        self.most = most
        self._parts: dict[str, list[dict[str, np.ndarray]]] = {label: [] for label in reported}

    def add(
        self, indices: np.ndarray, predictions: Mapping[str, torch.Tensor], references: Mapping[str, torch.Tensor]
    ) -> None:
        """One batch: the structures ``indices``, in the order of the rows."""
        structure_of_atom = np.repeat(indices, self.n_atoms[indices])
        atom = np.concatenate([np.arange(n) for n in self.n_atoms[indices]])
        for label, parts in self._parts.items():
            reference = references[label].double().cpu().numpy()
            per_atom = self.reported[label].per_atom
            structure = structure_of_atom if per_atom else indices
            total = int(self.n_atoms.sum()) if per_atom else len(self.n_atoms)
            values = reference.size // max(1, len(reference))
            stride = max(1, -(-total * values // self.most))
            row = self.first_atom[structure] + atom if per_atom else structure
            keep = (row % stride == 0) & ~np.isnan(reference).reshape(len(reference), -1).all(axis=1)
            chosen = {
                "reference": reference[keep],
                "prediction": predictions[label].double().cpu().numpy()[keep],
                "structure": structure[keep],
            }
            if per_atom:
                chosen["atom"] = atom[keep]
            parts.append(chosen)

    def arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for label, parts in self._parts.items():
            names = set.intersection(*(set(part) for part in parts)) if parts else set()
            for name in sorted(names):
                found[f"{label}:{name}"] = np.concatenate([part[name] for part in parts])
        return found
