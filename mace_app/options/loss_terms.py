"""The loss of one label once it is resolved, and the losses of MACE, which stand for those of all labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mace_app.options.errors import Problem, listed
from mace_app.options.target_info import TargetInfo

if TYPE_CHECKING:
    from mace_app.options.training import TrainingHypers

PRESETS = ("weighted", "universal")
DEFAULT_DELTA = 1.0
UNIVERSAL_DELTA = 0.01  # eV/atom, eV/Å, eV/Å³
FORCE_REGIMES = ((100.0, 1.0), (200.0, 0.7), (300.0, 0.4), (float("inf"), 0.1))
"""Of ``conditional_huber``: below a reference force of so many eV/Å, δ is multiplied by the factor (MACE)."""
EV_PER_UNIT = {  # CODATA 2018; an empty unit is taken as eV
    "": 1.0,
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": 27.211386245988,
    "Ha": 27.211386245988,
    "Ry": 13.605693122994,
    "kcal/mol": 0.0433641153087705,
    "kJ/mol": 0.01036426965625,
}


@dataclass(frozen=True)
class LossTerm:
    """One resolved term. ``delta`` counts for huber and ``conditional_huber`` (forces of ``universal``) only.

    ``delta`` is in normalised units, or with ``physical`` in eV/atom, eV/Å or eV/Å³, for which the weight holds too;
    ``unit`` is then how much of that one normalised unit is, known once the scale of the model is
    (``training.losses.scaled_terms``). ``as_stress`` compares a stress itself, as MACE does, instead of V·stress/N.
    """

    type: str = "mse"
    weight: float = 1.0
    reduction: str = "mean"
    delta: float = DEFAULT_DELTA
    physical: bool = False
    unit: float | None = None
    as_stress: bool = False


def preset_terms(preset: str, targets: Mapping[str, TargetInfo]) -> dict[str, LossTerm]:
    """The losses of MACE's command line, for every label of ``targets``.

    ``weighted``: mean squares of energy per atom, forces and stress with the weights 1, 100 and 1, which are the
    defaults of mace_run_train. That is MACE's WeightedEnergyForcesStressLoss (its ``--loss stress``), or without stress
    its WeightedEnergyForcesLoss (``--loss weighted``). ``universal``: its UniversalLoss with the same weights and
    huber's δ = 0.01 eV/atom, eV/Å and eV/Å³; for forces δ is smaller the larger the reference force is
    (``FORCE_REGIMES``). Both compare the stress itself, as MACE does, not V·stress/N.

    Everything about one energy is divided by the square of its scale, so the terms stand to each other as in MACE. Two
    things differ: missing labels don't count here, while MACE counts them as errors of zero; and MACE's universal loss
    takes no notice of ``config_weight``. Targets other than energies are mse with weight 1.
    """
    kind, forces, delta = ("mse", "mse", DEFAULT_DELTA)
    if preset == "universal":
        kind, forces, delta = ("huber", "conditional_huber", UNIVERSAL_DELTA)
    terms: dict[str, LossTerm] = {}
    for name, target in targets.items():
        if not target.is_energy:
            terms[name] = LossTerm()
            continue
        parts = {
            name: LossTerm(kind, 1.0, "mean", delta, physical=True),
            f"{name}.forces": LossTerm(forces, 100.0, "mean", delta, physical=True),
            f"{name}.stress": LossTerm(kind, 1.0, "mean", delta, physical=True, as_stress=True),
        }
        terms.update({label: parts[label] for label in target.labels()})
    return terms


def preset_problems(training: "TrainingHypers", targets: Mapping[str, TargetInfo]) -> list[Problem]:
    """Where a preset would not mean what it means in MACE; locs are relative to ``training``."""
    energies = [target for target in targets.values() if target.is_energy]
    if targets and not energies:
        return [
            Problem(
                ("loss",),
                f"`loss: {training.loss}` is about energies, and no target is one; use `mse`, `mae` or `huber`.",
            )
        ]
    found = [
        Problem(
            ("loss",),
            f"`loss: {training.loss}` compares energies per atom, but `{energy.name}` is among the "
            "`per_structure_targets`; remove it there, or give each label a loss of its own.",
        )
        for energy in energies
        if energy.name in training.per_structure_targets
    ]
    found += [
        Problem(
            ("loss",),
            f"`loss: {training.loss}` is meant for energies in eV, but how many eV `{energy.unit}` is, the unit of "
            f"`{energy.name}`, is not known. Use one of {listed(unit for unit in EV_PER_UNIT if unit)}, or give each "
            "label a loss of its own.",
        )
        for energy in energies
        if energy.unit not in EV_PER_UNIT
    ]
    return found
