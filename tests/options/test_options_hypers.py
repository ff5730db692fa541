"""The form's raw material: every hyperparameter is there, described, bounded, and refused rather than ignored."""

import re
from typing import Any

import pytest

from mace_app.options import (
    Architecture,
    DatasetOptions,
    GradientOptions,
    IndicesOptions,
    LossOptions,
    ModelHypers,
    OptionsError,
    RunOptions,
    SystemsOptions,
    TargetOptions,
    TrainingHypers,
    option_fields,
    parse_options,
)

MODEL_NAMES = [
    "mace_model",
    "mace_head_target",
    "r_max",
    "num_radial_basis",
    "radial_type",
    "num_cutoff_basis",
    "max_ell",
    "interaction",
    "interaction_first",
    "num_interactions",
    "hidden_irreps",
    "edge_irreps",
    "apply_cutoff",
    "avg_num_neighbors",
    "pair_repulsion",
    "distance_transform",
    "correlation",
    "gate",
    "MLP_irreps",
    "radial_MLP",
    "use_embedding_readout",
    "use_last_readout_only",
    "use_agnostic_product",
    "mace_head_name",
]
TRAINING_NAMES = [
    "optimizer",
    "learning_rate",
    "weight_decay",
    "amsgrad",
    "beta",
    "lr_scheduler",
    "lr_scheduler_gamma",
    "lr_factor",
    "lr_scheduler_patience",
    "batch_size",
    "num_epochs",
    "grad_clip_norm",
    "num_workers",
    "log_interval",
    "checkpoint_interval",
    "distributed",
    "distributed_port",
    "batch_atom_bounds",
    "scale_targets",
    "fixed_scaling_weights",
    "atomic_baseline",
    "per_structure_targets",
    "log_mae",
    "log_separate_blocks",
    "best_model_metric",
    "loss",
]
SIMPLE = [
    "mace_model",
    "r_max",
    "learning_rate",
    "batch_size",
    "hidden_irreps",
    "correlation",
    "num_interactions",
    "loss",
]
MODELS = [
    RunOptions,
    Architecture,
    ModelHypers,
    TrainingHypers,
    DatasetOptions,
    SystemsOptions,
    TargetOptions,
    GradientOptions,
    IndicesOptions,
    LossOptions,
]


def problems_with(model: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **more: Any) -> dict:
    """{dotted place: message} of a run with these hyperparameters."""
    tree = {"training_set": "a.xyz", "architecture": {"model": model or {}, "training": training or {}}} | more
    try:
        parse_options(tree)
    except OptionsError as error:
        return {".".join(p.loc).removeprefix("architecture."): p.message for p in error.problems}
    return {}


def test_every_hyper_of_metatrains_model_and_trainer_is_there_and_what_is_our_own() -> None:
    assert len(MODEL_NAMES) == 24 and len(TRAINING_NAMES) == 26
    assert set(ModelHypers.model_fields) == {*MODEL_NAMES, "more_mace_heads", "kernels"}
    assert set(TRAINING_NAMES) < set(TrainingHypers.model_fields)


def test_exactly_eight_options_are_simple() -> None:
    found = [field.name for model in MODELS for field in option_fields(model) if field.importance == "simple"]
    assert sorted(found) == sorted(SIMPLE)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_option_has_a_title_one_sentence_of_help_and_an_explanation(model: type) -> None:
    for field in option_fields(model):
        assert field.title and field.section, field.name
        assert re.fullmatch(r"[^\n]+\.", field.help), f"{field.name}: {field.help}"
        assert len(re.findall(r"\.(?: |$)", field.help)) <= 2, f"{field.name}: one sentence, not {field.help}"
        assert field.explanation.endswith(".") and field.explanation != field.help, field.name
        if model in (ModelHypers, TrainingHypers):
            assert len(field.explanation) > 60, field.name


