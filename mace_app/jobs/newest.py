"""The newest validation of a run as an analysis, while the run trains and afterwards; nothing is predicted for it."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from mace_app.analysis import Analysis, AnalysisInfo, Label, Structures, formulas
from mace_app.data import GraphSet, load_prepared
from mace_app.jobs.parity_file import ParityLabel
from mace_app.jobs.run_folder import RunFolder
from mace_app.options import RunOptions, TargetInfo

_AT_ONCE = 4096


def newest_analysis(run: RunFolder) -> Analysis | None:
    """None before the first validation, and where the run's packed structures are gone or are no longer those of its
    splits.

    Of very large sets the parity file holds a part of the values; the others are NaN. There is no map, no uncertainty
    and no baseline: those need the model. Raises JobsError or OptionsError where a file of the run is damaged.
    """
    parity = run.parity()
    prepared = load_prepared(run.data_path)
    if parity is None or prepared is None or not len(prepared.validation):
        return None
    graphs = prepared.validation
    if any(len(data.structure) and int(data.structure.max()) >= len(graphs) for data in parity.labels.values()):
        return None
    units = run.metrics().units
    options = run.options()
    known = [label for target in prepared.targets.values() for label in target.labels() if label in parity.labels]
    batches = [
        graphs.collate(np.arange(start, min(start + _AT_ONCE, len(graphs))))
        for start in range(0, len(graphs), _AT_ONCE)
    ]
    numbers, positions, cells, pbc = (
        np.concatenate([batch[name] for batch in batches]) for name in ("numbers", "positions", "cells", "pbc")
    )
    info = run.info()
    written = datetime.fromtimestamp(run.parity_file.stat().st_mtime, UTC)
    return Analysis(
        AnalysisInfo(
            model={"kind": "run", "id": run.id, "which": "newest", "name": info.name, "epoch": parity.epoch},
            data=[{"name": file["path"].rpartition("/")[2], **file} for file in prepared.files],
            targets=dict(prepared.targets),
            length_unit=options.training_datasets[0].systems.length_unit,
            created=written.isoformat(timespec="seconds"),
        ),
        _structures(graphs, options, numbers, cells, pbc),
        numbers,
        positions,
        {
            name: _label(name, parity.labels[name], *_unit(name, prepared.targets, options, units), graphs.n_atoms)
            for name in known
        },
    )


def _structures(
    graphs: GraphSet,
    options: RunOptions,
    numbers: NDArray[np.int64],
    cells: NDArray[np.float64],
    pbc: NDArray[np.bool_],
) -> Structures:
    own = options.validation
    datasets = own if isinstance(own, list) else options.training_datasets
    files = [datasets[number].systems.read_from for number in graphs.structure_ids[:, 0]]
    count = len(graphs)
    return Structures(
        split=np.full(count, "validation"),
        dataset=np.array(files, dtype=np.str_),
        frame=graphs.structure_ids[:, 1],
        group=np.array(graphs.groups, dtype=np.str_),
        formula=np.array(formulas(numbers, graphs.n_atoms), dtype=np.str_),
        n_atoms=graphs.n_atoms,
        cell=cells,
        pbc=pbc.astype(bool),
        map=np.full((count, 2), np.nan),
        uncertainty=np.full(count, np.nan),
    )


def _unit(
    name: str, targets: Mapping[str, TargetInfo], options: RunOptions, units: Mapping[str, str]
) -> tuple[str, bool]:
    """The unit of the values as they are stored, and whether the metrics divide them by the atoms."""
    target = targets[name] if name in targets else targets[name.rpartition(".")[0]]
    if name not in targets:
        divided = name.endswith(".stress") and target.stress_from_virial
    else:
        kept = name in options.architecture.training.per_structure_targets
        divided = target.sample_kind == "system" and target.aggregate == "sum" and not kept
    return (target.unit if divided else units.get(name, "")), divided


def _label(name: str, data: ParityLabel, unit: str, divided: bool, n_atoms: NDArray[np.int64]) -> Label:
    """Into rows of all structures or atoms; what is told per atom becomes a whole again."""
    per_atom = data.atom is not None
    first = np.concatenate([[0], np.cumsum(n_atoms)])
    rows = data.structure if data.atom is None else first[data.structure] + data.atom
    shape = (int(first[-1]) if per_atom else len(n_atoms), *data.prediction.shape[1:])
    reference, prediction = np.full(shape, np.nan), np.full(shape, np.nan)
    factor = (n_atoms[data.structure] if divided else np.ones(len(rows))).reshape(-1, *[1] * (len(shape) - 1))
    reference[rows], prediction[rows] = data.reference * factor, data.prediction * factor
    return Label(name, unit, per_atom, divided, reference, prediction)
