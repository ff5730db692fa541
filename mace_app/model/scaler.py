"""The typical size of each target, so that the network learns numbers near one.

With s_i the number of atoms of structure i (1 for targets per atom, for means and for ``per_structure_targets``), the
residual is y_i = (label_i − baseline_i)/s_i. Uncentred, NaN entries skipped, float64:

* σ = sqrt(mean y²) over samples, components and properties; for targets per atom one σ_Z for each element;
* with several properties p, or several irreps, also ρ_p = rms(y_p)/σ, over the components, which turn into each other;
  for targets per atom one for each element.

An energy with forces takes σ = rms of the force components instead (``energy_scale: forces``, and ``auto`` when the
data have them), as MACE does; energies and forces then live on one scale whose size does not depend on how well the
baseline fits. Forces and stress always share the σ of their energy.

Normalised values, which losses see: y/σ for the label, (network·ρ)/s for the prediction, F/σ, and V·stress/(s·σ).
A residual of zero, or no label at all, leaves σ = 1 and gives a warning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from mace_app.model.batch import element_indices
from mace_app.model.buffers import Float64Buffers, module_names
from mace_app.model.composition import Baseline
from mace_app.model.config import ModelConfig
from mace_app.model.errors import ModelError
from mace_app.model.graph_source import GraphSource, chunks, element_counts
from mace_app.options.target_info import TargetInfo

# A residual this much smaller than the values themselves is rounding, not a size.
_NOTHING = 1e-10


class Scaler(Float64Buffers):
    """For each target σ [K] in its unit and ρ [K, last axis of its shape]; K is 1, or the elements for targets per
    atom. ρ is the same for all components of a value, so it commutes with rotations."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self._names = module_names(config.targets)
        for target, name in self._names.items():
            info = config.targets[target]
            rows = len(config.atomic_types) if info.sample_kind == "atom" else 1
            self.register_buffer(name, torch.ones(rows, dtype=torch.float64))
            self.register_buffer(f"{name}_properties", torch.ones(rows, info.shape[-1], dtype=torch.float64))

    def scale(self, target: str) -> torch.Tensor:
        return self.get_buffer(self._names[target])

    def property_scale(self, target: str) -> torch.Tensor:
        return self.get_buffer(f"{self._names[target]}_properties")

    def set(self, target: str, scale: np.ndarray | float, property_scale: np.ndarray | float = 1.0) -> None:
        self.scale(target).copy_(torch.as_tensor(scale, dtype=torch.float64))
        self.property_scale(target).copy_(torch.as_tensor(property_scale, dtype=torch.float64))


@dataclass
class ScaleReport:
    """σ of one target and what it was measured on: ``forces``, ``residual``, ``given``, ``foundation``, ``off`` or
    ``floor``."""

    target: str
    scale: list[float]
    property_scale: list[list[float]]
    source: str
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GivenRows:
    """Scales for some rows of a target: σ by atomic number (None for a target per structure), and ρ, 1 if not given."""

    scale: Mapping[int | None, float]
    property_scale: Mapping[int | None, Sequence[float]] = field(default_factory=dict)


GivenScale = float | Mapping[int, float] | GivenRows


def fit_scaler(
    config: ModelConfig,
    scaler: Scaler,
    baseline: Baseline,
    training: GraphSource,
    scale_targets: bool = True,
    energy_scale: str = "auto",
    given: Mapping[str, GivenScale] | None = None,
) -> list[ScaleReport]:
    """Fill ``scaler`` from the training set, after ``fit_baseline``, and say how.

    ``given`` is ``fixed_scaling_weights`` of the options and comes first: one number for a target, with ρ = 1 for all
    its properties and irreps, or numbers for some elements of a target per atom, whose others are measured.
    """
    fixed = {name: _given_rows(config, name, value) for name, value in (given or {}).items()}
    whole = {name for name, rows in fixed.items() if set(_rows(config, name)) <= set(rows.scale)}
    measure = [name for name in config.targets if scale_targets and name not in whole]
    sums = {name: _Sums.zeros(config, name) for name in measure}
    for arrays in chunks(training) if measure else ():
        for name in measure:
            sums[name].add(config, baseline, arrays)
    reports = []
    for name in config.targets:
        if name not in sums:
            report = _constant(scaler, name, 1.0, "given" if name in whole else "off")
        else:
            report = _measured(config, scaler, sums[name], energy_scale)
        if name in fixed:
            report = _fixed(config, scaler, fixed[name], report)
        reports.append(report)
    return reports


