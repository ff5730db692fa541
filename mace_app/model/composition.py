"""The atomic baseline: what each element contributes before the network adds its part.

Scalars per structure: the matrix X holds element counts [structures, elements], Y the values. W is the minimum-norm
least-squares solution of X W = Y. Columns that are known (given by the user, or isolated atoms) are moved to the right
side first: X_rest W_rest = Y − X_known W_known. For means over atoms X holds fractions. Scalars per atom: the mean over
the atoms of an element. Spherical targets have a baseline in their invariant blocks; Cartesian ones have none, as no
atom by itself has a direction. Everything is float64. The baseline has no gradient, so forces and stress don't see it.

Structures of one composition enter as one weighted row, their mean, so a set of a single molecule has rank 1 exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase.data import chemical_symbols

from mace_app.model.batch import element_indices
from mace_app.model.buffers import Float64Buffers, module_names
from mace_app.model.config import ModelConfig
from mace_app.model.errors import ModelError
from mace_app.model.graph_source import GraphSource, chunks, element_counts
from mace_app.options.target_info import TargetInfo

GivenBaseline = float | str | Mapping[int, float | Sequence[float]]
Given = Mapping[str, GivenBaseline]

# Singular values below this part of the largest are rounding: counts of atoms never come that close to each other.
_RANK = 1e-10
_MOST_NAMED = 10


class Baseline(Float64Buffers):
    """One buffer [elements, last axis of the target's shape] for each target with invariant values, in the target's
    unit; zero until fitted, and always zero in columns that turn with the structure."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self._names = {
            target: name
            for target, name in module_names(config.targets).items()
            if has_baseline(config.targets[target])
        }
        for target, name in self._names.items():
            shape = (len(config.atomic_types), config.targets[target].shape[-1])
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def __contains__(self, target: str) -> bool:
        return target in self._names

    def values(self, target: str) -> torch.Tensor:
        return self.get_buffer(self._names[target])

    def set(self, target: str, values: np.ndarray) -> None:
        self.values(target).copy_(torch.from_numpy(values))


@dataclass
class BaselineReport:
    """How the baseline of one target came about. ``sources`` says for each element ``given``, ``isolated atom``,
    ``fitted``, ``mean`` or ``absent``. ``rank`` of ``unknowns`` is that of the fitted part."""

    target: str
    values: dict[int, list[float]]
    sources: dict[int, str]
    rank: int = 0
    unknowns: int = 0
    warnings: list[str] = field(default_factory=list)


def has_baseline(target: TargetInfo) -> bool:
    return any(block.is_scalar for block in target.blocks)


def _columns(target: TargetInfo) -> np.ndarray:
    """Columns of the last axis that hold invariants."""
    return np.concatenate([np.arange(block.start, block.stop) for block in target.blocks if block.is_scalar])


def fit_baseline(
    config: ModelConfig,
    baseline: Baseline,
    training: GraphSource,
    isolated_atoms: Mapping[str, Mapping[int, float]] | None = None,
    given: Given | None = None,
) -> list[BaselineReport]:
    """Fill ``baseline`` from the training set and say how.

    ``given`` is ``atomic_baseline`` of the options and comes before ``isolated_atoms`` (label → Z → energy), which come
    before the fit. For each target it is a number for all elements, numbers for some (a row of numbers for a target
    with several values), ``fit`` (isolated atoms don't count) or ``isolated_atoms`` (all elements must have one).
    Raises ModelError for a given target that can't have a baseline, and for an element without an isolated atom.
    """
    for target in given or {}:
        if target not in baseline:
            raise ModelError(
                f"`atomic_baseline` names `{target}`, which has no baseline; those with one are "
                f"{', '.join(f'`{name}`' for name in config.targets if name in baseline) or 'none'}. Remove the entry."
            )
    system = [name for name in config.targets if name in baseline and config.targets[name].sample_kind == "system"]
    atom = [name for name in config.targets if name in baseline and config.targets[name].sample_kind == "atom"]
    reduced, sums, counts = _accumulate(config, training, system, atom)
    reports = []
    for name in (*system, *atom):
        known, sources = _known(config, name, (given or {}).get(name), (isolated_atoms or {}).get(name, {}))
        if name in reduced:
            values, report = _solve(config, name, reduced[name], known, sources)
        else:
            values, report = _means(config, name, sums[name], counts[name], known, sources)
        whole = np.zeros(tuple(baseline.values(name).shape))
        whole[:, _columns(config.targets[name])] = values
        baseline.set(name, whole)
        reports.append(report)
    return reports


