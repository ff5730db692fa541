"""Baseline and scale before a training: what the options give, what another run brings, what is measured."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from mace_app.data import PreparedData
from mace_app.model import (
    Baseline,
    BaselineReport,
    MaceModel,
    ModelConfig,
    Scaler,
    ScaleReport,
    fit_baseline,
    fit_scaler,
)
from mace_app.model.scaler import GivenRows
from mace_app.options import TargetInfo, TrainingHypers
from mace_app.tasks.errors import TaskError
from mace_app.tasks.starting import FileEnergies
from mace_app.training import load_model


@dataclass
class Normalisation:
    """How baseline and scale came about."""

    baselines: list[BaselineReport]
    scales: list[ScaleReport]
    warnings: list[str] = field(default_factory=list)
    elements: Collection[int] = ()  # of the training data; a foundation file may know many more

    def lines(self) -> list[str]:
        """For the log."""
        found = []
        for baseline in self.baselines:
            atoms = ", ".join(
                f"{z}: {', '.join(f'{value:.6g}' for value in values)} ({baseline.sources[z]})"
                for z, values in baseline.values.items()
                if z in self.elements or baseline.sources[z] not in ("foundation", "absent")
            )
            found.append(f"Baseline of {baseline.target}: {atoms}")
        for scale in self.scales:
            numbers = ", ".join(f"{number:.6g}" for number in scale.scale)
            found.append(f"Scale of {scale.target}: {numbers} ({scale.source})")
        return [*found, *(f"Warning: {warning}" for warning in self.warnings)]


def normalise(
    config: ModelConfig,
    baseline: Baseline,
    scaler: Scaler,
    training: TrainingHypers,
    prepared: PreparedData,
    from_file: FileEnergies | None = None,
) -> Normalisation:
    """Fill ``baseline`` and ``scaler``; those of targets ``from_file`` are known, their scales in ``scaler`` already.
    Raises ModelError, TaskError and CheckpointError for what can't be used."""
    warnings: list[str] = []
    values: dict[str, Any] = dict(_given(training, "atomic_baseline", _baseline_of, config, warnings))
    scalings: dict[str, Any] = dict(_given(training, "fixed_scaling_weights", _scale_of, config, warnings))
    if from_file is not None:
        values |= from_file.tables
        scalings |= {name: float(scaler.scale(name)) for name in from_file.tables}
        warnings += from_file.warnings
    baselines = fit_baseline(config, baseline, prepared.training, prepared.isolated_atoms, values)
    if from_file is not None:
        from_file.name_sources(baselines)
    scales = fit_scaler(
        config, scaler, baseline, prepared.training, training.scale_targets, training.energy_scale, scalings
    )
    if from_file is not None:
        from_file.name_scales(scales)
    warnings += [text for report in baselines for text in report.warnings]
    warnings += [text for report in scales for text in report.warnings]
    return Normalisation(baselines, scales, warnings, prepared.training.elements())


def _given(training: TrainingHypers, option: str, read: Any, config: ModelConfig, warnings: list[str]) -> Any:
    """The option itself, or what the run that it names holds of this model's targets and elements."""
    value = getattr(training, option)
    if not isinstance(value, str):
        warnings += _strange_elements(option, value, config)
        return value
    if not Path(value).exists():
        raise TaskError(f"`{option}: {value}`: there is no such file or folder. Name a run folder or a checkpoint.")
    source = load_model(value)
    found = {}
    for name, target in config.targets.items():
        theirs = source.config.targets.get(name)
        if theirs is None:
            warnings.append(f"`{option}`: {value} has no target `{name}`; its values are measured.")
            continue
        _check_same(option, value, theirs, target)
        own = read(source, name)
        if own is None:
            continue
        absent = [chemical_symbols[z] for z in config.atomic_types if z not in source.config.atomic_types]
        if absent and None not in own:
            warnings.append(f"`{option}`: {value} does not know {', '.join(absent)}; `{name}` is measured there.")
        found[name] = own if option == "atomic_baseline" else GivenRows(*_split(own))
    return found


def _strange_elements(option: str, tables: Mapping[str, Any], config: ModelConfig) -> list[str]:
    """A table for more elements than the model has is usual; one that leaves some of the model's out may be a slip."""
    found = []
    for name, table in tables.items():
        if not isinstance(table, Mapping) or set(config.atomic_types) <= set(table):
            continue
        strange = [f"{chemical_symbols[z]} ({z})" for z in sorted(set(table) - set(config.atomic_types))]
        if strange:
            found.append(
                f"`{option}.{name}` has numbers for {', '.join(strange)}, which the model does not know, and none for "
                "some that it knows; check the atomic numbers."
            )
    return found


def _check_same(option: str, path: str, theirs: TargetInfo, ours: TargetInfo) -> None:
    for name in ("unit", "sample_kind", "shape", "aggregate"):
        if getattr(theirs, name) != getattr(ours, name):
            raise TaskError(
                f"`{option}`: in {path} the target `{ours.name}` has the {name} `{getattr(theirs, name)}`, but "
                f"`{getattr(ours, name)}` here, so its values can't be used. Give numbers instead, or name another run."
            )


def _baseline_of(source: MaceModel, name: str) -> dict[int, list[float]] | None:
    """Values of the invariant columns by atomic number; None for a target without a baseline."""
    if name not in source.baseline:
        return None
    target = source.config.targets[name]
    columns = [column for block in target.blocks if block.is_scalar for column in range(block.start, block.stop)]
    values = source.baseline.values(name)[:, columns].tolist()
    return dict(zip(source.config.atomic_types, values, strict=True))


def _scale_of(source: MaceModel, name: str) -> dict[int | None, tuple[float, list[float]]]:
    """σ and ρ by atomic number, or under None for a target per structure."""
    rows: list[int | None] = [None]
    if source.config.targets[name].sample_kind == "atom":
        rows = [*source.config.atomic_types]
    scale, properties = source.scaler.scale(name).tolist(), source.scaler.property_scale(name).tolist()
    return dict(zip(rows, zip(scale, properties, strict=True), strict=True))


def _split(rows: Mapping[Any, tuple[float, list[float]]]) -> tuple[dict[Any, float], dict[Any, list[float]]]:
    return {key: row[0] for key, row in rows.items()}, {key: row[1] for key, row in rows.items()}
