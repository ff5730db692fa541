"""From options to graphs on disk: read, check, split, find neighbours, pack."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from mace_app.data.checks import check_distances, check_elements, check_geometry, check_listed
from mace_app.data.errors import DataError, numbered
from mace_app.data.frames import Frame, is_isolated_atom
from mace_app.data.graphs import GraphSet
from mace_app.data.label_files import beside, label_paths, read_structures
from mace_app.data.labels import LabelReader, labels_of
from mace_app.data.neighbours import Neighbours
from mace_app.data.packing import Pack, PackWriter
from mace_app.data.prepared import FORMAT, MANIFEST, ROLES, Layout, PreparedData, load_prepared, save_manifest
from mace_app.data.reading import Progress
from mace_app.data.splits import check_chosen, divide, read_indices
from mace_app.data.weights import StructureWeights, check_weights
from mace_app.files import sha256_of
from mace_app.options import DatasetOptions, IndicesOptions, RunOptions, TargetInfo


def prepare(
    options: RunOptions, folder: Path, progress: Progress | None = None, may_lack: Collection[Path] = ()
) -> PreparedData:
    """Everything training needs, packed under ``folder``; what lies there from the same files and options is reused.

    ``progress(done, total, message)`` counts bytes of the files. The files ``may_lack`` labels altogether, as for an
    evaluation: what no structure has is said in the warnings, and the prepared sets are without it. Raises DataError
    for what is wrong with the data and OptionsError for an option that these data can't serve (for example a weight for
    forces that none has).
    """
    folder = Path(folder)
    datasets = {"training": options.training_datasets}
    for role, value in (("validation", options.validation), ("test", options.test)):
        if isinstance(value, list):
            datasets[role] = value
    members = [dataset for role in datasets.values() for dataset in role]
    paths = list(dict.fromkeys(path for dataset in members for path in (_path(dataset), *label_paths(dataset))))
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
    parts = {
        role: _Part(
            role,
            own,
            folder,
            layout,
            options.architecture.model.r_max,
            _chosen(role, options, own),
            StructureWeights(options.architecture.training.config_weights),
            may_lack,
        ).read(meter, warnings)
        for role, own in datasets.items()
    }
    content, targets = _divide(options, parts, folder, layout, warnings)
    content |= {
        "files": [{"path": str(path), "sha256": hashes[path], "structures": meter.structures[path]} for path in paths],
        "warnings": warnings,
        "targets": {name: info.to_json() for name, info in targets.items()},
    }
    save_manifest(folder, fingerprint, content)
    prepared = load_prepared(folder, fingerprint)
    assert prepared is not None
    return prepared


@dataclass
class _Part:
    """The files of one role on their way into one pack."""

    role: str
    datasets: Sequence[DatasetOptions]
    folder: Path
    layout: Layout
    cutoff: float
    chosen: Sequence[frozenset[int] | None]  # of each data set, the frames to use; None for all
    weights: StructureWeights
    may_lack: Collection[Path] = ()
    positions: list[list[int]] = field(default_factory=list)  # of each data set, those of packed structures
    isolated: frozenset[int] = frozenset()
    atom_values: dict[str, dict[int, float]] = field(default_factory=dict)
    symmetric: dict[str, bool] = field(default_factory=dict)  # of tensors: whether all labels equal their transposes
    total: int = 0

    @property
    def paths(self) -> list[Path]:
        return [_path(dataset) for dataset in self.datasets]

    def read(self, meter: "_Meter", warnings: list[str]) -> "_Part":
        writer = PackWriter(self.folder, self.role, self.layout)
        try:
            self._read(writer, meter, warnings)
        except BaseException:
            writer.abandon()
            raise
        writer.close()
        return self

    def _read(self, writer: PackWriter, meter: "_Meter", warnings: list[str]) -> None:
        neighbours = Neighbours(self.cutoff)
        atoms: list[tuple[int, int, Frame]] = []  # data set, position, frame
        readers = [LabelReader(beside(dataset), _path(dataset) in self.may_lack) for dataset in self.datasets]
        watch = partial(meter.watch, message="Reading structures, finding neighbours")
        for number, (dataset, reader) in enumerate(zip(self.datasets, readers, strict=True)):
            first = self.total
            self.positions.append([])
            for frame in self._frames(number, dataset, watch, meter):
                if is_isolated_atom(frame):
                    atoms.append((number, first + frame.index, frame))
                else:
                    self._append(writer, neighbours, reader, number, first + frame.index, frame)
        if writer.length == 0:
            for number, position, frame in atoms:
                self._append(writer, neighbours, readers[number], number, position, frame)
        elif atoms:
            self.isolated = frozenset(position for _, position, _ in atoms)
            self._read_atoms(atoms, warnings)
        self._check(readers, warnings)
        if self.role == "training":
            self.weights.check(self.paths, [frame for _, _, frame in atoms], warnings)

    def _check(self, readers: Sequence[LabelReader], warnings: list[str]) -> None:
        for reader, kept in zip(readers, self.positions, strict=True):
            if kept:
                reader.check(warnings)
            for label in reader.labels:
                if label.may_be_symmetric:
                    here = reader.coverage[label.name].is_symmetric
                    self.symmetric[label.name] = here and self.symmetric.get(label.name, True)

    def _frames(
        self, number: int, dataset: DatasetOptions, watch: Callable[[Path], Callable[[int], None]], meter: "_Meter"
    ) -> Iterator[Frame]:
        """The frames of a data set that are used; all of them are counted."""
        chosen, count = self.chosen[number], 0
        for frame in read_structures(dataset, watch):
            count = frame.index + 1
            if chosen is None or frame.index in chosen:
                yield frame
        check_chosen(chosen, count, _path(dataset))
        meter.structures |= dict.fromkeys((_path(dataset), *label_paths(dataset)), count)
        self.total += count

    def _append(
        self, writer: PackWriter, neighbours: Neighbours, reader: LabelReader, number: int, position: int, frame: Frame
    ) -> None:
        check_geometry(frame, reader.path, self.cutoff)
        labels = reader.read(frame)
        senders, receivers, shifts, distances = neighbours(frame.positions, frame.cell, frame.pbc)
        check_distances(frame, reader.path, senders, receivers, distances)
        weight = self.weights.read(frame, reader.path)
        writer.append(frame, (number, frame.index), (senders, receivers, shifts), labels, weight)
        self.positions[number].append(position)

    def _read_atoms(self, atoms: list[tuple[int, int, Frame]], warnings: list[str]) -> None:
        """Values of free atoms for the baseline; only the training files' are used."""
        readers = [LabelReader(beside(dataset)) for dataset in self.datasets]
        without = []
        for number, position, frame in atoms:
            element = int(frame.numbers[0])
            scalars = {
                name: float(values.reshape(-1)[0])
                for name, values in readers[number].read(frame).items()
                if values.size == 1 and name in self.datasets[number].targets
            }
            if not scalars:
                without.append(position)
            for name, value in scalars.items():
                known = self.atom_values.setdefault(name, {})
                if abs(known.setdefault(element, value) - value) > 1e-6 * max(1.0, abs(value)):
                    warnings.append(
                        f"{readers[number].path}: the isolated atom {chemical_symbols[element]} in frame {frame.index} "
                        f"has `{name}` {value:g}, but {known[element]:g} was read before; the first is used."
                    )
        if without:
            warnings.append(
                f"The isolated atoms in the frames {numbered(without)} of the {self.role} files carry no scalar label; "
                "they are left out."
            )


