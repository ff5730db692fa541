"""Masks and masked losses belong together: one without the other has no effect, or no meaning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mace_app.options.datasets import DatasetOptions, masked_label
from mace_app.options.errors import Problem
from mace_app.options.loss import MASKED_TYPES, LossOptions
from mace_app.options.loss_terms import PRESETS
from mace_app.options.target_info import TargetInfo

if TYPE_CHECKING:
    from mace_app.options.training import TrainingHypers

Placed = Sequence[tuple[tuple[str, ...], DatasetOptions]]
ENDINGS = {"forces": "_forces_mask", "stress": "_stress_mask"}


def mask_problems(training: "TrainingHypers", targets: Mapping[str, TargetInfo], datasets: Placed) -> list[Problem]:
    """Locs start at the top. ``targets`` may have forces or stress that the data still have to decide; a loss that is
    said for everything then asks for no mask of them, but allows one."""
    terms = _masked_terms("loss", training.loss, targets)
    if training.stage_two_loss is not None:
        terms |= _masked_terms("stage_two_loss", training.stage_two_loss, targets)
    found = []
    for (label, kind), place in terms.items():
        name, part = (label, "") if label in targets else label.rsplit(".", 1)
        if isinstance(getattr(training, place[0]), str) and label not in targets[name].labels():
            continue
        for where, dataset in datasets:
            if where[0] == "training_set" and _holds(dataset, name, part) and label not in dataset.masks():
                mask = name + ENDINGS.get(part, "_mask")
                found.append(
                    Problem(
                        ("architecture", "training", *place),
                        f"`{kind}` needs a mask, and {'.'.join(where)} has none for `{label}`; give it "
                        f"`extra_data: {{{mask}: {{key: ...}}}}` or use `{kind.removeprefix('masked_')}`.",
                    )
                )
                break
    if training.num_epochs == 0:  # no loss is minimised; masks still keep values out of baseline, scale and errors
        return found
    masked = {label for label, _ in terms}
    for where, dataset in datasets:
        for mask in dataset.extra_data:
            covered = masked_label(mask, dataset.targets)
            if covered is not None and covered not in masked:
                found.append(
                    Problem(
                        (*where, "extra_data", mask),
                        f"`{mask}` has no effect, because the loss of `{covered}` is not a masked one; use "
                        "`masked_mse`, `masked_mae` or `masked_huber` for it, or remove the mask.",
                    )
                )
    return found


def _holds(dataset: DatasetOptions, name: str, part: str) -> bool:
    """Whether the data set has labels of a target, or may have those of its derivative."""
    if name not in dataset.targets:
        return False
    return not part or getattr(dataset.targets[name].info(name), f"has_{part}") is not False


def _masked_terms(
    option: str, loss: str | Mapping[str, LossOptions], targets: Mapping[str, TargetInfo]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """(label, masked type) → place in the options, of every masked term."""
    if isinstance(loss, str):
        if loss in PRESETS or loss not in MASKED_TYPES:
            return {}
        return {(label, loss): (option,) for target in targets.values() for label in target.possible_labels()}
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for name, own in loss.items():
        if name in targets and own.type in MASKED_TYPES:
            found[name, own.type] = (option, name)
        for part in ("forces", "stress", "virial"):
            term = getattr(own, part)
            if term is not None and term.type in MASKED_TYPES:
                label = f"{name}.{'forces' if part == 'forces' else 'stress'}"
                found[label, term.type] = (option, name, part)
    return found
