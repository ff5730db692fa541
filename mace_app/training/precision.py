"""Matrix products in less than 32 bits, and what they cost in accuracy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from mace_app.model import MaceModel
from mace_app.training.metrics import ErrorAccumulator, Errors, Reported
from mace_app.training.passes import Ready, convert, frozen_weights
from mace_app.training.reports import shown

# The options' names and torch's.
NAMES = {"float32": "highest", "tf32": "high", "bf16": "medium"}


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Inside the block products of float32 matrices may be as inexact as ``name`` of the options says."""
    before = torch.get_float32_matmul_precision()
    if NAMES[name] == before:
        yield
        return
    torch.set_float32_matmul_precision(NAMES[name])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def cost_of_precision(model: MaceModel, ready: Ready, reported: Mapping[str, Reported], name: str) -> str:
    """How far predictions of one batch differ from those in full precision, in a sentence."""
    labels = {entry.label for entry in reported.values()}
    found = []
    with frozen_weights(model):
        for precision in ("float32", "float32", name):
            with matmul_precision(precision):
                predictions = model(ready.batch, labels, create_graph=False)
            found.append(convert(reported, ready.batch, model.physical(ready.batch, predictions)))
    again, differences = (_differences(found[0], other, reported, model.device) for other in found[1:])
    # On a GPU two equal passes differ in their last digits.
    if all(difference.rmse <= 3 * again[label].rmse for label, difference in differences.items()):
        return f"`matmul_precision: {name}` changes nothing here: this device has no faster products for this model."
    told = ", ".join(f"{label} {shown(each.rmse, each.unit)}" for label, each in differences.items())
    structures = len(ready.batch.n_atoms)
    return f"`matmul_precision: {name}` changes predictions by (root mean square, {structures} structures) {told}."


def _differences(
    one: Mapping[str, torch.Tensor],
    other: Mapping[str, torch.Tensor],
    reported: Mapping[str, Reported],
    device: torch.device,
) -> dict[str, Errors]:
    errors = ErrorAccumulator(reported, device)
    errors.update(other, one)
    return errors.errors()