def _rows(config: ModelConfig, name: str) -> list[int | None]:
    """What the rows of σ and ρ belong to."""
    return [*config.atomic_types] if config.targets[name].sample_kind == "atom" else [None]


def _given_rows(config: ModelConfig, name: str, value: GivenScale) -> GivenRows:
    if name not in config.targets:
        raise ModelError(f"`fixed_scaling_weights` names `{name}`, which is no target of this model; remove it.")
    if isinstance(value, Mapping):
        if config.targets[name].sample_kind != "atom":
            raise ModelError(
                f"`fixed_scaling_weights.{name}` has numbers for elements, but `{name}` has one value for each "
                "structure; give one number."
            )
        value = GivenRows({z: scale for z, scale in value.items()})
    elif not isinstance(value, GivenRows):
        value = GivenRows(dict.fromkeys(_rows(config, name), float(value)))
    for scale in value.scale.values():
        if not scale > 0:
            raise ModelError(
                f"`fixed_scaling_weights.{name}` is {scale:g}, but targets are divided by it; give a number above 0."
            )
    return value


def _fixed(config: ModelConfig, scaler: Scaler, given: GivenRows, measured: ScaleReport) -> ScaleReport:
    """Write the given rows over what was measured."""
    name, rows = measured.target, _rows(config, measured.target)
    for row, key in enumerate(rows):
        if key in given.scale:
            scaler.scale(name)[row] = given.scale[key]
            properties = torch.as_tensor(given.property_scale.get(key, 1.0), dtype=torch.float64)
            scaler.property_scale(name)[row] = properties
    source = measured.source if measured.source == "given" else f"given, {measured.source}"
    warnings = [] if measured.source == "given" else measured.warnings
    return ScaleReport(name, scaler.scale(name).tolist(), scaler.property_scale(name).tolist(), source, warnings)


