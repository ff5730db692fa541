"""From options to graphs on disk: read, check, split, find neighbours, pack."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mace_app.data.checks import check_elements, check_listed
from mace_app.data.errors import DataError
from mace_app.data.graphs import GraphSet
from mace_app.data.journal import Journal, remove_notes
from mace_app.data.label_files import label_paths
from mace_app.data.labels import labels_of
from mace_app.data.packing import Pack
from mace_app.data.part import Part, path_of
from mace_app.data.prepared import FORMAT, MANIFEST, ROLES, Layout, PreparedData, load_prepared, save_manifest
from mace_app.data.reading import Progress
from mace_app.data.splits import divide, read_indices
from mace_app.data.weights import StructureWeights, check_weights
from mace_app.files import sha256_of
from mace_app.options import DatasetOptions, IndicesOptions, RunOptions, TargetInfo


def prepare(
    options: RunOptions,
    folder: Path,
    progress: Progress | None = None,
    may_lack: Collection[Path] = (),
    processes: int | None = None,
) -> PreparedData:
    """Everything training needs, packed under ``folder``; what lies there from the same files and options is reused.

    ``progress(done, total, message)`` counts bytes of the files. The files ``may_lack`` labels altogether, as for an
    evaluation: what no structure has is said in the warnings, and the prepared sets are without it. Large extended xyz
    files are read by as many ``processes`` as there are cores, unless their number is given. A preparation that was
    cut short goes on where it was. Raises DataError for what is wrong with the data and OptionsError for an option that
    these data can't serve (for example a weight for forces that none has).
    """
    folder = Path(folder)
    datasets = {"training": options.training_datasets}
    for role, value in (("validation", options.validation), ("test", options.test)):
        if isinstance(value, list):
            datasets[role] = value
    members = [dataset for role in datasets.values() for dataset in role]
    paths = list(dict.fromkeys(path for dataset in members for path in (path_of(dataset), *label_paths(dataset))))
    meter = _Meter(paths, progress)
    hashes = {path: meter.sha256(path) for path in paths}
    fingerprint = _fingerprint(options, hashes, may_lack)
    ready = load_prepared(folder, fingerprint)
    if ready is not None:
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)

    layout: Layout = {}
    for dataset in options.training_datasets:
        layout |= {label.name: (label.per_atom, label.shape) for label in labels_of(dataset)}
    warnings: list[str] = []
    watch = partial(meter.watch, message="Reading structures, finding neighbours")
    parts = {
        role: Part(
            role,
            own,
            folder,
            layout,
            options.architecture.model.r_max,
            _chosen(role, options, own),
            StructureWeights(options.architecture.training.config_weights),
            Journal(folder, role, fingerprint),
            may_lack,
            processes,
        ).read(watch, warnings)
        for role, own in datasets.items()
    }
    content, targets = _divide(options, parts, folder, layout, warnings)
    structures = {
        path: count
        for part in parts.values()
        for dataset, count in zip(part.datasets, part.structures, strict=True)
        for path in (path_of(dataset), *label_paths(dataset))
    }
    content |= {
        "files": [{"path": str(path), "sha256": hashes[path], "structures": structures[path]} for path in paths],
        "warnings": warnings,
        "targets": {name: info.to_json() for name, info in targets.items()},
    }
    remove_notes(folder)
    save_manifest(folder, fingerprint, content)
    prepared = load_prepared(folder, fingerprint)
    assert prepared is not None
    return prepared


def _divide(
    options: RunOptions, parts: Mapping[str, Part], folder: Path, layout: Layout, warnings: list[str]
) -> tuple[dict[str, Any], dict[str, TargetInfo]]:
    """Split, decide what is "used if found", check elements. Returns the manifest's content and the targets."""
    train = parts["training"]
    packs = {role: Pack(folder, role, layout) for role in parts}
    positions = {role: part.positions(packs[role]) for role, part in parts.items()}
    splits, said = divide(
        positions["training"],
        train.total,
        None if isinstance(options.validation, list) else options.validation,
        None if isinstance(options.test, list) else options.test,
        seed=options.seed,
        isolated=train.isolated,
        needs_validation=options.architecture.training.num_epochs > 0,
    )
    warnings += said
    for role in ("validation", "test"):
        if role in parts:
            splits[role] = [position for dataset in positions[role] for position in dataset]
    source = {role: role if role in parts else "training" for role in ROLES}
    all_positions = {role: np.concatenate([np.asarray(p, dtype=np.int64) for p in positions[role]]) for role in parts}
    rows = {role: np.searchsorted(all_positions[source[role]], splits[role]) for role in ROLES}
    sets = {role: GraphSet(packs[source[role]], rows[role]) for role in ROLES}
    if options.architecture.training.num_epochs > 0:
        for role in ("training", "validation"):
            check_weights(role, sets[role].weights)

    found = {label for label in layout if sets["training"].labels_present(label).any()}
    targets = options.targets(found, train.symmetric)
    used = [label for info in targets.values() for label in info.labels()]
    for label in used:
        if label not in found:
            if train.may_lack:
                continue
            raise DataError(
                f"`{label}` is known for some structures, but for none of the training set after the split. Choose "
                "another split or add structures with it."
            )
        if len(sets["validation"]) and not sets["validation"].labels_present(label).any():
            warnings.append(f"`{label}` is known for no validation structure, so no error of it can be shown.")
    atomic_types = _atomic_types(options, parts, source, sets, warnings)
    content = {
        "labels": {label: layout[label] for label in layout if label in used and label in found},
        "packs": list(parts),
        "source": source,
        "rows": {role: rows[role].tolist() for role in ROLES},
        "splits": splits,
        "atomic_types": atomic_types,
        "isolated_atoms": {
            name: {str(z): value for z, value in values.items() if z in atomic_types}
            for name, values in train.atom_values.items()
        },
    }
    return content, targets


