"""Rules that need more than one section: what the model can give, what the targets are, and what training asks for."""

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from mace_app.options.datasets import ANGSTROM_PER_UNIT
from mace_app.options.errors import Problem, listed, suggestion
from mace_app.options.foundation_checks import foundation_problems, from_file
from mace_app.options.irreps import Irrep, format_irreps, parse_irreps, reachable_kinds
from mace_app.options.loss import loss_problems
from mace_app.options.mask_checks import mask_problems
from mace_app.options.model import ModelHypers
from mace_app.options.target_info import TargetInfo
from mace_app.options.training import TrainingHypers

if TYPE_CHECKING:
    from mace_app.options.run import RunOptions

LARGEST_POLYNOMIAL = 100.0
SHORTEST_CUTOFF, LONGEST_CUTOFF = 1.0, 20.0  # Å: below, not even bonds are seen; beyond, neighbours number thousands


def _distributed_problems(options: "RunOptions") -> list[Problem]:
    training = options.architecture.training
    if not training.distributed:
        no_effect = "`distributed_port` has no effect without `distributed: true`."
        return [Problem(("distributed_port",), no_effect)] if training.changed("distributed_port") else []
    if ":" in options.device:
        reason = (
            f"`distributed: true` trains on all GPUs, and `device: {options.device}` names one. Use `device: cuda`."
        )
        return [Problem(("distributed",), reason)]
    return []


def _precision_problems(options: "RunOptions") -> list[Problem]:
    precision = options.architecture.training.matmul_precision
    if precision == "float32" or options.base_precision == 32:
        return []
    reason = f"`matmul_precision: {precision}` is for `base_precision: 32`; here it is {options.base_precision}."
    return [Problem(("matmul_precision",), reason)]


def run_problems(options: "RunOptions") -> list[Problem]:
    """Problems of a tree whose parts are right by themselves."""
    targets = options.targets()
    model = [
        *_head_problems(options.architecture.model, targets),
        *_readout_problems(options.architecture.model, targets),
    ]
    if options.architecture.model.mace_model is None:
        model += [*_length_problems(options), *_polynomial_problems(options.architecture.model)]
    training = [
        *_target_name_problems(options.architecture.training, targets),
        *_loss_problems(options.architecture.training, targets, decided=False),
        *_scale_problems(
            options.architecture.training, targets, decided=False, from_a_file=from_file(options.architecture.model)
        ),
        *_block_problems(options.architecture.training, targets),
        *_fine_tuning_problems(options.architecture.model, options.architecture.training),
        *_distributed_problems(options),
        *_precision_problems(options),
    ]
    return [
        *(Problem(("architecture", "model", *problem.loc), problem.message) for problem in model),
        *(Problem(("architecture", "training", *problem.loc), problem.message) for problem in training),
        *foundation_problems(options, targets),
        *_split_problems(options),
        *_other_set_problems(options, targets),
        *mask_problems(options.architecture.training, targets, options.all_datasets()),
    ]


def data_problems(
    training: TrainingHypers, targets: Mapping[str, TargetInfo], from_a_file: Collection[str] = ()
) -> list[Problem]:
    """What shows only once the data are known; locs are relative to ``training``. The scales of the targets
    ``from_a_file`` come with a foundation file."""
    return [
        *_loss_problems(training, targets, decided=True),
        *_scale_problems(training, targets, decided=True, from_a_file=from_a_file),
    ]


def _loss_problems(training: TrainingHypers, targets: Mapping[str, TargetInfo], decided: bool) -> list[Problem]:
    """Of the loss, and of that of stage two where there is one."""
    found = loss_problems(training, targets, decided)
    if training.stage_two_loss is not None:
        second = loss_problems(training.in_stage_two(), targets, decided)
        found += [Problem(("stage_two_loss", *problem.loc[1:]), problem.message) for problem in second]
    return found