def _divide(
    options: RunOptions, parts: Mapping[str, _Part], folder: Path, layout: Layout, warnings: list[str]
) -> tuple[dict[str, Any], dict[str, TargetInfo]]:
    """Split, decide what is "used if found", check elements. Returns the manifest's content and the targets."""
    train = parts["training"]
    splits, said = divide(
        train.positions,
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
            splits[role] = [position for dataset in parts[role].positions for position in dataset]
    source = {role: role if role in parts else "training" for role in ROLES}
    row_of = {
        role: {position: row for row, position in enumerate(p for dataset in part.positions for p in dataset)}
        for role, part in parts.items()
    }
    rows = {role: [row_of[source[role]][position] for position in splits[role]] for role in ROLES}
    packs = {role: Pack(folder, role, layout) for role in parts}
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
        "rows": rows,
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
    parts: Mapping[str, _Part],
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
    """Progress in bytes over all files, and the structures counted on the way."""

    def __init__(self, paths: Sequence[Path], progress: Progress | None) -> None:
        self.progress = progress
        self.sizes = {path: _size(path) for path in paths}
        self.total = sum(self.sizes.values())
        self.structures: dict[Path, int] = {}
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


def _path(dataset: DatasetOptions) -> Path:
    return Path(dataset.systems.read_from)


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
