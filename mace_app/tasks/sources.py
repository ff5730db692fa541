"""Which model and which data a command names."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mace_app.data import PreparedData, prepare
from mace_app.model import EnergyUncertainty, MaceModel
from mace_app.model.foundation import foundation_model, open_foundation
from mace_app.options import OptionsError, Problem, RunOptions, TargetInfo, parse_options, read_yaml
from mace_app.options.datasets import DERIVATIVES
from mace_app.tasks.errors import TaskError
from mace_app.tasks.starting import options_for
from mace_app.training import (
    best_weights,
    build_model,
    checkpoint_file,
    last_weights,
    load_checkpoint,
    uncertainties_of,
)

Which = Literal["best", "last"]


@dataclass(frozen=True)
class ModelSource:
    """A model, the options of its run where they are at hand, and the run's folder (None for a lone checkpoint).
    ``uncertainties`` of its energies, by target, where the checkpoint has those of these weights."""

    model: MaceModel
    epoch: int
    length_unit: str
    options: RunOptions | None
    run: Path | None
    uncertainties: dict[str, EnergyUncertainty] = field(default_factory=dict)


def open_model(path: Path, head: str | None = None, which: Which = "best") -> ModelSource:
    """From a run folder, a checkpoint or a foundation file (``.model``, of which ``head`` may choose a head);
    CheckpointError, FoundationError or TaskError where it is none of them. ``which`` weights of a run's: of the best
    epoch, or of the last one."""
    if not path.exists():
        raise TaskError(f"There is no {path}. Name a run folder, a checkpoint or a `.model` file.")
    if path.suffix == ".model" and path.is_file():
        return ModelSource(foundation_model(open_foundation(path), head), 0, "angstrom", None, None)
    if head is not None:
        raise TaskError(f"{path} has no heads to choose from; only a `.model` file has. Leave the head out.")
    if path.suffix == ".pt":
        raise TaskError(
            f"{path} is an exported model, which is for simulation programs; name the run folder or one of its "
            "checkpoints instead."
        )
    file = checkpoint_file(path)
    if which == "last" and path.is_dir():
        file = path / "checkpoints" / "last.safetensors"
    run = path if path.is_dir() else file.resolve().parent.parent
    return open_weights(file, run, which)


def open_weights(file: Path, run: Path, which: Which = "best") -> ModelSource:
    """From a checkpoint of the run folder ``run``, wherever the checkpoint lies; CheckpointError if it is damaged."""
    checkpoint = load_checkpoint(file)
    options_file = run / "options.yaml"
    options = parse_options(read_yaml(options_file)) if options_file.exists() else None
    best = checkpoint.header.get("best") if which == "best" else None
    weights = best_weights(checkpoint) if which == "best" else last_weights(checkpoint)
    return ModelSource(
        model=build_model(checkpoint, weights).eval(),
        epoch=int(best["epoch"] if best else checkpoint.header["epoch"]),
        length_unit=checkpoint.header.get("length_unit", ""),
        options=options,
        run=run if options is not None else None,
        uncertainties=uncertainties_of(checkpoint),
    )


DESCRIPTIONS = (".yaml", ".yml")


def datasets_of(source: ModelSource, data: Sequence[Path]) -> list[dict[str, Any]]:
    """Data sets as in an options file. A ``.yaml`` names its own targets; other files get those of the model's run,
    with its masks."""
    found: list[dict[str, Any]] = []
    for path in data:
        if path.suffix in DESCRIPTIONS:
            found.extend(_from_yaml(path))
        else:
            found.append({"systems": str(path), "targets": _targets(source), "extra_data": _masks(source)})
    return found


def _from_yaml(path: Path) -> list[dict[str, Any]]:
    content = read_yaml(path)
    if "systems" in content:
        return [content]
    for name in ("test_set", "training_set"):
        sets = content.get(name)
        sets = [sets] if isinstance(sets, dict | str) else sets
        if isinstance(sets, list) and sets:
            return [{"systems": entry} if isinstance(entry, str) else entry for entry in sets]
    raise OptionsError([Problem((), f"`{path}` names no data: give `systems` and `targets`, or the options of a run.")])


def _targets(source: ModelSource) -> dict[str, Any]:
    """As the run read them: keys, units, types. Of a target in several of its data sets the first key counts, and any
    derivative that one of them has. Files of labels belong to the structures of the run."""
    if source.options is not None:
        targets: dict[str, Any] = {}
        for dataset in source.options.training_datasets:
            for name, target in dataset.targets.items():
                entry = target.model_dump()
                for part in (entry, *(entry[kind] for kind in DERIVATIVES)):
                    if part:
                        part["read_from"] = None
                _add_derivatives(targets.setdefault(name, entry), entry)
        return targets
    return {
        name: {
            "quantity": info.quantity,
            "unit": info.unit,
            "sample_kind": info.sample_kind,
            "type": info.type,
            "num_subtargets": info.num_subtargets,
            "aggregate": info.aggregate,
        }
        for name, info in source.model.config.targets.items()
    }


def _add_derivatives(mine: dict[str, Any], other: dict[str, Any]) -> None:
    for kind in DERIVATIVES:
        same = {"stress": "virial", "virial": "stress"}.get(kind)  # the same information: one of them is enough
        if not mine[kind] and other[kind] is not False and not (same and mine[same]):
            mine[kind] = other[kind]


def _masks(source: ModelSource) -> dict[str, Any]:
    """Of the run: values it left out of its errors are left out again."""
    if source.options is None:
        return {}
    datasets = reversed(source.options.training_datasets)
    return {name: mask.model_dump() for dataset in datasets for name, mask in dataset.extra_data.items()}


@contextmanager
def prepared_for(
    model: MaceModel, datasets: list[dict[str, Any]], length_unit: str, may_lack: Sequence[Path] = ()
) -> Iterator[PreparedData]:
    """As ``prepare_for``, in a folder that is deleted."""
    with tempfile.TemporaryDirectory(prefix="mace-studio-") as folder:
        yield prepare_for(model, datasets, length_unit, Path(folder), may_lack)


def prepare_for(
    model: MaceModel,
    datasets: list[dict[str, Any]],
    length_unit: str,
    folder: Path,
    may_lack: Sequence[Path] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> PreparedData:
    """All structures of ``datasets`` as graphs for ``model`` (in ``.training``). Files that ``may_lack`` labels got
    targets that nobody chose for them. Raises TaskError for other targets than the model's."""
    # Only what the reading depends on; the rest of the hyperparameters is checked where they are used.
    hypers: dict[str, Any] = {"hidden_irreps": model.config.hypers.hidden_irreps, "r_max": model.config.cutoff}
    if model.config.architecture is not None:  # its features are not those of any hyperparameters
        hypers = {"mace_model": model.config.hypers.mace_model}
    options = parse_options(
        {
            "seed": 0,
            "architecture": {"model": hypers, "training": {"num_epochs": 0}},
            "training_set": [_decided(_with_unit(dataset, length_unit), model) for dataset in datasets],
            "validation_set": 0.0,
        }
    )
    options = options_for(options, model.config.cutoff, model.config.atomic_types)
    foreign = set(options.targets()) - set(model.config.targets)
    if foreign:
        raise TaskError(
            f"The model does not predict {', '.join(sorted(foreign))}; it predicts "
            f"{', '.join(model.config.targets)}. Remove the others from the data set."
        )
    for name, info in options.targets().items():
        _check_same(name, info, model.config.targets[name])
    lacking = [path for path in may_lack if path.suffix not in DESCRIPTIONS]
    return prepare(options, folder, progress, may_lack=lacking)


def _decided(dataset: dict[str, Any], model: MaceModel) -> dict[str, Any]:
    """Whether a tensor is symmetric is for the model to say, not for these data."""
    targets = dataset.get("targets")
    if not isinstance(targets, dict):
        return dataset
    types = {name: info.type for name, info in model.config.targets.items() if info.rank == 2}
    tensors = {
        name: {**entry, "type": types[name]}
        for name, entry in targets.items()
        if name in types and isinstance(entry, dict) and "cartesian" in entry.get("type", ())
    }
    return {**dataset, "targets": {**targets, **tensors}}


def _check_same(name: str, given: TargetInfo, own: TargetInfo) -> None:
    for what in ("sample_kind", "shape", "unit"):
        here, there = getattr(given, what), getattr(own, what)
        if here != there and here and there:
            raise TaskError(
                f"The {what.replace('_', ' ')} of `{name}` is `{here}` in the data set, but `{there}` in the model, so "
                "they can't be compared. Describe the target as in the options of the run."
            )


def _with_unit(dataset: dict[str, Any], unit: str) -> dict[str, Any]:
    systems = dataset.get("systems")
    if isinstance(systems, str):
        return {**dataset, "systems": {"read_from": systems, "length_unit": unit}}
    return dataset