def uses_internal_readout(model: ModelHypers, targets: Mapping[str, TargetInfo]) -> bool:
    return any(name in targets for name in (model.mace_head_target, *model.more_mace_heads))


def _head_problems(model: ModelHypers, targets: Mapping[str, TargetInfo]) -> list[Problem]:
    found = []
    own = targets.get(model.mace_head_target)
    # A foundation file brings its energy along, whether or not it is trained.
    if own is None and model.changed("mace_head_target") and model.mace_model is None:
        found.append(
            Problem(
                ("mace_head_target",),
                f"There is no target `{model.mace_head_target}`; the targets are {listed(targets)}."
                f"{suggestion(model.mace_head_target, targets)}",
            )
        )
    if own is not None and (own.kind != "scalar" or own.num_subtargets != 1):
        found.append(
            Problem(
                ("mace_head_target",),
                f"MACE's own readout gives one scalar, and `{own.name}` is something else; choose a scalar target "
                "with one value.",
            )
        )
    return [*found, *_more_head_problems(model, targets), *irreps_problems(model, targets)]


def _more_head_problems(model: ModelHypers, targets: Mapping[str, TargetInfo]) -> list[Problem]:
    found = []
    for name in model.more_mace_heads:
        target = targets.get(name)
        if name == model.mace_head_target:
            why = "it is `mace_head_target` and has MACE's readouts anyway; leave it out"
        elif target is None and model.mace_model is None:
            why = f"there is no such target; the targets are {listed(targets)}.{suggestion(name, targets)}".rstrip(".")
        elif target is not None and (target.kind != "scalar" or target.num_subtargets != 1):
            why = "MACE's readouts give one scalar, and this target is something else; leave it out"
        else:
            continue
        found.append(Problem(("more_mace_heads", name), f"`more_mace_heads` names `{name}`: {why}."))
    return found


def irreps_problems(model: ModelHypers, targets: Mapping[str, TargetInfo]) -> list[Problem]:
    """Targets with a symmetry that no feature has; locs are relative to ``model``. A tensor that may turn out to be
    symmetric counts as symmetric. What features a foundation file has shows once it is read."""
    if model.mace_model is not None:
        return []
    features = model.feature_irreps()
    kinds = {irrep.kind for irrep in features}
    own = (model.mace_head_target, *model.more_mace_heads)
    absent = {
        name: [irrep for irrep in target.irreps if irrep.kind not in kinds and name not in own]
        for name, target in targets.items()
    }
    together = [irrep for missing in absent.values() for irrep in missing]
    place = ("num_interactions",) if model.num_interactions == 1 else ("hidden_irreps",)
    return [
        Problem(place, _missing_irreps(targets[name], missing, together, features, model))
        for name, missing in absent.items()
        if missing
    ]


def _missing_irreps(
    target: TargetInfo, missing: list[Irrep], together: list[Irrep], features: list[Irrep], model: ModelHypers
) -> str:
    """``together`` is what all targets miss, so that one advice serves them all."""
    name = target.name
    wanted = listed(dict.fromkeys(irrep.kind for irrep in missing))
    available = listed(irrep.kind for irrep in features)
    text = f"`{name}` needs {wanted}, but the features a head can read have only {available}"
    if model.num_interactions == 1:
        text += ", because the last layer keeps scalars only; use `num_interactions: 2`"
    hidden = {(i.l, i.p) for i in parse_irreps(model.hidden_irreps)}
    enough = sorted(hidden | {(i.l, i.p) for i in together}, key=lambda kind: (kind[0], kind[1] != (-1) ** kind[0]))
    if set(enough) != hidden:
        irreps = format_irreps([Irrep(features[0].mul, l, p) for l, p in enough])  # noqa: E741
        text += f"{' and' if model.num_interactions == 1 else '; use'} `hidden_irreps: {irreps}`"
        reached = reachable_kinds(model.max_ell, model.correlation)
        if any((irrep.l, irrep.p) not in reached for irrep in together):
            text += ", and raise `max_ell` or `correlation` so that products of neighbours reach them"
    if target.rank == 2 and any(irrep.kind == "1e" for irrep in missing):
        text += "; `1e` is for the antisymmetric part, so a symmetric tensor (`symmetric: true`) does without"
    return text + "."


