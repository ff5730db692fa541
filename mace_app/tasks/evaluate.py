"""Errors and predictions of a model on labelled structures."""

import json
from collections.abc import Sequence
from pathlib import Path

from mace_app.evaluation import evaluate, write_predictions
from mace_app.tasks.errors import TaskError
from mace_app.tasks.setting import choose_device, set_threads
from mace_app.tasks.sources import datasets_of, open_model, prepared_for
from mace_app.tasks.tables import error_table
from mace_app.training import reported_labels

PREDICTION_ENDINGS = (".xyz", ".extxyz", ".npz")


def evaluate_model(
    path: Path,
    data: Sequence[Path],
    output: Path | None = None,
    batch_size: int = 16,
    device: str = "auto",
    as_json: bool = False,
    threads: int | None = None,
    head: str | None = None,
) -> str:
    """The text to show: a table, or JSON. ``output`` receives the predictions; ``head`` is one of a foundation file."""
    if output is not None and output.suffix not in PREDICTION_ENDINGS:
        raise TaskError(f"Predictions are written as {', '.join(PREDICTION_ENDINGS)}; `{output.name}` ends otherwise.")
    if batch_size < 1:
        raise TaskError(f"`--batch-size` must be at least 1; it is {batch_size}.")
    set_threads(threads)
    source = open_model(path, head)
    model = source.model.to(choose_device(device))
    with prepared_for(model, datasets_of(source, data), source.length_unit, may_lack=data) as prepared:
        graphs = prepared.training
        result = evaluate(model, graphs, batch_size, source.length_unit, keep_predictions=output is not None)
        if output is not None:
            reported = reported_labels(model.config.targets, model.config.per_structure_targets, source.length_unit)
            write_predictions(output, graphs, result.predictions, reported)
        warnings = prepared.warnings
    if as_json:
        value = {
            "epoch": source.epoch,
            "structures": result.structures,
            "errors": result.to_json(),
            "milliseconds_per_atom": result.milliseconds_per_atom,
            "warnings": warnings,
        }
        return json.dumps(value, indent=1)
    lines = [f"Warning: {warning}" for warning in warnings]
    lines.append(
        f"{result.structures} structures, {result.atoms} atoms, {result.milliseconds_per_atom:.3g} ms per atom; "
        + ("weights of the file" if path.suffix == ".model" else f"weights of epoch {source.epoch}")
    )
    lines.append(error_table(result.errors) if result.errors else "There are no labels to compare with.")
    if output is not None:
        lines.append(f"Predictions: {output}")
    return "\n".join(lines)