@dataclass
class _Sums:
    name: str
    squares: np.ndarray  # [K, properties]
    counts: np.ndarray
    magnitude: float = 0.0
    forces: float = 0.0
    force_count: int = 0

    @classmethod
    def zeros(cls, config: ModelConfig, name: str) -> "_Sums":
        info = config.targets[name]
        rows = len(config.atomic_types) if info.sample_kind == "atom" else 1
        shape = (rows, info.shape[-1])
        return cls(name, np.zeros(shape), np.zeros(shape))

    def add(self, config: ModelConfig, baseline: Baseline, arrays: Mapping[str, np.ndarray]) -> None:
        info = config.targets[self.name]
        forces = arrays.get(f"label:{self.name}.forces")
        if forces is not None and info.has_forces:
            present = forces[np.isfinite(forces)]
            self.forces += float(np.square(present).sum())
            self.force_count += present.size
        labels = arrays.get(f"label:{self.name}")
        if labels is None:
            return
        residual, raw, rows = self._residual(config, baseline, arrays, labels)
        flat = residual.reshape(len(residual), -1, info.shape[-1])
        present = np.isfinite(flat)
        np.add.at(self.squares, rows, np.where(present, np.square(flat), 0.0).sum(axis=1))
        np.add.at(self.counts, rows, present.sum(axis=1).astype(float))
        finite = raw[np.isfinite(raw)]
        self.magnitude = max(self.magnitude, float(np.abs(finite).max()) if finite.size else 0.0)

    def _residual(
        self, config: ModelConfig, baseline: Baseline, arrays: Mapping[str, np.ndarray], labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(label − baseline)/s, label/s, and the row of ``squares`` each sample belongs to."""
        elements = element_indices(np.asarray(arrays["numbers"]), config.atomic_types)
        per_atom = config.targets[self.name].sample_kind == "atom"
        expected: np.ndarray | float = 0.0
        if self.name in baseline:
            values = baseline.values(self.name).cpu().numpy()
            expected = (
                values[elements] if per_atom else element_counts(arrays, elements, len(config.atomic_types)) @ values
            )
            if config.targets[self.name].aggregate == "mean":
                expected = expected / np.diff(arrays["ptr"])[:, None]
            expected = np.reshape(expected, (len(labels), *[1] * (labels.ndim - 2), -1))
        sizes = np.ones(len(labels))
        if config.divides_by_atoms(self.name):
            sizes = np.diff(arrays["ptr"]).astype(float)
        sizes = sizes.reshape(-1, *[1] * (labels.ndim - 1))
        rows = elements if per_atom else np.zeros(len(labels), dtype=np.int64)
        return (labels - expected) / sizes, labels / sizes, rows


def _constant(scaler: Scaler, name: str, value: float, source: str) -> ScaleReport:
    scaler.set(name, value)
    return ScaleReport(name, scaler.scale(name).tolist(), scaler.property_scale(name).tolist(), source)


def _measured(config: ModelConfig, scaler: Scaler, sums: _Sums, energy_scale: str) -> ScaleReport:
    name, warnings = sums.name, []
    if config.targets[name].is_energy and energy_scale in ("auto", "forces"):
        if sums.force_count and sums.forces > 0:
            return _constant(scaler, name, float(np.sqrt(sums.forces / sums.force_count)), "forces")
        if energy_scale == "forces":
            warnings.append(
                f"`{name}`: `energy_scale: forces`, but the training set has no forces for it (or all are zero); the "
                "scale was taken from the energies."
            )
    total = float(sums.counts.sum())
    overall = float(np.sqrt(sums.squares.sum() / total)) if total else 0.0
    if overall <= _NOTHING * sums.magnitude or overall == 0.0:
        reason = "no label of it is in the training set" if not total else "the baseline alone explains all of it"
        report = _constant(scaler, name, 1.0, "floor")
        report.warnings = [*warnings, f"`{name}`: {reason}, so its scale can't be measured and is set to 1."]
        return report
    per_row = _rms(sums.squares.sum(axis=1), sums.counts.sum(axis=1), overall)
    properties = np.ones_like(sums.squares)
    if sums.squares.shape[1] > 1:
        squares, counts = (_over_components(config.targets[name], values) for values in (sums.squares, sums.counts))
        properties = _rms(squares, counts, per_row[:, None]) / per_row[:, None]
    scaler.set(name, per_row, properties)
    return ScaleReport(name, per_row.tolist(), properties.tolist(), "residual", warnings)


def _over_components(target: TargetInfo, values: np.ndarray) -> np.ndarray:
    """Sums over the components inside each irrep of a flat row [K, D], written to each of its columns."""
    if len(target.blocks) == 1:
        return values
    parts = []
    for block in target.blocks:
        part = values[:, block.start : block.stop].reshape(len(values), -1, block.properties)
        parts.append(np.broadcast_to(part.sum(axis=1, keepdims=True), part.shape).reshape(len(values), -1))
    return np.concatenate(parts, axis=1)


def _rms(squares: np.ndarray, counts: np.ndarray, fallback: np.ndarray | float) -> np.ndarray:
    """Root mean square; ``fallback`` where there is nothing to measure."""
    rms = np.sqrt(np.divide(squares, counts, out=np.zeros_like(squares), where=counts > 0))
    fallback = np.broadcast_to(fallback, rms.shape)
    return np.where(rms > _NOTHING * fallback, rms, fallback)
