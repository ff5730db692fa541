"""Means and spreads of the labels, for the log."""

from collections.abc import Iterator, Sequence

import numpy as np

from mace_app.data import GraphSet, PreparedData

CHUNK = 512


def label_statistics(prepared: PreparedData, labels: Sequence[str]) -> Iterator[str]:
    """One line for each split and label: how many structures have it, mean, standard deviation, range of its values,
    as they are in the files (energies of whole structures)."""
    for name, graphs in (
        ("training", prepared.training),
        ("validation", prepared.validation),
        ("test", prepared.test),
    ):
        for label in labels:
            if len(graphs) and label in graphs.labels:
                yield _line(name, label, graphs)


def _line(name: str, label: str, graphs: GraphSet) -> str:
    have = int(graphs.labels_present(label).sum())
    count, mean, spread, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for start in range(0, len(graphs), CHUNK):
        values = graphs.collate(np.arange(start, min(start + CHUNK, len(graphs))))[f"label:{label}"].reshape(-1)
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        # Joined as in Chan, Golub and LeVeque (1983): energies are large and vary little.
        step = float(values.mean()) - mean
        total = count + len(values)
        spread += float(np.square(values - values.mean()).sum()) + step**2 * count * len(values) / total
        mean += step * len(values) / total
        count, low, high = total, min(low, float(values.min())), max(high, float(values.max()))
    if not count:
        return f"{name}: {label} is known for no structure"
    deviation = float(np.sqrt(spread / count))
    return (
        f"{name}: {label} of {have} of {len(graphs)} structures, mean {mean:.6g}, standard deviation {deviation:.6g}, "
        f"from {low:.6g} to {high:.6g}"
    )
