"""Every hyperparameter of training changes what can be seen of a training, or is refused with its reason."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hyper_runs import ENERGY, SPHERICAL, Laboratory, Seen

from mace_app.options import LossOptions, LossPart, OptionsError, TrainingHypers, option_fields
from mace_app.options.loss import LOSS_TYPES, LOSS_TYPES_NOT_BUILT
from mace_app.options.loss_terms import PRESETS
from mace_app.training import watch


@dataclass(frozen=True)
class Case:
    """A value, the value to compare it with (``instead``; the tiny run's by default), options both have, the part of a
    training that must differ and one that must not; or a part of the reason for which it is refused."""

    value: Any
    differs: str = ""
    base: dict[str, Any] = field(default_factory=dict)
    instead: Any = ...
    same: str = ""
    refused: str = ""
    targets: Any = None
    loose_watch: bool = False


WILD = {"learning_rate": 1.0, "grad_clip_norm": None}
STAGES = {"stage_two_start": 2, "stage_two_learning_rate": 1e-3}
FORCES = {"energy": {"weight": 1, "forces": {"weight": 10}}}
CASES: dict[str, Case] = {
    "num_epochs": Case(2, "epochs"),
    "batch_size": Case(3, "batches"),
    "batch_atom_bounds": Case([None, 5], "batches"),
    "accumulate_batches": Case(2, "weights"),
    "num_workers": Case(1, "workers", same="weights"),
    # What it does to 32 bits is in tests/training/test_matmul_precision.py.
    "matmul_precision": Case("tf32", refused="is for `base_precision: 32`"),
    "optimizer": Case("adamw", "weights", {"weight_decay": 0.1}),
    "learning_rate": Case(0.02, "weights"),
    "weight_decay": Case(0.1, "weights"),
    "amsgrad": Case(False, "weights", {"num_epochs": 6, "learning_rate": 0.1}),
    "beta": Case(0.5, "weights"),
    "grad_clip_norm": Case(0.01, "weights"),
    "ema_decay": Case(0.5, "errors", same="weights"),
    "warmup_steps": Case(4, "rates"),
    "lr_scheduler": Case("ExponentialLR", "rates"),
    "lr_factor": Case(0.5, "rates", {**WILD, "lr_scheduler_patience": 0, "num_epochs": 5}),
    "lr_scheduler_patience": Case(0, "rates", {**WILD, "num_epochs": 5}),
    "lr_scheduler_gamma": Case(0.5, "rates", {"lr_scheduler": "ExponentialLR"}),
    "stage_two_start": Case(2, "rates", {"stage_two_learning_rate": 1e-3}, instead=3),
    "stage_two_learning_rate": Case(1e-4, "rates", {"stage_two_start": 2, "stage_two_loss": "mae"}),
    "stage_two_loss": Case("mae", "weights", STAGES),
    "early_stopping_patience": Case(1, "epochs", {**WILD, "num_epochs": 6}),
    "stop_when_diverging": Case(False, "result", {**WILD, "num_epochs": 7}, loose_watch=True),
    # What keeps trained weights is tried with trained weights in tests/training/test_freezing.py.
    "freeze": Case("backbone", refused="needs trained weights"),
    "freeze_layers": Case(2, refused="belongs to `freeze: layers`"),
    "backbone_learning_rate_factor": Case(0.1, "weights", same="rates"),
    "lora_rank": Case(4, refused="needs trained weights"),
    "lora_alpha": Case(2.0, refused="without `lora_rank`"),
    "loss": Case("mae", "losses"),
    "config_weights": Case({"a": 5.0}, "losses"),
    "per_structure_targets": Case(["energy"], "losses"),
    "scale_targets": Case(False, "normalisation"),
    "energy_scale": Case("energy", "normalisation"),
    "fixed_scaling_weights": Case({"energy": 3.0}, "normalisation"),
    "atomic_baseline": Case({"energy": {8: -7.0}}, "normalisation"),
    "best_model_metric": Case("loss", "monitored"),
    "log_mae": Case(False, "keys", {"best_model_metric": "loss"}, same="weights"),
    "log_separate_blocks": Case(
        True, "keys", same="weights", targets={"mtt::mixed": {"key": "mixed", "type": SPHERICAL}}
    ),
    "log_interval": Case(2, "epochs", {"num_epochs": 4}, same="weights"),
    "checkpoint_interval": Case(1, "files", same="weights"),
    "distributed_port": Case(40000, refused="without `distributed: true`"),
}
LOSS_CASES: dict[str, Case] = {
    "type": Case({"energy": "huber"}, "losses", {"loss": {"energy": {}}}),
    "weight": Case({"energy": {"weight": 5}}, "losses", {"loss": {"energy": {}}}),
    "reduction": Case({"energy": {"reduction": "sum"}}, "losses", {"loss": {"energy": {}}}),
    "delta": Case({"energy": {"type": "huber", "delta": 0.01}}, "losses", {"loss": {"energy": "huber"}}),
    "forces": Case(FORCES, "losses", {"loss": {"energy": {}}}),
    "stress": Case({"energy": {"stress": "mae"}}, "losses", {"loss": {"energy": {}}}),
    "virial": Case(
        {"energy": {"virial": {"weight": 3}}},
        "losses",
        {"loss": {"energy": {}}},
        targets={"energy": {"unit": "eV", "virial": True}},
    ),
}
FIELDS = {item.name: item for item in option_fields(TrainingHypers)}
# What some choices need beside them.
COMPANY = {("optimizer", "adamw"): {"weight_decay": 0.1}}
CHOICES = [(name, value) for name, item in FIELDS.items() for value in item.choices if value != item.default]


def seen(laboratory: Laboratory, case: Case, **training: Any) -> Seen:
    return laboratory.training({"architecture": {"training": {**case.base, **training}}}, case.targets)


def compare(laboratory: Laboratory, name: str, case: Case, option: str) -> None:
    instead = {} if case.instead is ... else {option: case.instead}
    before, after = seen(laboratory, case, **instead), seen(laboratory, case, **{option: case.value})
    assert before.part(case.differs) != after.part(case.differs), f"`{name}` changes nothing about the {case.differs}"
    if case.same:
        assert before.part(case.same) == after.part(case.same)


def test_every_hyper_has_its_case() -> None:
    # With `distributed` the numbers are the same, from several processes: tests/tasks/test_several_processes.py.
    assert {*CASES, "distributed"} == set(TrainingHypers.model_fields)
    assert set(LOSS_CASES) == set(LossOptions.model_fields) >= set(LossPart.model_fields)


@pytest.mark.parametrize("name", CASES)
def test_a_training_hyper_changes_the_training_or_is_refused(
    laboratory: Laboratory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    if case.refused:
        with pytest.raises(OptionsError, match=case.refused) as caught:
            laboratory.options({"architecture": {"training": {name: case.value}}})
        assert [problem.loc[-1] for problem in caught.value.problems] == [name]
        return
    if case.loose_watch:  # otherwise it takes a hundred steps to be sure; no other case has this number of epochs
        for constant, value in (("FACTOR", 1.0), ("LOOKS", 2), ("STEPS", 1)):
            monkeypatch.setattr(watch, constant, value)
    compare(laboratory, name, case, name)


@pytest.mark.parametrize("name", LOSS_CASES)
def test_every_entry_of_a_loss_changes_it(laboratory: Laboratory, name: str) -> None:
    compare(laboratory, name, LOSS_CASES[name], "loss")


@pytest.mark.parametrize(("name", "value"), CHOICES, ids=[f"{name}-{value}" for name, value in CHOICES])
def test_every_choice_trains_and_differs_from_the_default(laboratory: Laboratory, name: str, value: Any) -> None:
    case = CASES[name]
    base = Case(value, case.differs, COMPANY.get((name, value), {}), targets=case.targets)
    if case.refused or value in FIELDS[name].not_built_values:
        with pytest.raises(OptionsError):
            seen(laboratory, base, **{name: value})
        return
    if name == "energy_scale" and value == "forces":
        auto = seen(laboratory, base)
        assert seen(laboratory, base, energy_scale="forces").normalisation == auto.normalisation, "forces are trained"
        return
    compare(laboratory, name, base, name)


@pytest.mark.parametrize("kind", [*LOSS_TYPES, *PRESETS, *LOSS_TYPES_NOT_BUILT])
def test_every_type_of_loss_trains_differs_from_mse_or_is_refused(laboratory: Laboratory, kind: str) -> None:
    if kind in LOSS_TYPES_NOT_BUILT:
        with pytest.raises(OptionsError, match=f"`{kind}` is not built yet"):
            laboratory.options({"architecture": {"training": {"loss": kind}}})
        return
    targets: Any = {"mtt::gap": {"key": "gap"}} if kind.startswith("masked") else ENERGY
    changes: dict[str, Any] = {"architecture": {"training": {"loss": kind}}}
    plain: dict[str, Any] = {"architecture": {"training": {"loss": kind.removeprefix("masked_")}}}
    if kind.startswith("masked"):
        changes |= {
            "training_set": {
                "systems": str(laboratory.data),
                "targets": targets,
                "extra_data": {"mtt::gap_mask": {"key": "gap_mask"}},
            }
        }
    elif kind == "mse":
        plain = {"architecture": {"training": {"loss": "mae"}}}
    else:
        plain = {"architecture": {"training": {"loss": "mse"}}}
    before, after = laboratory.training(plain, targets), laboratory.training(changes, targets)
    assert before.part("losses") != after.part("losses")
    assert after.losses[-1] > 0