def _readout_problems(model: ModelHypers, targets: Mapping[str, TargetInfo]) -> list[Problem]:
    found = []
    internal = uses_internal_readout(model, targets)
    if not internal:
        for name in ("use_last_readout_only", "pair_repulsion"):
            if model.changed(name):
                found.append(
                    Problem(
                        (name,),
                        f"`{name}` has no effect: it belongs to MACE's own readout, and no target uses it "
                        f"(`mace_head_target: {model.mace_head_target}`).",
                    )
                )
    added_scalars = any(
        irrep.kind == "0e"
        for name, target in targets.items()
        if name not in (model.mace_head_target, *model.more_mace_heads)
        for irrep in target.irreps
    )
    own_has_hidden = internal and model.num_interactions > 1 and model.mace_model is None
    if not added_scalars and not own_has_hidden:
        for name in ("gate", "MLP_irreps"):
            if model.changed(name):
                found.append(
                    Problem((name,), f"`{name}` has no effect: no readout of these targets has a hidden scalar layer.")
                )
    return found


def _length_problems(options: "RunOptions") -> list[Problem]:
    model = options.architecture.model
    unit = options.training_set[0].systems.length_unit
    cutoff = model.r_max * ANGSTROM_PER_UNIT[unit]
    found = []
    if not SHORTEST_CUTOFF <= cutoff <= LONGEST_CUTOFF:
        limits = [round(limit / ANGSTROM_PER_UNIT[unit], 3) for limit in (SHORTEST_CUTOFF, LONGEST_CUTOFF)]
        found.append(
            Problem(
                ("r_max",),
                f"`r_max` must be between {limits[0]:g} and {limits[1]:g} {unit or 'Å'}; it is {model.r_max:g}.",
            )
        )
    if unit not in ("", "angstrom"):
        for name in ("pair_repulsion", "distance_transform"):
            if model.changed(name):
                found.append(
                    Problem(
                        (name,),
                        f"`{name}` uses covalent radii in Å, but the data are in {unit}; convert the data first.",
                    )
                )
    return found


def _polynomial_problems(model: ModelHypers) -> list[Problem]:
    """mace-torch 0.3.16 takes the distance itself as argument of the Chebyshev polynomials, which stay between −1 and 1
    only up to a distance of 1. Measured on ethanol with random weights: eight functions up to 5 Å give energies of
    10²⁹ eV, four up to 3 Å (values up to 577) 10⁵ eV, two up to 3 Å (17) one eV. ``Soft`` hardly changes a distance;
    ``Agnesi`` maps all to 0…1."""
    if model.radial_type != "chebyshev" or model.distance_transform == "Agnesi" or model.r_max <= 1:
        return []
    largest = math.cosh(min(model.num_radial_basis * math.acosh(model.r_max), 700.0))
    if largest <= LARGEST_POLYNOMIAL:
        return []
    return [
        Problem(
            ("radial_type",),
            f"`radial_type: chebyshev` gives values up to {largest:.0e} at `r_max: {model.r_max:g}`, because "
            "mace-torch puts the distance itself into the polynomials; no network can learn from them. Add "
            "`distance_transform: Agnesi`, which brings distances into their range, or use `bessel`.",
        )
    ]


