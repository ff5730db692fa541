"""Rules for a run that starts from a foundation file, as far as they don't need the file itself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mace_app.options.datasets import ANGSTROM_PER_UNIT
from mace_app.options.errors import Problem, listed
from mace_app.options.normalisation import FOUNDATION_WORDS
from mace_app.options.target_info import TargetInfo

if TYPE_CHECKING:
    from mace_app.options.model import ModelHypers
    from mace_app.options.run import RunOptions


def from_file(model: "ModelHypers") -> tuple[str, ...]:
    """Targets whose readouts, baseline and scale a foundation file brings; none where there is no file."""
    return () if model.mace_model is None else (model.mace_head_target, *model.more_mace_heads)


def foundation_problems(options: "RunOptions", targets: Mapping[str, TargetInfo]) -> list[Problem]:
    """Locs are those of the whole tree."""
    architecture = options.architecture
    found = [
        Problem(("architecture", "training", *problem.loc), problem.message)
        for problem in _baseline_problems(options, targets)
    ]
    if architecture.model.mace_model is None:
        return found
    found += _unit_problems(options, targets)
    found += _scale_problems(options)
    if architecture.atomic_types is not None:
        found.append(
            Problem(
                ("architecture", "atomic_types"),
                "`atomic_types` has no effect with `mace_model`: the elements are those of the file. Leave it empty.",
            )
        )
    return found


def _baseline_problems(options: "RunOptions", targets: Mapping[str, TargetInfo]) -> list[Problem]:
    """``foundation`` and ``estimated`` need the file, and ``fit`` would forget what its network adds."""
    model, given = options.architecture.model, options.architecture.training.atomic_baseline
    ours = from_file(model)
    if isinstance(given, str):
        if not ours or not set(ours) & set(targets):
            return []
        why = "energies of single atoms of another run would not fit the readouts of the foundation file"
        return [Problem(("atomic_baseline",), f"`atomic_baseline: {given}`: {why}. Give them for each target.")]
    found = []
    for name, entry in given.items():
        place = ("atomic_baseline", name)
        if entry in FOUNDATION_WORDS and name not in ours:
            why = (
                "there is none; give `mace_model`, or use `fit`"
                if model.mace_model is None
                else f"only {listed(ours)} come from it; leave `{name}` out"
            )
            found.append(Problem(place, f"`{name}: {entry}` takes its values from a foundation file: {why}."))
        elif entry == "fit" and name in ours:
            found.append(
                Problem(
                    place,
                    f"`{name}: fit` would fit total energies, but the network of the foundation file adds its own part "
                    "to them. Use `estimated`, which fits what the file leaves over, or `foundation`.",
                )
            )
    return found


def _unit_problems(options: "RunOptions", targets: Mapping[str, TargetInfo]) -> list[Problem]:
    """A published file's numbers are in eV and Å, and nothing is converted."""
    found = []
    unit = options.training_set[0].systems.length_unit
    if ANGSTROM_PER_UNIT[unit] != 1:
        found.append(
            Problem(
                ("training_set", "0", "systems", "length_unit"),
                f"Lengths are in {unit}, but a foundation file knows distances in Å only; convert the data first.",
            )
        )
    for name in from_file(options.architecture.model):
        target = targets.get(name)
        if target is None:
            continue
        place = ("training_set", "0", "targets", name)
        if not target.is_energy or target.sample_kind != "system":
            found.append(
                Problem(
                    place,
                    f"`{name}` uses the readouts of the foundation file, which give energies of structures; it must be "
                    "one too (`quantity: energy`), or have another name.",
                )
            )
        elif target.unit not in ("", "eV"):
            found.append(
                Problem(
                    place,
                    f"`{name}` is in {target.unit}, but the foundation file gives eV, and nothing is converted; "
                    "convert the data first.",
                )
            )
    return found


def _scale_problems(options: "RunOptions") -> list[Problem]:
    model, training = options.architecture.model, options.architecture.training
    given = training.fixed_scaling_weights
    why = (
        "the scale of a foundation file belongs to its weights, and another one would multiply its energies; leave it "
        "out"
    )
    names = from_file(model)
    found = [
        Problem(("architecture", "training", "fixed_scaling_weights", name), f"`fixed_scaling_weights.{name}`: {why}.")
        for name in names
        if not isinstance(given, str) and name in given
    ]
    if isinstance(given, str):
        place = ("architecture", "training", "fixed_scaling_weights")
        found.append(Problem(place, f"`fixed_scaling_weights: {given}`: {why}."))
    return found
