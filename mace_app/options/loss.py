"""What is minimised: one term per label, with its type, weight, reduction and, for huber, delta."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, field_validator

from mace_app.options.base import Options, shown
from mace_app.options.errors import OptionsError, Problem, listed, refuse, suggestion
from mace_app.options.fields import option
from mace_app.options.loss_terms import DEFAULT_DELTA, PRESETS, LossTerm, preset_problems, preset_terms
from mace_app.options.target_info import TargetInfo

if TYPE_CHECKING:
    from mace_app.options.training import TrainingHypers

PLAIN_TYPES = ("mse", "mae", "huber")
MASKED_TYPES = tuple(f"masked_{name}" for name in PLAIN_TYPES)
LOSS_TYPES = (*PLAIN_TYPES, *MASKED_TYPES)
_NO_FORMULA = (
    "it names no formula: in metatrain it is what `mse`, `mae` and `huber` are made from, and options can't build it "
    "there either."
)
_NEEDS_ENSEMBLE = "it needs an ensemble of last layers, which comes with a later version."
_FOR_SPECTRA = "losses for densities of states come with a later version."
LOSS_TYPES_NOT_BUILT = {
    "pointwise": _NO_FORMULA,
    "masked_pointwise": _NO_FORMULA,
    "masked_dos": _FOR_SPECTRA,
    "shift_agnostic_mse": _FOR_SPECTRA,
    "ensemble_nll": _NEEDS_ENSEMBLE,
    "gaussian_nll_ensemble": _NEEDS_ENSEMBLE,
    "gaussian_crps_ensemble": _NEEDS_ENSEMBLE,
    "empirical_crps_ensemble": _NEEDS_ENSEMBLE,
}


def check_loss_type(value: Any, presets: bool = True) -> str:
    """``value`` if it is the name of a loss that is built; otherwise raises the error for its field.

    ``presets``: whether this is the loss of everything, which may also be one of ``PRESETS``.
    """
    allowed = (*LOSS_TYPES, *PRESETS) if presets else LOSS_TYPES
    if isinstance(value, str) and value in allowed:
        return value
    if isinstance(value, str) and value in PRESETS:
        raise refuse(f"`{value}` is a loss for everything, not for one term; write `loss: {value}` alone.")
    if isinstance(value, str) and value in LOSS_TYPES_NOT_BUILT:
        raise refuse(
            f"The loss `{value}` is not built yet: {LOSS_TYPES_NOT_BUILT[value]} Use one of {listed(allowed)}."
        )
    close = suggestion(str(value), allowed)
    raise refuse(f"A loss must be one of {listed(allowed)}; it is {shown(value)}.{close}")


class LossPart(Options):
    """One term of the loss."""

    hints: ClassVar[dict[str, str]] = {
        "sliding_factor": "adaptive weighting is not built yet; give a `weight` instead.",
        "huber_delta": "it is called `delta`.",
    }

    type: Literal["mse", "mae", "huber", "masked_mse", "masked_mae", "masked_huber"] = option(
        "mse",
        title="Loss",
        section="Loss",
        help="How a deviation is counted: squared, absolute, or squared up to delta and absolute beyond.",
        explanation=(
            "`mse` punishes large deviations most and is the usual start. `mae` and `huber` forgive single bad labels "
            "and often give lower mean absolute errors at the end. Values are normalised before they are compared. The "
            "masked ones leave out what the mask in `extra_data` (`<target>_mask`, `<target>_forces_mask`, "
            "`<target>_stress_mask`) marks as false."
        ),
        not_built_values=LOSS_TYPES_NOT_BUILT,
    )
    weight: float = option(
        1.0,
        title="Weight",
        section="Loss",
        widget="log",
        ge=0,
        help="How much this term counts in the sum.",
        explanation=(
            "Terms are normalised, so weights of 1 balance them roughly. More weight on forces gives better dynamics, "
            "more on energies better relative stabilities. A weight of 0 leaves a label out of training; its error is "
            "still reported."
        ),
    )
    reduction: Literal["mean", "sum"] = option(
        "mean",
        title="Reduction",
        section="Loss",
        help="Whether the deviations of a batch are averaged or added.",
        explanation=(
            "A mean makes a term independent of how many numbers a batch holds. A sum lets large structures and large "
            "batches count for more, and needs smaller weights and learning rates."
        ),
    )
    delta: float | None = option(
        None,
        title="Delta",
        section="Loss",
        gt=0,
        help="Where the huber loss turns from squared to absolute, in normalised units; empty means 1.",
        explanation=(
            "One unit is the typical size of the label, so 0.01 treats deviations above one per cent of it as "
            "outliers. It belongs to the huber loss and is refused for the others."
        ),
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        """``huber`` stands for ``{type: huber}``."""
        return {"type": value} if isinstance(value, str) else value

    @field_validator("type", mode="before")
    @classmethod
    def _built_type(cls, value: Any) -> str:
        return check_loss_type(value, presets=False)

    @field_validator("reduction", mode="before")
    @classmethod
    def _trainable_reduction(cls, value: Any) -> Any:
        if value == "none":
            raise refuse("`reduction: none` leaves no single number to minimise; use `mean` or `sum`.")
        return value

    def problems(self) -> list[Problem]:
        if self.delta is not None and self.type not in ("huber", "masked_huber"):
            return [Problem(("delta",), f"`delta` has no effect on the loss `{self.type}`; it belongs to `huber`.")]
        return []


class LossOptions(LossPart):
    """The loss of one target; an energy may add terms for its derivatives."""

    forces: LossPart | None = option(
        None,
        title="Forces",
        section="Loss",
        help="The term for the forces of an energy; empty means mse with weight 1.",
        explanation=(
            "A type alone (`forces: huber`) or a mapping with type, weight, reduction and delta. It is refused for a "
            "target without forces."
        ),
    )
    stress: LossPart | None = option(
        None,
        title="Stress",
        section="Loss",
        help="The term for the stress of an energy; empty means mse with weight 1.",
        explanation=(
            "A type alone or a mapping, as for forces. For data that hold virials, `virial` means the same term."
        ),
    )
    virial: LossPart | None = option(
        None,
        title="Virial",
        section="Loss",
        help="Another name for the stress term, for data that hold virials.",
        explanation="The model is trained on the same quantity either way, so give `stress` or `virial`, not both.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        """metatrain's ``gradients: {positions, strain}`` are the forces and the stress."""
        value = super().expand(value)
        if not isinstance(value, Mapping) or "gradients" not in value:
            return value
        rest = {key: entry for key, entry in value.items() if key != "gradients"}
        gradients = value["gradients"] or {}
        names = {"positions": "forces", "strain": "stress"}
        if not isinstance(gradients, Mapping) or any(key not in names for key in gradients):
            raise refuse("`gradients` must be a mapping with the keys `positions` and `strain`.")
        for key, entry in gradients.items():
            if names[key] in rest:
                raise refuse(f"`gradients.{key}` and `{names[key]}` are the same term; give one of them.")
            rest[names[key]] = entry
        return rest

    def problems(self) -> list[Problem]:
        found = super().problems()
        if self.stress is not None and self.virial is not None:
            found.append(Problem(("virial",), "`virial` and `stress` are the same term; give one of them."))
        return found


