"""Our options as a file for metatrain's ``mtt train``, and in sentences what it can't carry or does differently.

Written for metatrain 2026.4: entries that are at its defaults are left out, so that older releases read the file too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mace_app.options.base import shown
from mace_app.options.errors import OptionsError, Problem
from mace_app.options.fields import default_of
from mace_app.options.loss import resolve_loss
from mace_app.options.loss_terms import EV_PER_UNIT, LossTerm
from mace_app.options.metatrain_data import dataset_for_metatrain, unfit
from mace_app.options.run import IndicesOptions, RunOptions
from mace_app.options.target_info import TargetInfo
from mace_app.options.training import TrainingHypers
from mace_app.options.yaml_files import as_yaml

# Our options that metatrain doesn't have: what is lost when one of them is set.
OURS: dict[str, str] = {
    "ema_decay": "metatrain validates and exports the weights themselves, not a running average",
    "warmup_steps": "metatrain starts at the full learning rate",
    "accumulate_batches": "metatrain takes a step after every batch; the batch size was multiplied instead",
    "early_stopping_patience": "metatrain trains all epochs",
    "stage_two_start": "metatrain has no second stage, so learning rate and loss stay as they are",
    "stage_two_learning_rate": "",
    "stage_two_loss": "",
    "stop_when_diverging": "",
    "freeze": "metatrain trains all weights",
    "freeze_layers": "",
    "backbone_learning_rate_factor": "metatrain has one learning rate for all weights",
    "lora_rank": "metatrain trains the weights themselves",
    "lora_alpha": "",
    "config_weights": "metatrain weighs all structures alike",
    "energy_scale": "",
    "batch_atom_bounds": "",
    "matmul_precision": "metatrain multiplies in full precision",
}
_SILENT_DEFAULTS = {"ema_decay": None}  # what means the same as metatrain's behaviour, where that is not our default
_GRADIENTS = {"forces": "positions", "stress": "strain"}
_PLAIN = {"type": "mse", "weight": 1.0, "reduction": "mean", "gradients": {}}
_LOSSES = {"masked_mse": "mse", "masked_mae": "mae", "masked_huber": "huber", "conditional_huber": "huber"}


@dataclass(frozen=True)
class Measured:
    """What only the data tell.

    ``labels`` are those the training data hold, ``incomplete`` those of them that some frames lack, ``baseline`` and
    ``scale`` what we would fit (an energy per element, one number for each target), ``volume_per_atom`` is a mean.
    """

    labels: frozenset[str]
    avg_num_neighbors: float
    incomplete: Mapping[str, int] = field(default_factory=dict)
    isolated_atoms: int = 0
    baseline: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)


def to_metatrain(options: RunOptions, measured: Measured | None = None) -> tuple[str, list[str]]:
    """YAML that ``mtt train`` accepts as it is, and what it can't carry or will do differently, a sentence each.

    Without ``measured`` nothing that depends on the data is known: metatrain then takes its own defaults. Raises
    OptionsError where none of the targets is possible there.
    """
    said: list[str] = []
    targets = options.targets(measured.labels if measured else _possible(options))
    reasons = {name: unfit(target) for name, target in targets.items()}
    for name, reason in reasons.items():
        if reason:
            said.append(f"The target `{name}` is left out: {reason}.")
    targets = {name: target for name, target in targets.items() if not reasons[name]}
    if not targets:
        raise OptionsError([Problem(("training_set",), f"metatrain can't train any of the targets. {' '.join(said)}")])
    mapping: dict[str, Any] = {}
    for name in ("seed", "base_precision"):
        if getattr(options, name) is not None:
            mapping[name] = getattr(options, name)
    mapping |= _device(options.device, said)
    mapping |= {name: getattr(options, name) for name in ("print_stats", "final_eval") if options.changed(name)}
    if options.wandb is not None:
        mapping["wandb"] = {"mode": "offline", **options.wandb.model_dump(exclude_defaults=True)}
    if options.tensorboard:
        said.append("metatrain writes no TensorBoard files.")
    architecture: dict[str, Any] = {"name": options.architecture.name}
    if options.architecture.atomic_types is not None:
        architecture["atomic_types"] = options.architecture.atomic_types
    architecture["model"] = _model(options, targets, measured, said)
    architecture["training"] = _training(options.architecture.training, targets, measured, said)
    mapping["architecture"] = architecture
    mapping |= _sets(options, targets, said)
    _about_the_data(options, measured, said)
    return as_yaml(mapping), said


def _possible(options: RunOptions) -> set[str]:
    return {label for target in options.targets().values() for label in target.possible_labels()}


def _device(device: str, said: list[str]) -> dict[str, str]:
    if device == "auto":
        return {}
    kind, _, number = device.partition(":")
    if number:
        said.append(f"`device: {device}`: metatrain takes the first GPU; set CUDA_VISIBLE_DEVICES={number} for it.")
    return {"device": kind}


def _model(
    options: RunOptions, targets: Mapping[str, TargetInfo], measured: Measured | None, said: list[str]
) -> dict[str, Any]:
    model = options.architecture.model
    written = {name: getattr(model, name) for name in type(model).model_fields if model.changed(name)}
    if written.get("mace_head_target", "energy") not in targets:
        written.pop("mace_head_target", None)
    written.pop("kernels", None)  # the numbers are the same
    if written.pop("more_mace_heads", None):
        said.append(
            f"`more_mace_heads: {shown(model.more_mace_heads)}` is lost: metatrain uses MACE's readouts for one "
            "target, and these get heads that start at random."
        )
    if model.mace_model is not None:
        return written
    if model.avg_num_neighbors != "auto":
        return written
    written.pop("avg_num_neighbors", None)
    if measured is not None:
        return written | {"avg_num_neighbors": float(f"{measured.avg_num_neighbors:.6g}")}
    said.append(
        "`avg_num_neighbors: auto` depends on the data, which were not read; metatrain then divides messages by 1. "
        "Write the number of neighbours an atom has on average."
    )
    return written


def _training(
    training: TrainingHypers, targets: Mapping[str, TargetInfo], measured: Measured | None, said: list[str]
) -> dict[str, Any]:
    special = {"loss", "atomic_baseline", "fixed_scaling_weights", "per_structure_targets", "best_model_metric"}
    written: dict[str, Any] = {}
    for name in type(training).model_fields:
        if name in OURS:
            _not_carried(training, name, said)
        elif name not in special and training.changed(name):
            written[name] = getattr(training, name)
    if "grad_clip_norm" in written and written["grad_clip_norm"] is None:
        written["grad_clip_norm"] = float("inf")
    _optimiser(training, written, said)
    _batches(training, written, said)
    if training.distributed:
        said.append(
            f"`distributed: true`: metatrain gives every GPU a batch of `batch_size`, here all GPUs share one of "
            f"{training.batch_size}; divide it by the number of GPUs for the same steps."
        )
    if own := [name for name in training.per_structure_targets if name in targets]:
        written["per_structure_targets"] = own
    if training.best_model_metric == "weighted_mae":
        said.append(
            "`best_model_metric: weighted_mae` doesn't exist there; `mae_prod`, the product of all mean absolute "
            "errors, chooses the best epoch."
        )
    elif training.best_model_metric != "mae_prod":
        written["best_model_metric"] = training.best_model_metric
    written |= _baseline(training, targets, measured, said)
    written |= _scale(training, targets, measured, said)
    written |= _loss(training, targets, measured, said)
    return written


def _not_carried(training: TrainingHypers, name: str, said: list[str]) -> None:
    neutral = _SILENT_DEFAULTS.get(name, default_of(type(training).model_fields[name]))
    value = getattr(training, name)
    if OURS[name] and value != neutral:
        said.append(f"`{name}: {shown(value)}` is lost: {OURS[name]}.")


def _optimiser(training: TrainingHypers, written: dict[str, Any], said: list[str]) -> None:
    if training.optimizer == "schedulefree":
        written["optimizer"] = "adamw"
        said.append(
            "`optimizer: schedulefree` became `adamw`: metatrain never switches that optimiser between training and "
            "evaluation, and needs a package that it does not install."
        )
    if training.lr_scheduler not in ("ReduceLROnPlateau", "ExponentialLR"):
        del written["lr_scheduler"]
        said.append(f"`lr_scheduler: {training.lr_scheduler}` doesn't exist there and became `ReduceLROnPlateau`.")


def _batches(training: TrainingHypers, written: dict[str, Any], said: list[str]) -> None:
    lowest, highest = training.batch_atom_bounds
    if highest is not None:
        written["max_atoms_per_batch"] = highest
        said.append(
            f"`max_atoms_per_batch: {highest}`: metatrain then ignores `batch_size` and leaves out larger structures."
        )
        if lowest is not None:
            written["min_atoms_per_batch"] = lowest
            said.append(f"`min_atoms_per_batch: {lowest}`: metatrain throws smaller batches away.")
        return
    if lowest is not None:
        said.append(
            f"`batch_atom_bounds: [{lowest}, null]` is lost: metatrain has a lower bound beside an upper one only."
        )
    if training.accumulate_batches > 1:
        written["batch_size"] = training.batch_size * training.accumulate_batches
    said.append(
        "metatrain leaves out the last batch of an epoch where it is not full; here every structure is learnt from."
    )


def _baseline(
    training: TrainingHypers, targets: Mapping[str, TargetInfo], measured: Measured | None, said: list[str]
) -> dict[str, Any]:
    """metatrain takes numbers for all elements or fits all of them; a checkpoint of ours means nothing to it."""
    given = training.atomic_baseline
    if measured is not None:
        known = {name: dict(table) for name, table in measured.baseline.items() if name in targets}
        return {"atomic_baseline": known} if known else {}
    numbers = (
        {name: entry for name, entry in given.items() if name in targets and isinstance(entry, float)}
        if isinstance(given, Mapping)
        else {}
    )
    if isinstance(given, str) or any(name in targets and name not in numbers for name in given):
        said.append(
            "`atomic_baseline` is not carried in full: metatrain needs a number for every element, and the data were "
            "not read. It fits the rest, or takes them from the foundation file."
        )
    return {"atomic_baseline": numbers} if numbers else {}


def _scale(
    training: TrainingHypers, targets: Mapping[str, TargetInfo], measured: Measured | None, said: list[str]
) -> dict[str, Any]:
    if not training.scale_targets:
        return {}
    given = training.fixed_scaling_weights
    known: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    for name in [name for name, entry in known.items() if isinstance(entry, Mapping)]:
        elements = set(measured.baseline.get(name, {})) if measured is not None else set()
        if not elements or not elements <= set(known[name]):
            del known[name]
            said.append(f"`fixed_scaling_weights.{name}` is lost: metatrain needs a number for every element.")
    by_forces = [name for name, info in targets.items() if info.is_energy and info.has_forces and name not in known]
    if measured is not None:
        known |= {name: value for name, value in measured.scale.items() if name not in known}
    elif isinstance(given, str):
        said.append("`fixed_scaling_weights` from a checkpoint is lost, because the data were not read.")
    elif by_forces and training.energy_scale != "energy":
        said.append(
            f"`energy_scale: {training.energy_scale}`: metatrain divides energies and forces by the typical energy per "
            "atom after the baseline, we by the typical force, so energies and forces weigh differently in its loss."
        )
    known = {name: entry for name, entry in known.items() if name in targets}
    return {"fixed_scaling_weights": known} if known else {}


def _loss(
    training: TrainingHypers, targets: Mapping[str, TargetInfo], measured: Measured | None, said: list[str]
) -> dict[str, Any]:
    terms = resolve_loss(training, _all_targets(training, targets))
    loss: dict[str, Any] = {}
    for name, target in targets.items():
        scale = measured.scale.get(name) if measured is not None else None
        parts = [_part(label, terms[label], target.unit, scale, said) for label in target.labels()]
        derivatives = [_GRADIENTS[label.removeprefix(f"{name}.")] for label in target.labels()[1:]]
        loss[name] = parts[0] | {"gradients": dict(zip(derivatives, parts[1:], strict=True))}
    flat = [part for own in loss.values() for part in ({**own, "gradients": {}}, *own["gradients"].values())]
    if all({**part, "gradients": {}} == _PLAIN for part in flat):
        return {}
    return {"loss": {name: {k: v for k, v in own.items() if v != {}} for name, own in loss.items()}}


def _part(label: str, term: LossTerm, unit: str, scale: float | None, said: list[str]) -> dict[str, Any]:
    kind = _LOSSES.get(term.type, term.type)
    part: dict[str, Any] = {"type": kind, "weight": term.weight, "reduction": term.reduction}
    if kind == "huber":
        part["delta"] = term.delta
        if term.physical and scale is not None:
            part["delta"] = float(f"{term.delta / EV_PER_UNIT.get(unit, 1.0) / scale:.6g}")
        elif term.physical:
            said.append(f"`{label}`: its delta of {term.delta:g} counts in normalised units there.")
    if kind != term.type:
        why = "metatrain reads no masks here" if "masked" in term.type else "delta is the same for all forces there"
        said.append(f"The loss `{term.type}` of `{label}` became `{kind}`: {why}.")
    if term.as_stress:
        said.append(f"`{label}`: metatrain compares volume times stress per atom instead of the stress itself.")
    return part


def _all_targets(training: TrainingHypers, targets: Mapping[str, TargetInfo]) -> Mapping[str, TargetInfo]:
    """With stand-ins for targets that are left out but named by the loss, which would be refused otherwise."""
    named = training.loss if isinstance(training.loss, Mapping) else {}
    return {**targets, **{name: TargetInfo(name) for name in named if name not in targets}}


def _sets(options: RunOptions, targets: Mapping[str, TargetInfo], said: list[str]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name in ("training_set", "validation_set", "test_set"):
        value = getattr(options, name)
        if isinstance(value, IndicesOptions):
            written[name] = {"indices": value.indices}
        elif isinstance(value, list):
            datasets = [dataset_for_metatrain(dataset, targets, said) for dataset in value]
            written[name] = datasets[0] if len(datasets) == 1 else datasets
            if len(value) != len(options.training_set):
                said.append(
                    f"`{name}` must have as many data sets as the training set there ({len(options.training_set)})."
                )
        elif name == "validation_set" or options.changed(name):
            written[name] = value
            if value:
                said.append(
                    f"The {name.split('_')[0]} structures are drawn by another rule there, so the split differs."
                )
    if any(dataset.extra_data for _, dataset in options.all_datasets()):
        said.append("Masks (`extra_data`) are not carried: all values of a label count there.")
    return written


def _about_the_data(options: RunOptions, measured: Measured | None, said: list[str]) -> None:
    if measured is None:
        return
    for label, missing in measured.incomplete.items():
        lost = "then drops it for the whole file" if "." in label else "refuses such a file"
        lack = "structure lacks" if missing == 1 else "structures lack"
        said.append(f"{missing} {lack} `{label}`, and metatrain {lost}: keep them out of its files.")
    if measured.isolated_atoms:
        said.append(
            f"The files hold isolated atoms of {measured.isolated_atoms} elements. Here they give the baseline only; "
            "metatrain trains on them as structures, and drops forces for the whole file where they have none: keep "
            "them out of its files."
        )
