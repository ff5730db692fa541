"""An analysis on disk: three files in a folder, columns that any reader of Parquet opens.

``analysis.json``       what was compared: model, data, labels with their units; see ``AnalysisInfo``
``structures.parquet``  a row a structure: where it comes from, its cell, and every label that belongs to a structure
``atoms.parquet``       a row an atom, structure after structure: element, position, and every label of atoms

A label ``energy.forces`` is two columns, ``energy.forces:reference`` and ``energy.forces:prediction``, each a list of
fixed length: components slow and properties fast, in the label's own unit and undivided (total energies), NaN where the
data have none. ``<energy>:baseline`` is the sum of the energies of single atoms that the model adds.
"""

import ctypes
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mace_app.options import TargetInfo

if TYPE_CHECKING:
    import pyarrow
    from ase import Atoms

FORMAT = 1
INFO, STRUCTURES, ATOMS = "analysis.json", "structures.parquet", "atoms.parquet"
PARTS = ("reference", "prediction", "baseline")
ANGSTROM = {"angstrom": 1.0, "bohr": 0.529177210903, "nanometer": 10.0}
Floats = NDArray[np.float64]


class AnalysisError(Exception):
    """What is wrong with a stored analysis, where, and what to do."""


@dataclass(frozen=True)
class Label:
    """Reference and prediction of one label, ``[rows, *shape]``, a row a structure or (``per_atom``) an atom.

    ``unit`` is that of the values as they are stored, undivided. ``divide_by_atoms``: whether errors are usually told
    per atom. ``baseline [structures]`` is there for energies.
    """

    name: str
    unit: str
    per_atom: bool
    divide_by_atoms: bool
    reference: Floats
    prediction: Floats
    baseline: Floats | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.prediction.shape[1:]


@dataclass(frozen=True)
class Structures:
    """A row a structure. ``split`` is training, validation or test, empty for data of no split; ``dataset`` the file it
    comes from and ``frame`` its number there, from 0; ``group`` its ``config_type``.

    ``map [S, 2]`` are coordinates on the map of structures, ``uncertainty [S]`` the predicted standard deviation of the
    energy in its unit, ``weight [S]`` what it counts in the loss; NaN where unknown.
    """

    split: NDArray[np.str_]
    dataset: NDArray[np.str_]
    frame: NDArray[np.int64]
    group: NDArray[np.str_]
    formula: NDArray[np.str_]
    n_atoms: NDArray[np.int64]
    cell: Floats  # [S, 3, 3]
    pbc: NDArray[np.bool_]  # [S, 3]
    map: Floats
    uncertainty: Floats

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class AnalysisInfo:
    """``model``: ``{"kind": "run" | "file" | "foundation", "id", "which", "name", "path", "sha256", "epoch"}``;
    ``data``: ``[{"name", "path", "sha256", "structures"}]``; ``targets`` by name; ``created`` in ISO 8601;
    ``map``: how the coordinates were made, ``uncertainty``: how, and of which energy; both None where there are none.
    ``warnings``: sentences about the data, such as labels that are missing.
    """

    model: dict[str, Any]
    data: list[dict[str, Any]]
    targets: dict[str, TargetInfo]
    length_unit: str
    created: str = ""
    seconds: float = 0.0
    map: dict[str, Any] | None = None
    uncertainty: dict[str, Any] | None = None
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Analysis:
    """All of a stored analysis. ``numbers [N]`` and ``positions [N, 3]`` are those of all atoms, structure after
    structure; structure ``s`` has the atoms ``first_atom[s]`` to ``first_atom[s + 1]``."""

    info: AnalysisInfo
    structures: Structures
    numbers: NDArray[np.int64]
    positions: Floats
    labels: dict[str, Label]

    def __len__(self) -> int:
        return len(self.structures)

    @cached_property
    def first_atom(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.structures.n_atoms)])

    @cached_property
    def structure_of_atom(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self)), self.structures.n_atoms)

    def rows(self, label: str, structure: int) -> slice:
        """The rows of a label that belong to a structure."""
        first = self.first_atom
        return (
            slice(first[structure], first[structure + 1])
            if self.labels[label].per_atom
            else slice(structure, structure + 1)
        )

    @property
    def angstrom(self) -> float:
        """What lengths of the data have to be multiplied by to be in Å."""
        return ANGSTROM.get(self.info.length_unit, 1.0)

    def atoms(self, structure: int, in_angstrom: bool = True) -> "Atoms":
        """The structure alone, without labels, in Å as ASE has it, or in the length unit of the data."""
        from ase import Atoms

        rows = slice(*self.first_atom[structure : structure + 2])
        factor = self.angstrom if in_angstrom else 1.0
        return Atoms(
            self.numbers[rows],
            factor * self.positions[rows],
            cell=factor * self.structures.cell[structure],
            pbc=self.structures.pbc[structure],
        )


def formulas(numbers: NDArray[np.int64], n_atoms: NDArray[np.int64]) -> list[str]:
    """The formula of each structure, in Hill's order, from the elements ``[N]`` of all atoms."""
    from ase import Atoms

    known: dict[bytes, str] = {}
    found, start = [], 0
    for count in n_atoms:
        own = numbers[start : start + count]
        start += count
        key = own.tobytes()
        if key not in known:
            known[key] = Atoms(own).get_chemical_formula()
        found.append(known[key])
    return found


