"""Which model and which data a command names."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mace_app.data import PreparedData, prepare
from mace_app.model import MaceModel
from mace_app.options import DatasetOptions, OptionsError, Problem, RunOptions, parse_options, read_yaml
from mace_app.options.datasets import DERIVATIVES
from mace_app.tasks.errors import TaskError
from mace_app.training import best_weights, build_model, checkpoint_file, load_checkpoint


@dataclass(frozen=True)
class ModelSource:
    """A model, the options of its run where they are at hand, and the run's folder (None for a lone checkpoint)."""

    model: MaceModel
    epoch: int
    length_unit: str
    options: RunOptions | None
    run: Path | None


def open_model(path: Path) -> ModelSource:
    """From a run folder or a checkpoint; CheckpointError or TaskError where it is neither."""
    if not path.exists():
        raise TaskError(f"There is no {path}. Name a run folder or a checkpoint.")
    if path.suffix == ".pt":
        raise TaskError(
            f"{path} is an exported model, which is for simulation programs; name the run folder or one of its "
            "checkpoints instead."
        )
    file = checkpoint_file(path)
    checkpoint = load_checkpoint(file)
    run = path if path.is_dir() else file.resolve().parent.parent
    options_file = run / "options.yaml"
    options = parse_options(read_yaml(options_file)) if options_file.exists() else None
    best = checkpoint.header.get("best")
    return ModelSource(
        model=build_model(checkpoint, best_weights(checkpoint)).eval(),
        epoch=int(best["epoch"] if best else checkpoint.header["epoch"]),
        length_unit=checkpoint.header.get("length_unit", ""),
        options=options,
        run=run if options is not None else None,
    )


def datasets_of(source: ModelSource, data: Sequence[Path]) -> list[dict[str, Any]]:
    """Data sets as in an options file. A ``.yaml`` names its own targets; other files get those of the model's run."""
    found: list[dict[str, Any]] = []
    for path in data:
        if path.suffix in (".yaml", ".yml"):
            found.extend(_from_yaml(path))
        else:
            found.append({"systems": str(path), "targets": _targets(source)})
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
    """As the run read them: keys, units, types. Files of labels belong to the structures of the run."""
    if source.options is not None:
        first: DatasetOptions = source.options.training_datasets[0]
        targets = {name: target.model_dump() for name, target in first.targets.items()}
        for target in targets.values():
            for entry in (target, *(target[kind] for kind in DERIVATIVES)):
                if entry:
                    entry["read_from"] = None
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


@contextmanager
def prepared_for(model: MaceModel, datasets: list[dict[str, Any]], length_unit: str) -> Iterator[PreparedData]:
    """All structures of ``datasets`` as graphs for ``model`` (in ``.training``), in a folder that is deleted."""
    options = parse_options(
        {
            "seed": 0,
            "architecture": {
                "atomic_types": model.config.atomic_types,
                # Only what the reading depends on; the rest of the hyperparameters is checked where they are used.
                "model": {"r_max": model.config.cutoff, "hidden_irreps": model.config.hypers.hidden_irreps},
                "training": {"num_epochs": 0},
            },
            "training_set": [_with_unit(dataset, length_unit) for dataset in datasets],
            "validation_set": 0.0,
        }
    )
    foreign = set(options.targets()) - set(model.config.targets)
    if foreign:
        raise TaskError(
            f"The model does not predict {', '.join(sorted(foreign))}; it predicts "
            f"{', '.join(model.config.targets)}. Remove the others from the data set."
        )
    with tempfile.TemporaryDirectory(prefix="mace-studio-") as folder:
        yield prepare(options, Path(folder))


def _with_unit(dataset: dict[str, Any], unit: str) -> dict[str, Any]:
    systems = dataset.get("systems")
    if isinstance(systems, str):
        return {**dataset, "systems": {"read_from": systems, "length_unit": unit}}
    return dataset
