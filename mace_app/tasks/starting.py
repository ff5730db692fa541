"""What a training starts from: random weights, a foundation file, or its own last checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from mace_app.data import GraphSet, PreparedData
from mace_app.evaluation import evaluate
from mace_app.files import sha256_of
from mace_app.model import BaselineReport, MaceModel, ModelConfig, ScaleReport
from mace_app.model.foundation import (
    Foundation,
    atomic_baseline,
    continued_config,
    open_foundation,
    put_foundation,
)
from mace_app.options import RunOptions, TrainingHypers
from mace_app.published import published_as
from mace_app.tasks.errors import TaskError

DTYPES = {32: torch.float32, 64: torch.float64}
# Beyond this an energy of a single atom belongs to another level of theory rather than to an error of the model.
ANOTHER_LEVEL = 1.0  # eV
_MOST_STRUCTURES = 2000
# Singular values below this part of the largest are rounding.
_RANK = 1e-10


def options_for(options: RunOptions, cutoff: float, atomic_types: list[int]) -> RunOptions:
    """The options with cutoff and elements of a model that is there already, by which the data are prepared."""
    architecture = options.architecture
    model = architecture.model.model_copy(update={"r_max": cutoff})
    architecture = architecture.model_copy(update={"model": model, "atomic_types": sorted(atomic_types)})
    return options.model_copy(update={"architecture": architecture})


@dataclass
class Start:
    """A foundation file as the beginning of a run, and what becomes of its energies."""

    foundation: Foundation
    path: Path
    sha256: str
    heads: dict[str, str | None]  # of each target that may use MACE's readouts

    @classmethod
    def of(cls, options: RunOptions) -> "Start | None":
        """None for a run from random weights. FoundationError or TaskError for a file that can't be used."""
        hypers = options.architecture.model
        if hypers.mace_model is None:
            return None
        path = Path(hypers.mace_model)
        if not path.exists():
            raise TaskError(f"`mace_model: {path}`: there is no such file. Check the path, or put the file there.")
        foundation = open_foundation(path)
        named = {hypers.mace_head_target: hypers.mace_head_name}
        named |= {name: head or hypers.mace_head_name for name, head in hypers.more_mace_heads.items()}
        start = cls(foundation, path, sha256_of(path), named)
        for name in named.values():
            foundation.head_index(name)  # a wrong name is said before the data are read
        return start

    def options(self, options: RunOptions) -> RunOptions:
        architecture = self.foundation.architecture
        return options_for(options, architecture.r_max, list(architecture.atomic_numbers))

    def model(self, options: RunOptions, prepared: PreparedData) -> MaceModel:
        """The weights of the file; added heads from torch's global generator, baseline 0 and scale 1 for them."""
        training = options.architecture.training
        config = continued_config(
            self.foundation,
            options.architecture.model,
            prepared.targets,
            keep=training.freeze == "backbone",
            per_structure_targets=tuple(training.per_structure_targets),
        )
        model = MaceModel(config, DTYPES[options.base_precision])
        put_foundation(model, self.foundation, self.heads)
        return model

    def lines(self, config: ModelConfig) -> list[str]:
        """For the log."""
        foundation = self.foundation
        published = published_as(foundation.file)
        known = f"{published.title}, licence {published.licence}" if published else "its licence is not known here"
        found = [
            f"Starting from {self.path} ({known}; SHA-256 {self.sha256}): {foundation.kind}, "
            f"{foundation.parameters} weights, {len(config.atomic_types)} elements."
        ]
        for name in config.internal_targets:
            head = foundation.heads[foundation.head_index(self.heads[name])]
            fate = "carried along unchanged" if name in config.carried else "goes on"
            found.append(f"`{name}` has the readouts of its head `{head}` and {fate}.")
        gone = [name for name in self.heads if name not in config.targets]
        if gone:
            found.append(
                f"Warning: No data for {', '.join(f'`{name}`' for name in gone)}: what the file says of it would "
                "become wrong while its other layers change, so it is left out. With `freeze: backbone` it stays as it "
                "is."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """For ``report.json``."""
        published = published_as(self.foundation.file)
        return {
            "file": str(self.path),
            "sha256": self.sha256,
            "heads": {
                name: self.foundation.heads[self.foundation.head_index(head)] for name, head in self.heads.items()
            },
            "title": published.title if published else None,
            "licence": published.licence if published else None,
        }


@dataclass
class FileEnergies:
    """Baselines of the targets that go on from a file: complete tables by atomic number, and how they came about."""

    tables: dict[str, dict[int, float]] = field(default_factory=dict)
    sources: dict[str, dict[int, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def name_sources(self, reports: list[BaselineReport]) -> None:
        """The tables were handed in complete; say where they came from."""
        for report in reports:
            if report.target in self.sources:
                report.sources = dict(self.sources[report.target])

    def name_scales(self, reports: list[ScaleReport]) -> None:
        for report in reports:
            if report.target in self.tables:
                report.source = "foundation"


def file_energies(
    start: Start,
    model: MaceModel,
    training: TrainingHypers,
    prepared: PreparedData,
    length_unit: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FileEnergies:
    """Energies of single atoms for MACE's own targets: of the file, shifted by what it leaves over on the training data
    (``estimated``), of isolated atoms in the data, or numbers given; the file's shift is part of all.

    In any case the file's predictions are compared with the data, and a difference of eV an atom gives a warning.
    """
    found = FileEnergies()
    config = model.config
    given = training.atomic_baseline
    for name in config.internal_targets:
        index = start.foundation.head_index(start.heads[name])
        own = dict(zip(config.atomic_types, atomic_baseline(start.foundation, index).tolist(), strict=True))
        shift = float(start.foundation.shift[index])
        entry = "foundation" if isinstance(given, str) else given.get(name, "foundation")
        table, sources = dict(own), dict.fromkeys(own, "foundation")
        if name in config.carried:
            found.tables[name], found.sources[name] = table, sources
            continue
        if entry == "isolated_atoms":
            chosen = prepared.isolated_atoms.get(name, {})
            missing = [chemical_symbols[z] for z in prepared.training.elements() if z not in chosen]
            if missing:
                raise TaskError(
                    f"`atomic_baseline: {{{name}: isolated_atoms}}`, but the training data have no isolated atom with "
                    f"`{name}` of {', '.join(missing)}. Add frames of these atoms alone, marked "
                    "`config_type=IsolatedAtom`, or use `estimated`."
                )
            sources |= dict.fromkeys(chosen, "isolated atom")
            table |= {z: value + shift for z, value in chosen.items() if z in table}
        elif not isinstance(entry, str):
            numbers: dict[int, float] = entry if isinstance(entry, dict) else dict.fromkeys(own, float(entry))
            table |= {z: value + shift for z, value in numbers.items() if z in table}
            sources |= {z: "given" for z in numbers if z in table}
        model.baseline.set(name, np.array([[table[z]] for z in config.atomic_types]))
        left = left_over(model, name, prepared.training, training.batch_size, length_unit, progress)
        if left is not None and entry == "estimated":
            table |= {z: table[z] + value for z, value in left.shifts.items()}
            sources |= dict.fromkeys(left.shifts, "estimated")
            model.baseline.set(name, np.array([[table[z]] for z in config.atomic_types]))
            found.warnings += left.about_rank(name)
        if left is not None:
            found.warnings += _about_level(name, entry, left)
        found.tables[name], found.sources[name] = table, sources
    return found


@dataclass(frozen=True)
class LeftOver:
    """What the file's predictions leave over: least squares Δ[Z] (eV) of label − prediction over the compositions."""

    shifts: dict[int, float]
    rank: int
    structures: int
    before: float  # root mean square of label − prediction, eV/atom
    after: float  # the same with the shifts

    def about_rank(self, name: str) -> list[str]:
        if self.rank == len(self.shifts):
            return []
        return [
            f"`{name}: estimated`: the compositions of the training set determine only {self.rank} of "
            f"{len(self.shifts)} shifts; the smallest ones that fit were taken. Other compositions may be off; "
            "isolated atoms of the same level of theory would tell."
        ]


def left_over(
    model: MaceModel,
    name: str,
    graphs: GraphSet,
    batch_size: int,
    length_unit: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LeftOver | None:
    """None where no structure has the energy. Of very many structures an evenly chosen part is asked."""
    present = np.flatnonzero(graphs.labels_present(name))
    if len(present) == 0:
        return None
    count = min(len(present), _MOST_STRUCTURES)
    chosen = graphs.subset(present[np.unique(np.linspace(0, len(present) - 1, count).round().astype(int))])
    done = 0

    def on_batch(structures: int) -> None:
        nonlocal done
        done += structures
        progress(done, len(chosen))

    predicted = evaluate(
        model, chosen, batch_size, length_unit, labels={name}, keep_predictions=True, on_batch=on_batch
    ).predictions[name]
    elements = model.config.atomic_types
    counts = np.zeros((len(chosen), len(elements)))
    labels = np.zeros(len(chosen))
    for row in range(len(chosen)):
        arrays = chosen.collate([row])
        np.add.at(counts[row], np.searchsorted(elements, arrays["numbers"]), 1.0)
        labels[row] = float(arrays[f"label:{name}"].reshape(-1)[0])
    difference = labels - predicted.reshape(-1)
    occurs = np.flatnonzero(counts.any(axis=0))
    sizes = counts.sum(axis=1)
    # Divided by atoms, so that large structures don't decide alone.
    shifts, _, rank, _ = np.linalg.lstsq(counts[:, occurs] / sizes[:, None], difference / sizes, rcond=_RANK)
    after = difference - counts[:, occurs] @ shifts
    return LeftOver(
        shifts={elements[column]: float(shift) for column, shift in zip(occurs, shifts, strict=True)},
        rank=int(rank),
        structures=len(chosen),
        before=float(np.sqrt(np.mean((difference / sizes) ** 2))),
        after=float(np.sqrt(np.mean((after / sizes) ** 2))),
    )


def _about_level(name: str, entry: Any, left: LeftOver) -> list[str]:
    """A warning where the levels of theory differ by eV and nothing was done about it."""
    z, largest = max(left.shifts.items(), key=lambda item: abs(item[1]))
    differs = left.before > ANOTHER_LEVEL / 2 or abs(largest) > ANOTHER_LEVEL
    if entry == "estimated" or not differs or left.after > left.before / 2:
        return []
    return [
        f"`{name}`: the file's energies are off by {left.before:.3g} eV/atom on these data, but only by "
        f"{left.after:.3g} eV/atom after a shift of each element ({chemical_symbols[z]} by {largest:+.3g} eV): the "
        f"data seem to come from another level of theory. Use `atomic_baseline: {{{name}: estimated}}`, or isolated "
        "atoms of that level."
    ]