def _atomic_types(
    options: RunOptions,
    parts: Mapping[str, Part],
    source: Mapping[str, str],
    sets: Mapping[str, GraphSet],
    warnings: list[str],
) -> list[int]:
    listed = options.architecture.atomic_types
    file = options.architecture.model.mace_model
    trained = sets["training"].elements()
    if listed is not None:
        for role in ROLES:
            check_listed(sets[role], parts[source[role]].paths, listed, file)
        never = [chemical_symbols[z] for z in listed if z not in trained]
        if never and file is None:
            warnings.append(
                f"`atomic_types` lists {', '.join(never)}, which no training structure contains; predictions for them "
                "mean nothing."
            )
        return listed
    for role in ("validation", "test"):
        check_elements(sets[role], parts[source[role]].paths, trained, role)
    return trained


class _Meter:
    """Progress in bytes over all files."""

    def __init__(self, paths: Sequence[Path], progress: Progress | None) -> None:
        self.progress = progress
        self.sizes = {path: _size(path) for path in paths}
        self.total = sum(self.sizes.values())
        self._before: dict[str, int] = {}

    def sha256(self, path: Path) -> str:
        done = 0

        def add(count: int) -> None:
            nonlocal done
            done += count
            self._tell(self._before.get("hash", 0) + done, "Checking files")

        digest = sha256_of(path, add)
        self._before["hash"] = self._before.get("hash", 0) + self.sizes[path]
        return digest

    def watch(self, path: Path, message: str) -> Callable[[int], None]:
        before = self._before.get("read", 0)
        self._before["read"] = before + self.sizes[path]
        return lambda done: self._tell(before + done, message)

    def _tell(self, done: int, message: str) -> None:
        if self.progress is not None:
            self.progress(min(done, self.total), self.total, message)


def _chosen(role: str, options: RunOptions, datasets: Sequence[DatasetOptions]) -> list[frozenset[int] | None]:
    """The frames of each data set that are used; a validation or test set by indices picks from the whole file."""
    picked: set[int] = set()
    if role == "training":
        for name, share in (("validation", options.validation), ("test", options.test)):
            if isinstance(share, IndicesOptions):
                picked |= set(read_indices(share.indices, name))
    return [
        None if dataset.indices is None else frozenset(read_indices(dataset.indices, role)) | picked
        for dataset in datasets
    ]


def _size(path: Path) -> int:
    if not path.is_file():
        what = "this is no file" if path.exists() else "there is no such file"
        raise DataError(f"{path}: {what}. Check the path; it starts from the folder the program was started in.")
    return path.stat().st_size


def _fingerprint(options: RunOptions, hashes: Mapping[Path, str], may_lack: Collection[Path]) -> str:
    """Changes with everything the prepared folder depends on."""
    sets = {name: getattr(options, name) for name in ("training_set", "validation_set", "test_set")}
    written = options.model_dump(mode="json", include={*sets})
    listed = {
        name: read_indices(value.indices, name) for name, value in sets.items() if isinstance(value, IndicesOptions)
    }
    value = [
        FORMAT,
        written,
        listed,
        [
            read_indices(dataset.indices, place[0])
            for place, dataset in options.all_datasets()
            if isinstance(dataset.indices, str)
        ],
        {str(path): digest for path, digest in hashes.items()},
        options.architecture.model.r_max,
        options.architecture.atomic_types,
        options.architecture.training.num_epochs > 0,
        options.architecture.training.config_weights,
        options.seed,
        *sorted(map(str, may_lack)),
    ]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