def _target_name_problems(training: TrainingHypers, targets: Mapping[str, TargetInfo]) -> list[Problem]:
    found = []
    for option in ("atomic_baseline", "fixed_scaling_weights", "per_structure_targets"):
        given = getattr(training, option)
        for name in () if isinstance(given, str) else given:  # a path names no targets
            if name not in targets:
                found.append(
                    Problem(
                        (option, name),
                        f"There is no target `{name}`; the targets are {listed(targets)}.{suggestion(name, targets)}",
                    )
                )
            elif option == "atomic_baseline" and not any(block.is_scalar for block in targets[name].blocks):
                found.append(
                    Problem(
                        (option, name), f"`{name}` is no scalar, and a single atom can't have a direction: remove it."
                    )
                )
            elif option == "fixed_scaling_weights" and isinstance(given[name], dict):
                if targets[name].sample_kind != "atom":
                    why = f"`{name}` has one value for each structure, so its scale is one number, not one per element."
                    found.append(Problem((option, name), why))
            elif option == "per_structure_targets" and targets[name].aggregate == "mean":
                found.append(Problem((option, name), f"`{name}` is a mean and never divided by atoms: remove it."))
            elif option == "per_structure_targets" and targets[name].sample_kind != "system":
                found.append(
                    Problem((option, name), f"`{name}` is given per atom and never divided by atoms: remove it.")
                )
    return found


def _fine_tuning_problems(model: ModelHypers, training: TrainingHypers) -> list[Problem]:
    if model.mace_model is not None:
        return []
    keeps = {"freeze": training.freeze != "nothing", "lora_rank": training.lora_rank is not None}
    return [
        Problem(
            (name,),
            f"`{name}` needs trained weights to start from: without a foundation model (`mace_model`) it would keep "
            "random ones. Leave it out, or name a file.",
        )
        for name, asked in keeps.items()
        if asked
    ]


def _block_problems(training: TrainingHypers, targets: Mapping[str, TargetInfo]) -> list[Problem]:
    if not training.log_separate_blocks or any(len(target.blocks) > 1 for target in targets.values()):
        return []
    why = "`log_separate_blocks` has no effect: no target has several irreps. Leave it off."
    return [Problem(("log_separate_blocks",), why)]


def _scale_problems(
    training: TrainingHypers, targets: Mapping[str, TargetInfo], decided: bool, from_a_file: Collection[str]
) -> list[Problem]:
    if not training.changed("energy_scale"):
        return []
    energies = [target for target in targets.values() if target.is_energy]
    given = training.fixed_scaling_weights
    known = {*([] if isinstance(given, str) else given), *from_a_file}
    measured = [target for target in energies if target.name not in known]
    if not measured:
        why = "every energy has a fixed scale, or that of the foundation file" if energies else "no target is an energy"
        return [Problem(("energy_scale",), f"`energy_scale` has no effect: {why}. Leave it at `auto`.")]
    without = [t for t in measured if t.has_forces is False or (decided and not t.has_forces)]
    if training.energy_scale == "forces" and without:
        return [
            Problem(
                ("energy_scale",),
                f"`energy_scale: forces` needs forces, and `{without[0].name}` is trained without them; use `auto`.",
            )
        ]
    return []


def _split_problems(options: "RunOptions") -> list[Problem]:
    fractions = [value for value in (options.validation_set, options.test_set) if isinstance(value, float)]
    if options.validation_set == 0.0 and options.architecture.training.num_epochs > 0:
        return [
            Problem(
                ("validation_set",),
                "`validation_set: 0` leaves nothing to choose the best epoch by; give a fraction such as 0.1, "
                "indices or a file.",
            )
        ]
    if sum(fractions) >= 1:
        return [
            Problem(
                ("test_set",),
                f"Validation and test take {sum(fractions):g} of the training file, which leaves nothing to learn "
                "from.",
            )
        ]
    return []


def _other_set_problems(options: "RunOptions", targets: Mapping[str, TargetInfo]) -> list[Problem]:
    """Validation and test sets may lack a target, but not bring one that is not trained."""
    return [
        Problem(
            (*place, "targets", name),
            f"`{name}` is not among the targets of the training set ({listed(targets)}).{suggestion(name, targets)}",
        )
        for place, dataset in options.all_datasets()
        if place[0] != "training_set"
        for name in dataset.targets
        if name not in targets
    ]