def write_analysis(folder: Path, analysis: Analysis) -> None:
    """Into a folder that is not there yet, or in the place of one; readers find the old or the new, never a part."""
    import pyarrow.parquet

    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        pyarrow.parquet.write_table(_structures_table(analysis), new / STRUCTURES)
        pyarrow.parquet.write_table(_atoms_table(analysis), new / ATOMS)
        _to_disk(new / STRUCTURES, new / ATOMS)
        info = asdict(analysis.info) | {
            "format": FORMAT,
            "labels": {
                label.name: {
                    "unit": label.unit,
                    "per_atom": label.per_atom,
                    "divide_by_atoms": label.divide_by_atoms,
                    "shape": list(label.shape),
                }
                for label in analysis.labels.values()
            },
        }
        (new / INFO).write_text(json.dumps(info, indent=1), encoding="utf-8")
        _to_disk(new / INFO)
        if not folder.exists():
            os.replace(new, folder)
        elif exchange(new, folder):
            shutil.rmtree(new, ignore_errors=True)
        else:
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            os.replace(folder, old / "old")
            os.replace(new, folder)
            shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def exchange(first: Path, second: Path) -> bool:
    """Give two folders each other's name, in one step; False, and nothing done, where the system has no such step."""
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), swap) == 0)


def _to_disk(*paths: Path) -> None:
    """So that a power cut can't leave a folder that says it is done with tables that are empty."""
    for path in paths:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def is_whole(folder: Path) -> bool:
    """Whether the three files are there and the tables have their ends; without reading them."""
    import pyarrow
    import pyarrow.parquet

    try:
        read_info(folder)
        for name in (STRUCTURES, ATOMS):
            pyarrow.parquet.read_metadata(folder / name)
    except (AnalysisError, OSError, pyarrow.ArrowException):
        return False
    return True


def read_info(folder: Path) -> AnalysisInfo:
    """Without the tables. AnalysisError if it is missing or damaged."""
    try:
        value = json.loads((folder / INFO).read_text(encoding="utf-8"))
        if value.pop("format") != FORMAT:
            raise AnalysisError(f"{folder} was written by a newer version; analyse the model again.")
        value["targets"] = {name: TargetInfo(**target) for name, target in value["targets"].items()}
        return AnalysisInfo(**value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error


def read_analysis(folder: Path) -> Analysis:
    """AnalysisError if a file is missing or damaged."""
    import pyarrow
    import pyarrow.parquet

    info = read_info(folder)
    try:
        structures = pyarrow.parquet.read_table(folder / STRUCTURES, memory_map=True)
        atoms = pyarrow.parquet.read_table(folder / ATOMS, memory_map=True)
        count = structures.num_rows
        table = Structures(
            split=_texts(structures, "split"),
            dataset=_texts(structures, "dataset"),
            frame=_numbers(structures, "frame").astype(np.int64),
            group=_texts(structures, "group"),
            formula=_texts(structures, "formula"),
            n_atoms=_numbers(structures, "n_atoms").astype(np.int64),
            cell=_numbers(structures, "cell").reshape(count, 3, 3),
            pbc=_numbers(structures, "pbc").reshape(count, 3).astype(bool),
            map=_numbers(structures, "map").reshape(count, 2),
            uncertainty=_numbers(structures, "uncertainty"),
        )
        if table.n_atoms.sum() != atoms.num_rows:
            raise ValueError(f"{atoms.num_rows} atoms for structures of {table.n_atoms.sum()}")
        labels = {}
        for name, about in info.labels.items():
            source = atoms if about["per_atom"] else structures
            shape = (source.num_rows, *about["shape"])
            base = f"{name}:baseline"
            labels[name] = Label(
                name,
                about["unit"],
                about["per_atom"],
                about["divide_by_atoms"],
                _numbers(source, f"{name}:reference").reshape(shape),
                _numbers(source, f"{name}:prediction").reshape(shape),
                _numbers(source, base) if base in source.column_names else None,
            )
        numbers = _numbers(atoms, "number").astype(np.int64)
        return Analysis(info, table, numbers, _numbers(atoms, "position").reshape(-1, 3), labels)
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> AnalysisError:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return AnalysisError(f"The analysis in {folder} can't be read ({words}); analyse the model again.")


def _structures_table(analysis: Analysis) -> "pyarrow.Table":
    import pyarrow

    table = analysis.structures
    columns: dict[str, Any] = {
        name: pyarrow.array(getattr(table, name).tolist(), pyarrow.string())
        for name in ("split", "dataset", "group", "formula")
    }
    columns |= {name: getattr(table, name) for name in ("frame", "n_atoms", "uncertainty")}
    columns |= {name: _lists(getattr(table, name)) for name in ("cell", "pbc", "map")}
    return pyarrow.table(columns | _label_columns(analysis.labels, per_atom=False))


def _atoms_table(analysis: Analysis) -> "pyarrow.Table":
    import pyarrow

    columns = {"number": analysis.numbers.astype(np.int16), "position": _lists(analysis.positions)}
    return pyarrow.table(columns | _label_columns(analysis.labels, per_atom=True))


def _label_columns(labels: Mapping[str, Label], per_atom: bool) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for label in labels.values():
        if label.per_atom == per_atom:
            columns[f"{label.name}:reference"] = _lists(label.reference)
            columns[f"{label.name}:prediction"] = _lists(label.prediction)
            if label.baseline is not None:
                columns[f"{label.name}:baseline"] = label.baseline
    return columns


def _lists(values: NDArray[Any]) -> "pyarrow.Array":
    import pyarrow

    return pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(np.ascontiguousarray(values).reshape(-1)), math.prod(values.shape[1:])
    )


def _numbers(table: "pyarrow.Table", name: str) -> NDArray[Any]:
    column = table.column(name).combine_chunks()
    if hasattr(column.type, "list_size"):
        column = column.flatten()
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _texts(table: "pyarrow.Table", name: str) -> NDArray[np.str_]:
    values = table.column(name).to_pylist()
    return np.array(values, dtype=np.str_) if values else np.empty(0, dtype="<U1")