def _accumulate(
    config: ModelConfig, training: GraphSource, system: list[str], atom: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    n = len(config.atomic_types)
    groups: dict[str, dict[tuple[float, ...], tuple[int, np.ndarray]]] = {name: {} for name in system}
    columns = {name: _columns(config.targets[name]) for name in (*system, *atom)}
    sums = {name: np.zeros((n, len(columns[name]))) for name in atom}
    counts = {name: np.zeros_like(sums[name]) for name in atom}
    for arrays in chunks(training):
        elements = element_indices(np.asarray(arrays["numbers"]), config.atomic_types)
        composition = element_counts(arrays, elements, n)
        for name in system:
            labels = _invariants(arrays, name, columns[name])
            if labels is not None:
                whole = np.isfinite(labels).all(axis=1)
                mean = config.targets[name].aggregate == "mean"
                parts = composition / composition.sum(axis=1, keepdims=True) if mean else composition
                _group(groups[name], parts[whole], labels[whole])
        for name in atom:
            labels = _invariants(arrays, name, columns[name])
            if labels is not None:
                present = np.isfinite(labels)
                np.add.at(sums[name], elements, np.where(present, labels, 0.0))
                np.add.at(counts[name], elements, present.astype(float))
    reduced = {name: _weighted_rows(groups[name], n, len(columns[name])) for name in system}
    return reduced, sums, counts


def _invariants(arrays: Mapping[str, np.ndarray], name: str, columns: np.ndarray) -> np.ndarray | None:
    """Labels [rows, columns] of what does not turn with the structure."""
    labels = arrays.get(f"label:{name}")
    return None if labels is None else labels.reshape(len(labels), -1)[:, columns]


def _group(
    groups: dict[tuple[float, ...], tuple[int, np.ndarray]], composition: np.ndarray, labels: np.ndarray
) -> None:
    """Add labels [G, properties] to the count and the sum of their composition [G, elements]."""
    kinds, which = np.unique(composition, axis=0, return_inverse=True)
    for index, kind in enumerate(map(tuple, kinds)):
        rows = labels[which.reshape(-1) == index]
        count, total = groups.get(kind, (0, np.zeros(labels.shape[1])))
        groups[kind] = (count + len(rows), total + rows.sum(axis=0))


def _weighted_rows(
    groups: Mapping[tuple[float, ...], tuple[int, np.ndarray]], elements: int, properties: int
) -> np.ndarray:
    """One row √n·(composition, mean label) for each composition that occurs n times: the same least squares as over all
    structures, and exact where all are alike, so that rounding can't pass for information."""
    rows = [np.sqrt(count) * np.hstack([kind, total / count]) for kind, (count, total) in groups.items()]
    return np.array(rows).reshape(-1, elements + properties)


def _known(
    config: ModelConfig, name: str, given: GivenBaseline | None, isolated: Mapping[int, float]
) -> tuple[np.ndarray, dict[int, str]]:
    """Values [elements, properties] with NaN where they have to be fitted, and where the others come from."""
    if given == "isolated_atoms":
        _check_isolated(config, name, isolated)
    if isinstance(given, str):
        isolated, given = {} if given == "fit" else isolated, None
    known = np.full((len(config.atomic_types), len(_columns(config.targets[name]))), np.nan)
    sources: dict[int, str] = {}
    for row, z in enumerate(config.atomic_types):
        if isinstance(given, Mapping) and z in given:
            known[row], sources[z] = given[z], "given"
        elif given is not None and not isinstance(given, Mapping):
            known[row], sources[z] = given, "given"
        elif z in isolated:
            known[row], sources[z] = float(isolated[z]), "isolated atom"
    return known, sources


def _check_isolated(config: ModelConfig, name: str, isolated: Mapping[int, float]) -> None:
    missing = [f"{chemical_symbols[z]} ({z})" for z in config.atomic_types if z not in isolated]
    if missing:
        raise ModelError(
            f"`atomic_baseline: {{{name}: isolated_atoms}}`, but the training data have no isolated atom with `{name}` "
            f"of {', '.join(missing)}. Add frames of these atoms alone, marked `config_type=IsolatedAtom`, or use "
            "`fit`."
        )


def _solve(
    config: ModelConfig, name: str, reduced: np.ndarray, known: np.ndarray, sources: dict[int, str]
) -> tuple[np.ndarray, BaselineReport]:
    n = len(config.atomic_types)
    x, y = reduced[:, :n], reduced[:, n:]
    open_ = np.isnan(known[:, 0])
    values = np.where(np.isnan(known), 0.0, known)
    occurs = (np.abs(x) > 0).any(axis=0) if len(x) else np.zeros(n, dtype=bool)
    fitted = open_ & occurs
    warnings: list[str] = []
    rank = 0
    if fitted.any():
        solution, _, rank, _ = np.linalg.lstsq(x[:, fitted], y - x[:, ~fitted] @ values[~fitted], rcond=_RANK)
        values[fitted] = solution
    for row, z in enumerate(config.atomic_types):
        if open_[row]:
            sources[z] = "fitted" if fitted[row] else "absent"
    unknowns = int(fitted.sum())
    if rank < unknowns:
        warnings.append(
            f"`{name}`: the compositions of the training set determine only {rank} of {unknowns} atomic values, so "
            "their split among the elements is arbitrary (the smallest numbers that fit were taken). Predictions for "
            "other compositions will be off; add isolated atoms or give `atomic_baseline`."
        )
    absent = [z for row, z in enumerate(config.atomic_types) if open_[row] and not fitted[row]]
    if absent:
        warnings.append(
            f"`{name}`: no training structure with this label holds {_elements(absent)}; the baseline there is 0."
        )
    return values, BaselineReport(name, _table(config, values), sources, int(rank), unknowns, warnings)


def _means(
    config: ModelConfig, name: str, sums: np.ndarray, counts: np.ndarray, known: np.ndarray, sources: dict[int, str]
) -> tuple[np.ndarray, BaselineReport]:
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    values = np.where(np.isnan(known), means, known)
    for row, z in enumerate(config.atomic_types):
        sources.setdefault(z, "mean" if counts[row].any() else "absent")
    unseen = [z for z in config.atomic_types if sources[z] == "absent"]
    warnings = []
    if unseen:
        warnings = [f"`{name}`: no training atom of {_elements(unseen)} has this label; the baseline there is 0."]
    return values, BaselineReport(name, _table(config, values), sources, warnings=warnings)


def _elements(numbers: list[int]) -> str:
    """A foundation file knows many elements that the data lack."""
    if len(numbers) > _MOST_NAMED:
        return f"{len(numbers)} of the model's elements"
    return f"the element{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _table(config: ModelConfig, values: np.ndarray) -> dict[int, list[float]]:
    return {z: values[row].tolist() for row, z in enumerate(config.atomic_types)}
