"""Structures of an analysis for chemiscope: the map of structures beside them in 3D, with errors as properties.

The format is chemiscope's own JSON (https://chemiscope.org/docs/manual/input.html); its page and its notebook widget
open such a file.
"""

import gzip
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
from ase.data import chemical_symbols

from mace_app.analysis.errors import Integers, Look, by_structure, mean_of, pairs, unit_of
from mace_app.analysis.store import Analysis, Floats, Label

# The colours of reference and prediction on the Analysis page.
REFERENCE, PREDICTED = "#d4581c", "#2f5fd0"


def chemiscope_file(analysis: Analysis, structures: Integers | Iterable[int], name: str) -> bytes:
    """A ``.json.gz`` of the structures, in their order. Properties that one of them lacks are left out."""
    rows = np.asarray(list(structures), dtype=np.int64)
    forces = next((label for label in analysis.labels.values() if label.name.endswith(".forces")), None)
    properties = _properties(analysis, rows)
    value: dict[str, Any] = {
        "meta": {"name": name, "description": "Errors of a model, structure by structure."},
        "structures": [_structure(analysis, row) for row in rows],
        "properties": properties,
        "settings": _settings(properties, forces is not None),
    }
    if forces is not None:
        value["shapes"] = _arrows(analysis, forces, rows)
    return gzip.compress(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), mtime=0)


def _structure(analysis: Analysis, row: int) -> dict[str, Any]:
    atoms = slice(*analysis.first_atom[row : row + 2])
    x, y, z = np.round(analysis.angstrom * analysis.positions[atoms], 6).T
    found: dict[str, Any] = {
        "size": int(analysis.structures.n_atoms[row]),
        "names": [chemical_symbols[number] for number in analysis.numbers[atoms]],
        "x": x.tolist(),
        "y": y.tolist(),
        "z": z.tolist(),
    }
    if analysis.structures.pbc[row].any():
        found["cell"] = (analysis.angstrom * analysis.structures.cell[row]).ravel().tolist()
    return found


def _properties(analysis: Analysis, rows: Integers) -> dict[str, Any]:
    table = analysis.structures
    found: dict[str, Any] = {}

    def put(name: str, values: Floats, unit: str = "") -> None:
        if np.isfinite(values[rows]).all():
            found[name] = {"target": "structure", "values": values[rows].tolist(), **({"units": unit} if unit else {})}

    put("map 1", table.map[:, 0])
    put("map 2", table.map[:, 1])
    put("frame", table.frame.astype(float))
    put("atoms", table.n_atoms.astype(float))
    for label in analysis.labels.values():
        errors, unit = pairs(analysis, Look(label.name)), unit_of(label)
        put(f"RMSE {label.name}", by_structure(analysis, errors), unit)
        if label.shape in ((), (1,)) and not label.per_atom:
            put(f"reference {label.name}", mean_of(errors.reference, errors.structure, len(analysis)), unit)
            put(f"error {label.name}", by_structure(analysis, errors, mean_of), unit)
    about = analysis.info.uncertainty or {}
    put("predicted standard deviation", table.uncertainty, str(about.get("unit") or ""))
    for name, texts in (("config_type", table.group), ("split", table.split), ("formula", table.formula)):
        if (texts[rows] != "").all():
            found[name] = {"target": "structure", "values": texts[rows].tolist()}
    return found


def _arrows(analysis: Analysis, forces: Label, rows: Integers) -> dict[str, Any]:
    """One unit of force is one of length."""
    first = analysis.first_atom
    atoms = np.concatenate([np.arange(first[row], first[row + 1]) for row in rows]) if len(rows) else np.empty(0, int)
    shapes = {}
    for name, values, colour in (
        ("reference forces", forces.reference, REFERENCE),
        ("predicted forces", forces.prediction, PREDICTED),
    ):
        vectors = np.nan_to_num(values.reshape(len(values), -1)[atoms])
        shapes[name] = {
            "kind": "arrow",
            "parameters": {
                "global": {"baseRadius": 0.08, "headRadius": 0.16, "headLength": 0.25, "color": colour},
                "atom": [{"vector": vector} for vector in np.round(vectors, 5).tolist()],
            },
        }
    return shapes


def _settings(properties: dict[str, Any], arrows: bool) -> dict[str, Any]:
    colour = next((name for name in properties if name.startswith("RMSE") and name.endswith(".forces")), None)
    colour = colour or next((name for name in properties if name.startswith("RMSE")), None)
    places = ("map 1", "map 2") if "map 1" in properties and "map 2" in properties else ("frame", colour or "atoms")
    found: dict[str, Any] = {"map": {"x": {"property": places[0]}, "y": {"property": places[1]}}}
    if colour is not None:
        found["map"]["color"] = {"property": colour}
    if arrows:
        found["structure"] = [{"shape": "reference forces,predicted forces"}]
    return found
