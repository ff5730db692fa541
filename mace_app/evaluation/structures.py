"""Predictions written beside the structures they belong to."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import numpy as np

from mace_app.data import GraphSet
from mace_app.files import atomic_open
from mace_app.training.metrics import Reported


def write_predictions(
    path: Path, graphs: GraphSet, predictions: Mapping[str, np.ndarray], reported: Mapping[str, Reported]
) -> None:
    """``.xyz``: extended xyz with ``predicted_<label>`` in info or arrays; ``.npz``: the arrays as they are.

    Values are physical and undivided: total energies, forces, stress.
    """
    if path.suffix == ".npz":
        with atomic_open(path) as stream:
            np.savez(stream, n_atoms=graphs.n_atoms, **dict(predictions))  # type: ignore[arg-type]  # a stub's misreading
        return
    from ase.io import write

    first_atom = np.concatenate(([0], np.cumsum(graphs.n_atoms)))
    with atomic_open(path, "w") as stream:
        for index in range(len(graphs)):
            atoms = graphs.atoms(index)
            for label, values in predictions.items():
                name = f"predicted_{column_name(label)}"
                if reported[label].per_atom:
                    rows = values[first_atom[index] : first_atom[index + 1]]
                    atoms.set_array(name, rows.reshape(len(rows), -1).squeeze(-1) if rows[0].size == 1 else flat(rows))
                else:
                    row = values[index]
                    atoms.info[name] = float(row.reshape(-1)[0]) if row.size == 1 else row.reshape(-1)
            text = StringIO()
            write(text, atoms, format="extxyz")
            stream.write(text.getvalue())


def flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), -1)


def column_name(label: str) -> str:
    """``forces`` for ``energy.forces`` and so on: what the file format takes as a key."""
    name, _, part = label.rpartition(".")
    chosen = part if name == "energy" else label
    return "".join(character if character.isalnum() else "_" for character in chosen)
