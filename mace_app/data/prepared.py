"""What training starts from, and how it is kept in a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mace_app.data.graphs import GraphSet
from mace_app.data.packing import Pack
from mace_app.files import read_json, write_json
from mace_app.options import TargetInfo

FORMAT = 3
MANIFEST = "prepared.json"
ROLES = ("training", "validation", "test")
Layout = dict[str, tuple[bool, tuple[int, ...]]]


@dataclass(frozen=True)
class PreparedData:
    """Graphs and labels of a run.

    ``splits`` holds positions for each of training, validation and test: frames counted from 0 through all files of
    the training set, or of that set if it has files of its own. ``isolated_atoms[label][Z]`` are values of free atoms
    in the training files, which are in no split. ``files`` lists path, sha256 and number of structures of each file
    that was read. ``targets`` are resolved: ``has_forces`` and ``has_stress`` are decided.
    """

    training: GraphSet
    validation: GraphSet
    test: GraphSet
    isolated_atoms: dict[str, dict[int, float]]
    splits: dict[str, list[int]]
    atomic_types: list[int]
    files: list[dict[str, Any]]
    warnings: list[str]
    targets: dict[str, TargetInfo]


def save_manifest(folder: Path, fingerprint: str, content: Mapping[str, Any]) -> None:
    """Written last: a folder without it is unfinished."""
    write_json(folder / MANIFEST, {"format": FORMAT, "fingerprint": fingerprint, **content})


def load_prepared(folder: Path, fingerprint: str | None = None) -> PreparedData | None:
    """What ``prepare`` left in a folder; None if it is absent, unfinished or was made from something else."""
    try:
        value = read_json(folder / MANIFEST)
        if value["format"] != FORMAT or (fingerprint is not None and value["fingerprint"] != fingerprint):
            return None
        labels: Layout = {name: (bool(per_atom), tuple(shape)) for name, (per_atom, shape) in value["labels"].items()}
        packs = {role: Pack(folder, role, labels) for role in value["packs"]}
        empty = packs["training"]
        sets = {
            role: GraphSet(packs[value["source"][role]], value["rows"][role])
            if value["rows"][role]
            else GraphSet(empty, [])
            for role in ROLES
        }
    except (OSError, KeyError, TypeError, ValueError, EOFError):
        return None
    return PreparedData(
        training=sets["training"],
        validation=sets["validation"],
        test=sets["test"],
        isolated_atoms={
            label: {int(z): energy for z, energy in values.items()} for label, values in value["isolated_atoms"].items()
        },
        splits=value["splits"],
        atomic_types=value["atomic_types"],
        files=value["files"],
        warnings=value["warnings"],
        targets={name: TargetInfo.from_json(info) for name, info in value["targets"].items()},
    )
