"""The label that probably ruined a training: looked for only then, for it means reading all of them."""

import numpy as np

from mace_app.data import PreparedData
from mace_app.options import RunOptions

FAR = 1000.0  # times as far from the median as half of the structures are
CHUNK = 256


def far_label(options: RunOptions, prepared: PreparedData) -> str | None:
    """A sentence that names the label farthest from the others by file and frame; None where none is that far."""
    graphs = prepared.training
    worst: tuple[float, str, int, float] | None = None  # how far, label, structure, value
    for label in graphs.labels:
        values = _extremes(prepared, label)
        known = np.flatnonzero(~np.isnan(values))
        if len(known) < 3:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            distances = np.abs(values[known] - np.median(values[known]))
            usual = float(np.median(distances)) or float(np.finfo(float).tiny)
            index = int(np.argmax(distances))
            how_far = float(distances[index]) / usual
        if how_far > FAR and (worst is None or how_far > worst[0]):
            worst = how_far, label, int(known[index]), float(values[known[index]])
    if worst is None:
        return None
    _, label, structure, value = worst
    dataset, frame = (int(number) for number in graphs.structure_ids[structure])
    path = options.training_datasets[dataset].systems.read_from
    return f"Look at `{label}` of frame {frame} in {path}: {value:.3g} is far from all others."


def _extremes(prepared: PreparedData, label: str) -> np.ndarray:
    """``[structures]``: the value of the label (for energies, per atom) with the largest magnitude; NaN without one."""
    graphs = prepared.training
    is_energy = label in prepared.targets and prepared.targets[label].is_energy
    found = np.full(len(graphs), np.nan)
    for start in range(0, len(graphs), CHUNK):
        indices = np.arange(start, min(start + CHUNK, len(graphs)))
        batch = graphs.collate(indices)
        values = batch[f"label:{label}"]
        flat = np.nan_to_num(values.reshape(len(values), -1), nan=0.0)
        present = ~np.isnan(values.reshape(len(values), -1)).all(axis=1)
        rows = np.where(present, flat[np.arange(len(flat)), np.argmax(np.abs(flat), axis=1)], np.nan)
        if len(values) != len(indices):  # per atom
            owner = batch["structure"]
            order = np.lexsort((-np.nan_to_num(np.abs(rows)), owner))
            first = np.unique(owner[order], return_index=True)
            rows_of = np.full(len(indices), np.nan)
            rows_of[first[0]] = rows[order][first[1]]
            rows = rows_of
        elif is_energy:
            rows = rows / graphs.n_atoms[indices]
        found[indices] = rows
    return found