def test_numbers_have_bounds_at_both_ends_or_a_reason_not_to() -> None:
    open_ended = {"avg_num_neighbors", "grad_clip_norm", "MLP_irreps"}
    for model in (ModelHypers, TrainingHypers):
        for field in option_fields(model):
            if isinstance(field.default, int | float) and not isinstance(field.default, bool):
                low, high = field.bounds
                assert low is not None and (high is not None or field.name in open_ended), field.name


NOT_BUILT: list[tuple[str, dict[str, Any]]] = [
    ("model.use_embedding_readout", {"model": {"use_embedding_readout": True}}),
    ("model.max_ell", {"model": {"max_ell": 0, "hidden_irreps": "8x0e"}}),
    ("training.loss", {"training": {"loss": "shift_agnostic_mse"}}),
    ("training.loss.energy.type", {"training": {"loss": {"energy": "pointwise"}}}),
    ("device", {"device": "multi-gpu"}),
]


@pytest.mark.parametrize(("place", "tree"), NOT_BUILT, ids=[f"{p}-{n}" for n, (p, _) in enumerate(NOT_BUILT)])
def test_what_is_not_built_is_refused_at_its_place_with_a_reason(place: str, tree: dict[str, Any]) -> None:
    problems = problems_with(**tree)
    assert list(problems) == [place]
    assert "not built yet" in problems[place]
    assert len(problems[place]) > 40, "a reason and a way out"


def test_writing_down_a_default_is_never_refused() -> None:
    model = ModelHypers().model_dump()
    training = TrainingHypers().model_dump()
    assert problems_with(model, training, wandb=None, device="auto") == {}
    assert problems_with(training={"num_workers": 0}) == {}


NO_EFFECT: list[tuple[str, dict[str, Any], str]] = [
    ("training.distributed_port", {"training": {"distributed_port": 40000}}, "distributed: true"),
    ("training.distributed", {"training": {"distributed": True}, "device": "cuda:1"}, "names one"),
    ("training.lr_scheduler_gamma", {"training": {"lr_scheduler_gamma": 0.9}}, "ExponentialLR"),
    ("training.lr_factor", {"training": {"lr_scheduler": "ExponentialLR", "lr_factor": 0.5}}, "ReduceLROnPlateau"),
    (
        "training.lr_scheduler_patience",
        {"training": {"lr_scheduler": "ExponentialLR", "lr_scheduler_patience": 5}},
        "ReduceLROnPlateau",
    ),
    ("training.log_mae", {"training": {"log_mae": False}}, "rmse_prod"),
    ("training.matmul_precision", {"training": {"matmul_precision": "tf32"}}, "base_precision: 32"),
    (
        "training.fixed_scaling_weights",
        {"training": {"scale_targets": False, "fixed_scaling_weights": {"energy": 1}}},
        "1",
    ),
    ("training.energy_scale", {"training": {"scale_targets": False, "energy_scale": "energy"}}, "no effect"),
    ("training.log_separate_blocks", {"training": {"log_separate_blocks": True}}, "several irreps"),
    ("training.loss.energy.delta", {"training": {"loss": {"energy": {"type": "mae", "delta": 0.1}}}}, "huber"),
    (
        "training.loss",
        {"training": {"loss": {"energy": {"weight": 0, "forces": {"weight": 0}, "stress": {"weight": 0}}}}},
        "0",
    ),
    ("model.interaction", {"model": {"num_interactions": 1, "interaction": "RealAgnosticDensity"}}, "no effect"),
    ("model.edge_irreps", {"model": {"num_interactions": 1, "edge_irreps": "8x0e"}}, "no effect"),
    ("model.edge_irreps", {"model": {"edge_irreps": "8x0e + 8x3o"}}, "3o"),
    ("model.use_last_readout_only", {"model": {"num_interactions": 1, "use_last_readout_only": True}}, "readout"),
    ("model.gate", {"model": {"num_interactions": 1, "gate": None}}, "no effect"),
    (
        "model.avg_num_neighbors",
        {
            "model": {
                "avg_num_neighbors": 10,
                "interaction": "RealAgnosticDensity",
                "interaction_first": "RealAgnosticDensityResidual",
            }
        },
        "density",
    ),
    ("model.radial_type", {"model": {"radial_type": "chebyshev"}}, "distance_transform: Agnesi"),
    ("model.radial_type", {"model": {"radial_type": "chebyshev", "distance_transform": "Soft"}}, "polynomials"),
    ("model.mace_head_target", {"model": {"mace_head_target": "enrgy"}}, "Did you mean `energy`"),
    ("training.atomic_baseline.enery", {"training": {"atomic_baseline": {"enery": 1}}}, "Did you mean `energy`"),
    (
        "training.fixed_scaling_weights.energy",
        {"training": {"fixed_scaling_weights": {"energy": {1: 0.5}}}},
        "one number",
    ),
    ("training.per_structure_targets.gap", {"training": {"per_structure_targets": ["gap"]}}, "`energy`"),
]


