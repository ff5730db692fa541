"""Structures of an analysis with reference, prediction and error, for other programs."""

import csv
import io
from collections.abc import Iterable, Iterator

import numpy as np

from mace_app.analysis.errors import Integers, Look, by_structure, mean_of, pairs, unit_of, worst_of
from mace_app.analysis.store import Analysis, Floats, Label

KINDS = ("reference", "predicted", "error")


def column_name(label: str) -> str:
    """``energy``, ``forces`` for ``energy.forces``, ``mtt__dipole``: what extended xyz takes as a key."""
    target, _, part = label.rpartition(".")
    chosen = part if target == "energy" else label
    return "".join(character if character.isalnum() else "_" for character in chosen)


def column_names(labels: Iterable[str]) -> dict[str, str]:
    """All different."""
    names: dict[str, str] = {}
    for label in labels:
        name = column_name(label)
        while name in names.values():
            name += "_"
        names[label] = name
    return names


def extxyz(analysis: Analysis, structures: Iterable[int]) -> Iterator[str]:
    """Extended xyz, a structure a piece: ``reference_<label>``, ``predicted_<label>``, ``error_<label>`` (prediction −
    reference) in info or arrays, in the label's unit and undivided, and where the structure came from.

    Lengths are in the unit of the data, as forces and stress are; where that is not Å, info says ``length_unit``.
    What is missing in the data is left out. Components are slow and properties fast, as the reader of labels has it.
    """
    from ase.io import write

    names, table = column_names(analysis.labels), analysis.structures
    for structure in structures:
        atoms = analysis.atoms(structure, in_angstrom=False)
        if analysis.angstrom != 1:
            atoms.info["length_unit"] = analysis.info.length_unit
        atoms.info["source_file"] = str(table.dataset[structure])
        atoms.info["source_frame"] = int(table.frame[structure])
        for key, value in (("config_type", table.group[structure]), ("split", table.split[structure])):
            if value:
                atoms.info[key] = str(value)
        for label in analysis.labels.values():
            rows = analysis.rows(label.name, structure)
            values = (label.reference[rows], label.prediction[rows], label.prediction[rows] - label.reference[rows])
            for kind, value in zip(KINDS, values, strict=True):
                if np.isfinite(value).all():
                    _put(atoms, f"{kind}_{names[label.name]}", value, label)
        text = io.StringIO()
        write(text, atoms, format="extxyz")
        yield text.getvalue()


def _put(atoms: "object", name: str, value: Floats, label: Label) -> None:
    flat = value.reshape(len(value), -1)
    if label.per_atom:
        atoms.set_array(name, flat[:, 0] if flat.shape[1] == 1 else flat)  # type: ignore[attr-defined]
        return
    row = flat[0]
    if row.size == 1:
        atoms.info[name] = float(row[0])  # type: ignore[attr-defined]
    else:
        atoms.info[name] = row.reshape(3, 3) if label.shape in ((3, 3), (3, 3, 1)) else row  # type: ignore[attr-defined]


def table_csv(analysis: Analysis, structures: Integers | Iterable[int]) -> str:
    """One row a structure: where it comes from, and of every label its error, the RMSE and the largest of its errors.

    Labels of one value have reference, prediction and error, divided by the atoms where errors are told per atom.
    """
    table = analysis.structures
    columns: dict[str, list[object]] = {
        "file": table.dataset.tolist(),
        "frame": table.frame.tolist(),
        "split": table.split.tolist(),
        "config_type": table.group.tolist(),
        "formula": table.formula.tolist(),
        "atoms": table.n_atoms.tolist(),
    }
    for label in analysis.labels.values():
        found = pairs(analysis, Look(label.name))
        name = f"{label.name} ({unit})" if (unit := unit_of(label)) else label.name
        if label.shape in ((), (1,)) and not label.per_atom:
            for kind, values in (("reference", found.reference), ("prediction", found.prediction)):
                columns[f"{kind} {name}"] = _cells(mean_of(values, found.structure, len(analysis)))
            columns[f"error {name}"] = _cells(by_structure(analysis, found, mean_of))
        else:
            columns[f"RMSE {name}"] = _cells(by_structure(analysis, found))
            columns[f"largest error {name}"] = _cells(by_structure(analysis, found, worst_of))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for structure in structures:
        writer.writerow([_harmless(values[structure]) for values in columns.values()])
    return text.getvalue()


def _cells(values: Floats) -> list[object]:
    return ["" if np.isnan(value) else float(value) for value in values]


def _harmless(cell: object) -> object:
    """A text that a spreadsheet would take for a formula is marked as text."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
