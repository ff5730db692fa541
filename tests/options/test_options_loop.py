"""Options of the training loop that only make sense together, or not at all."""

from typing import Any

import pytest
from pydantic import ValidationError

from mace_app.options import OptionsError, TrainingHypers, dump_options, parse_options, parse_yaml
from mace_app.options.errors import problems_of

TWO_STAGES = {"stage_two_start": 80, "stage_two_learning_rate": 0.001, "num_epochs": 100}


def problems_with(**training: Any) -> dict[str, str]:
    try:
        parse_options({"training_set": "a.xyz", "architecture": {"training": training}})
    except OptionsError as error:
        return {".".join(p.loc).removeprefix("architecture.training."): p.message for p in error.problems}
    return {}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("stage_two_learning_rate", {"stage_two_learning_rate": 0.001}, "without `stage_two_start`"),
    ("stage_two_loss", {"stage_two_loss": "mae"}, "without `stage_two_start`"),
    ("stage_two_start", {**TWO_STAGES, "stage_two_start": 101}, "use about 75"),
    ("stage_two_start", {"stage_two_start": 80}, "nothing changes"),
    ("stage_two_start", {**TWO_STAGES, "stage_two_start": 1}, "at least 2"),
    ("stage_two_loss", {**TWO_STAGES, "loss": "mae", "stage_two_loss": "mae"}, "same as `loss`"),
    ("stage_two_loss", {**TWO_STAGES, "stage_two_loss": "mes"}, "mse"),
    ("stage_two_loss.enegry", {**TWO_STAGES, "stage_two_loss": {"enegry": "mae"}}, "`energy`"),
    ("stage_two_loss.energy.weight", {**TWO_STAGES, "stage_two_loss": {"energy": {"weight": -1}}}, "at least 0"),
    ("early_stopping_patience", {"early_stopping_patience": 100, "num_epochs": 100}, "only 100 epochs"),
    ("batch_atom_bounds", {"batch_atom_bounds": [20, 10]}, "20 is more than 10"),
    ("batch_atom_bounds", {"batch_atom_bounds": [10]}, "list of two"),
    ("batch_atom_bounds.1", {"batch_atom_bounds": [None, 0]}, "at least 1"),
    ("lr_factor", {"lr_scheduler": "CosineAnnealingLR", "lr_factor": 0.5}, "ReduceLROnPlateau"),
    ("lr_scheduler_gamma", {"lr_scheduler": "CosineAnnealingLR", "lr_scheduler_gamma": 0.9}, "ExponentialLR"),
    ("freeze_layers", {"freeze_layers": 2}, "no effect with `freeze: nothing`"),
    ("lora_alpha", {"lora_alpha": 2.0}, "without `lora_rank`"),
    ("freeze", {"freeze": "layers"}, "without a foundation model"),
    ("lora_rank", {"lora_rank": 4}, "without a foundation model"),
    ("freeze", {"freeze": "readouts"}, "`nothing`, `layers`, `backbone`"),
    ("backbone_learning_rate_factor", {"backbone_learning_rate_factor": 0}, "more than 0"),
    *[
        (name, {"optimizer": "schedulefree", name: value}, "schedulefree")
        for name, value in {
            "amsgrad": False,
            "lr_scheduler": "ExponentialLR",
            "lr_factor": 0.5,
            "lr_scheduler_patience": 3,
            "lr_scheduler_gamma": 0.9,
            "ema_decay": 0.999,
            "beta": 0.0,
        }.items()
    ],
]


@pytest.mark.parametrize(("place", "training", "words"), REFUSED, ids=[f"{e[0]}-{n}" for n, e in enumerate(REFUSED)])
def test_what_has_no_effect_or_no_sense_is_refused_at_its_field(place: str, training: dict, words: str) -> None:
    problems = problems_with(**training)
    assert list(problems) == [place]
    assert words in problems[place]


@pytest.mark.parametrize(
    ("place", "training", "words"),
    [
        ("freeze_layers", {"freeze": "backbone", "freeze_layers": 2}, "belongs to `freeze: layers`"),
        (
            "backbone_learning_rate_factor",
            {"freeze": "backbone", "backbone_learning_rate_factor": 0.1},
            "weights that are not trained have no learning rate",
        ),
        ("weight_decay", {"freeze": "backbone", "weight_decay": 1e-4}, "acts on weights of the backbone only"),
        ("lora_rank", {"freeze": "layers", "lora_rank": 4}, "can't be used together"),
    ],
)
def test_what_makes_no_sense_together_when_starting_from_trained_weights(
    place: str, training: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingHypers.model_validate(training)
    (problem,) = problems_of(caught.value)
    assert problem.loc == (place,) and words in problem.message


@pytest.mark.parametrize(
    "training",
    [
        {"freeze": "layers", "freeze_layers": 2, "backbone_learning_rate_factor": 0.1, "weight_decay": 1e-4},
        {"freeze": "backbone", "weight_decay": 0},
        {"lora_rank": 256, "lora_alpha": 16, "backbone_learning_rate_factor": 0.1, "weight_decay": 1e-4},
    ],
)
def test_what_makes_sense_together_when_starting_from_trained_weights(training: dict[str, Any]) -> None:
    hypers = TrainingHypers.model_validate(training)
    assert {name: getattr(hypers, name) for name in training} == training


@pytest.mark.parametrize(
    "training",
    [
        TWO_STAGES,
        {**TWO_STAGES, "stage_two_start": 100},
        {**TWO_STAGES, "stage_two_learning_rate": None, "stage_two_loss": {"energy": {"weight": 100}}},
        {**TWO_STAGES, "optimizer": "schedulefree", "ema_decay": None},
        {"early_stopping_patience": 99, "num_epochs": 100},
        {"batch_atom_bounds": [10, 10]},
        {"num_workers": 4, "accumulate_batches": 8, "warmup_steps": 100, "stop_when_diverging": False},
        {"lr_scheduler": "CosineAnnealingLR"},
    ],
)
def test_what_makes_sense_is_accepted_and_reads_back_equal(training: dict) -> None:
    options = parse_options({"training_set": "a.xyz", "architecture": {"training": training}})
    assert parse_options(parse_yaml(dump_options(options))) == options


def test_names_of_other_programs_are_explained() -> None:
    for name, own in (("patience", "early_stopping_patience"), ("start_swa", "stage_two_start")):
        assert f"`{own}`" in problems_with(**{name: 3})[name]


def test_stage_two_has_its_own_loss_and_rate_and_everything_else_as_before() -> None:
    training = TrainingHypers.model_validate({**TWO_STAGES, "stage_two_loss": {"energy": {"weight": 100}}})
    second = training.in_stage_two()
    assert second.learning_rate == 0.001 and second.loss == training.stage_two_loss
    assert second.model_copy(update={"learning_rate": training.learning_rate, "loss": training.loss}) == training
    same_loss = TrainingHypers.model_validate(TWO_STAGES).in_stage_two()
    assert same_loss.loss == "mse"