@pytest.mark.parametrize(("place", "tree", "word"), NO_EFFECT, ids=[f"{p}-{n}" for n, (p, *_) in enumerate(NO_EFFECT)])
def test_an_option_without_effect_is_refused_with_the_reason(place: str, tree: dict[str, Any], word: str) -> None:
    problems = problems_with(**tree)
    assert list(problems) == [place]
    assert word in problems[place]


OUT_OF_BOUNDS: list[tuple[str, Any]] = [
    ("r_max", 0.5),
    ("r_max", 25),
    ("r_max", True),
    ("r_max", "five"),
    ("r_max", float("nan")),
    ("num_interactions", 0),
    ("num_interactions", 2.5),
    ("correlation", 9),
    ("avg_num_neighbors", 0),
    ("avg_num_neighbors", "many"),
    ("radial_MLP", []),
    ("radial_MLP", [64, 0]),
    ("radial_type", "besel"),
    ("gate", "relu"),
    ("interaction_first", "RealAgnosticAttResidual"),
    ("MLP_irreps", "16x0e + 4x1o"),
    ("hidden_irreps", "128x0e + 12y1o"),
    ("hidden_irreps", ""),
    ("hidden_irreps", "32x1o + 32x0e"),
    ("hidden_irreps", "32x0e + 16x1o"),
    ("hidden_irreps", "32x0e + 32x0e"),
    ("hidden_irreps", "0x0e"),
    ("hidden_irreps", 128),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_BOUNDS)
def test_an_impossible_model_value_is_explained_at_its_field(name: str, value: Any) -> None:
    problems = problems_with(model={name: value})
    assert problems, f"{name}: {value} was accepted"
    assert all(place.startswith(f"model.{name}") for place in problems)
    for message in problems.values():
        assert message.endswith((".", "?", "`")) and message[0] in "`ATI"
        assert not re.search(r"pydantic|Input should|type=|_parsing|ctx", message), message


@pytest.mark.parametrize(
    ("irreps", "max_ell", "correlation"),
    [("8x0e + 8x1e", 1, 3), ("8x0e + 8x4e", 3, 1), ("8x0e + 8x2o", 1, 2), ("8x0e + 8x0o", 3, 3)],
)
def test_features_that_would_stay_zero_are_refused(irreps: str, max_ell: int, correlation: int) -> None:
    problems = problems_with({"hidden_irreps": irreps, "max_ell": max_ell, "correlation": correlation})
    assert list(problems) == ["model.hidden_irreps"] and "would stay zero" in problems["model.hidden_irreps"]


@pytest.mark.parametrize("place", ["interaction", "interaction_first"])
def test_pseudo_scalars_are_refused_where_gates_would_spoil_them(place: str) -> None:
    """mace-torch fails at building such a model, with a bare assertion."""
    block = "RealAgnosticResidualNonLinear"
    problems = problems_with({"hidden_irreps": "4x0e + 4x0o", "num_interactions": 3, place: block})
    assert list(problems) == ["model.hidden_irreps"] and "gates" in problems["model.hidden_irreps"]