def _config_weights(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise refuse(f"`config_weights` must be a mapping such as `{{liquid: 1, dimer: 10}}`; it is {shown(value)}.")
    found = {}
    for kind, entry in value.items():
        try:
            weight = float("nan") if isinstance(entry, bool) else float(entry)
        except (TypeError, ValueError):
            weight = float("nan")
        if not 0 <= weight < float("inf"):
            raise refuse(f"`config_weights.{kind}` must be a number from 0 up; it is {shown(entry)}.")
        found[str(kind)] = weight
    return found


ConfigWeights = Annotated[dict[str, float], BeforeValidator(_config_weights)]


def _term(part: LossPart | None) -> LossTerm:
    if part is None:
        return LossTerm()
    return LossTerm(part.type, part.weight, part.reduction, DEFAULT_DELTA if part.delta is None else part.delta)


def resolve_loss(training: "TrainingHypers", targets: Mapping[str, TargetInfo]) -> dict[str, LossTerm]:
    """The loss of every label of ``targets``, in the order of the labels.

    A single type holds for every label; otherwise whatever the options don't mention is mse with weight 1. Raises
    OptionsError where the options name a target, forces or a stress that is not there, or leave nothing to learn.
    """
    problems = loss_problems(training, targets, decided=True)
    if problems:
        raise OptionsError(
            [Problem(("architecture", "training", *problem.loc), problem.message) for problem in problems]
        )
    if training.loss in PRESETS:
        return preset_terms(str(training.loss), targets)
    terms: dict[str, LossTerm] = {}
    for name, target in targets.items():
        if isinstance(training.loss, str):
            terms.update({label: LossTerm(type=training.loss) for label in target.labels()})
            continue
        own = training.loss.get(name)
        parts = {
            name: own,
            f"{name}.forces": own.forces if own else None,
            f"{name}.stress": (own.stress or own.virial) if own else None,
        }
        terms.update({label: _term(parts[label]) for label in target.labels()})
    return terms


def loss_problems(training: "TrainingHypers", targets: Mapping[str, TargetInfo], decided: bool) -> list[Problem]:
    """What is wrong with the loss for these targets; locs are relative to ``training``.

    ``decided`` says whether the data have been seen, so that forces which may be there count as absent or present.
    """
    if isinstance(training.loss, str):
        return preset_problems(training, targets) if training.loss in PRESETS else []
    found = []
    for name, own in training.loss.items():
        if name not in targets:
            found.append(
                Problem(
                    ("loss", name),
                    f"There is no target `{name}`; the targets are {listed(targets)}.{suggestion(name, targets)}",
                )
            )
            continue
        target = targets[name]
        for part, present in (
            ("forces", target.has_forces),
            ("stress", target.has_stress),
            ("virial", target.has_stress),
        ):
            if getattr(own, part) is not None and (present is False or (decided and not present)):
                why = "is no energy" if not target.is_energy else f"is trained without {part}"
                found.append(Problem(("loss", name, part), f"`{name}` {why}, so a loss for its {part} has no effect."))
    if not found and targets and not _anything_to_learn(training.loss, targets):
        found.append(
            Problem(("loss",), "All weights are 0, so there is nothing to learn; give a label a weight above 0.")
        )
    return found


def _anything_to_learn(loss: Mapping[str, LossOptions], targets: Mapping[str, TargetInfo]) -> bool:
    for name, target in targets.items():
        own = loss.get(name)
        if own is None or own.weight > 0:
            return True
        strain = own.stress or own.virial
        if target.has_forces is not False and (own.forces is None or own.forces.weight > 0):
            return True
        if target.has_stress is not False and (strain is None or strain.weight > 0):
            return True
    return False
