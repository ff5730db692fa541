"""Predictions written beside the structures they belong to."""

from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path

import numpy as np

from mace_app.analysis.exports import column_names as plain_names
from mace_app.data import GraphSet
from mace_app.files import atomic_open
from mace_app.training.metrics import Reported


def write_predictions(
    path: Path, graphs: GraphSet, predictions: Mapping[str, np.ndarray], reported: Mapping[str, Reported]
) -> None:
    """``.xyz``: extended xyz with ``predicted_<label>`` in info or arrays; ``.npz``: the arrays as they are, under the
    names of their labels, and ``n_atoms``.

    Values are physical and undivided: total energies, forces, stress. In extended xyz one matrix stays a matrix, and
    everything else is one row, components slow and properties fast, as the reader of labels takes it.
    """
    if path.suffix == ".npz":
        with atomic_open(path) as stream:
            np.savez(stream, n_atoms=graphs.n_atoms, **dict(predictions))  # type: ignore[arg-type]  # a stub's misreading
        return
    from ase.io import write

    first_atom = np.concatenate(([0], np.cumsum(graphs.n_atoms)))
    names = column_names(predictions)
    with atomic_open(path, "w") as stream:
        for index in range(len(graphs)):
            atoms = graphs.atoms(index)
            for label, values in predictions.items():
                if reported[label].per_atom:
                    rows = values[first_atom[index] : first_atom[index + 1]]
                    rows = rows.reshape(len(rows), -1)
                    atoms.set_array(names[label], rows[:, 0] if rows.shape[1] == 1 else rows)
                else:
                    atoms.info[names[label]] = in_comment(values[index])
            text = StringIO()
            write(text, atoms, format="extxyz")
            stream.write(text.getvalue())


def in_comment(value: np.ndarray) -> float | np.ndarray:
    """One value as ASE has to be given it."""
    if value.size == 1:
        return float(value.reshape(-1)[0])
    return value.reshape(3, 3) if value.shape in ((3, 3), (3, 3, 1)) else value.reshape(-1)


def column_names(labels: Iterable[str]) -> dict[str, str]:
    """``predicted_forces`` for ``energy.forces`` and so on: what the file format takes as a key; all different."""
    return {label: f"predicted_{name}" for label, name in plain_names(labels).items()}