def test_products_beyond_mace_torchs_tables_are_refused_before_anyone_waits_for_them() -> None:
    assert "model.correlation" in problems_with({"max_ell": 4, "correlation": 3})
    assert "model.correlation" in problems_with({"max_ell": 2, "correlation": 5})
    assert problems_with({"max_ell": 2, "correlation": 4}) == {}


def test_chebyshev_polynomials_are_fine_where_their_values_are() -> None:
    assert problems_with({"radial_type": "chebyshev", "distance_transform": "Agnesi"}) == {}
    assert problems_with({"radial_type": "chebyshev", "r_max": 3, "num_radial_basis": 2}) == {}
    nanometers = {"systems": {"read_from": "a.xyz", "length_unit": "nm"}}
    assert problems_with({"radial_type": "chebyshev", "r_max": 0.5}, training_set=nanometers) == {}


def test_short_names_of_interaction_blocks_are_understood() -> None:
    model = ModelHypers(interaction="RealAgnosticAttResidual", interaction_first="RealAgnosticDensity")
    assert model.interaction == "RealAgnosticAttResidualInteractionBlock"
    assert model.interaction_first == "RealAgnosticDensityInteractionBlock"


def test_baselines_may_be_partial_integers_and_text_numbers() -> None:
    training = TrainingHypers(atomic_baseline={"energy": {"1": -13, 8: "-4.3e2"}, "charge": 0})
    assert training.atomic_baseline == {"energy": {1: -13.0, 8: -430.0}, "charge": 0.0}
    assert (
        "atomic numbers"
        in problems_with(training={"atomic_baseline": {"energy": {"H": 1}}})["training.atomic_baseline"]
    )


def test_baselines_and_scales_may_be_words_tables_or_one_of_our_runs() -> None:
    words = TrainingHypers(atomic_baseline={"energy": "isolated_atoms", "charge": "fit"}).atomic_baseline
    assert words == {"energy": "isolated_atoms", "charge": "fit"}
    assert TrainingHypers(atomic_baseline="runs/one", fixed_scaling_weights="a/best.safetensors").changed(
        "atomic_baseline"
    )
    charge = {"systems": "a.xyz", "targets": {"charge": {"sample_kind": "atom"}}}
    scales = {"fixed_scaling_weights": {"charge": {"1": "2e-1", 8: 3}}}
    tree = parse_options({"training_set": charge, "architecture": {"training": scales}})
    assert tree.architecture.training.fixed_scaling_weights == {"charge": {1: 0.2, 8: 3.0}}


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("atomic_baseline", "composition_model.ckpt", "checkpoint of metatrain"),
        ("fixed_scaling_weights", "scaler.ckpt", "checkpoint of metatrain"),
        ("atomic_baseline", "mace.model", "model of MACE"),
        ("atomic_baseline", "fit", "atomic_baseline: {energy: fit}"),
        ("atomic_baseline", {"energy": "isolated atoms"}, "`isolated_atoms`"),
        ("atomic_baseline", {"energy": {}}, "empty"),
        ("atomic_baseline", {"energy": float("nan")}, "must be a number"),
        ("fixed_scaling_weights", {"charge": {8: 0}}, "more than 0"),
        ("fixed_scaling_weights", {"energy": True}, "must be a number"),
        ("fixed_scaling_weights", " ", "empty"),
    ],
)
def test_what_is_no_baseline_or_scale_is_refused_with_the_way_out(option: str, value: Any, word: str) -> None:
    problems = problems_with(training={option: value})
    assert list(problems) == [f"training.{option}"] and word in problems[f"training.{option}"]


def test_zero_epochs_and_no_clipping_are_possible() -> None:
    training = {"num_epochs": 0, "grad_clip_norm": None, "ema_decay": None}
    assert problems_with(training=training, validation_set=0.0) == {}
