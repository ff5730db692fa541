"""Our options for metatrain's ``mtt train``: what is carried, and that nothing is lost without a word."""

from typing import Any

import pytest

from mace_app.options import OptionsError, TrainingHypers, parse_options, parse_yaml
from mace_app.options.metatrain import OURS, Measured, to_metatrain

# Everything metatrain 2026.4.1's experimental.mace knows under `training`.
THEIRS = """
optimizer learning_rate weight_decay amsgrad beta lr_scheduler lr_scheduler_gamma lr_factor
lr_scheduler_patience  distributed distributed_port batch_size num_epochs log_interval checkpoint_interval
scale_targets atomic_baseline  fixed_scaling_weights per_structure_targets num_workers log_mae
log_separate_blocks best_model_metric  grad_clip_norm loss max_atoms_per_batch min_atoms_per_batch finetune
"""
ALL = {"energy": {"unit": "eV", "key": "REF_energy"}, "mtt::mu": {"unit": "e·Å", "type": {"cartesian": {"rank": 1}}}}
MEASURED = Measured(frozenset({"energy", "energy.forces", "mtt::mu"}), 6.5, scale={"energy": 2.0})


def written(
    targets: Any = None, measured: Measured | None = None, training: Any = None, model: Any = None, **more: Any
) -> tuple[dict[str, Any], str]:
    """The mapping for metatrain, and all sentences."""
    tree = {
        "training_set": {"systems": {"read_from": "a.xyz", "length_unit": "angstrom"}, "targets": targets or ALL},
        "architecture": {"training": {"ema_decay": None, **(training or {})}, "model": model or {}},
    }
    text, said = to_metatrain(parse_options(tree | more), measured)
    return parse_yaml(text), "\n".join(said)


def test_every_training_option_is_carried_or_spoken_of() -> None:
    assert set(TrainingHypers.model_fields) <= set(THEIRS.split()) | set(OURS)


def test_no_key_of_ours_and_no_null_is_written() -> None:
    training = {
        "loss": "universal",
        "warmup_steps": 5,
        "accumulate_batches": 2,
        "early_stopping_patience": 9,
        "config_weights": {"a": 2},
        "ema_decay": 0.99,
        "batch_atom_bounds": [2, 80],
        "grad_clip_norm": None,
        "lr_scheduler": "CosineAnnealingLR",
        "optimizer": "schedulefree",
    }
    training.pop("lr_scheduler")
    content, said = written(training=training, measured=MEASURED)
    own = content["architecture"]["training"]
    assert set(own) <= set(THEIRS.split())
    assert own["grad_clip_norm"] == float("inf") and own["optimizer"] == "adamw"
    assert (own["max_atoms_per_batch"], own["min_atoms_per_batch"]) == (80, 2)
    for lost in ("ema_decay", "warmup_steps", "accumulate_batches", "early_stopping_patience", "config_weights"):
        assert f"`{lost}: " in said

    def no_nulls(value: Any) -> bool:
        if isinstance(value, dict):
            return all(no_nulls(entry) for entry in value.values())
        return value is not None

    assert no_nulls(content)


def test_what_the_data_tell_is_written_down() -> None:
    content, said = written(measured=Measured(MEASURED.labels, 6.54321, baseline={"energy": {1: -13.5, 8: -2000.25}}))
    assert content["architecture"]["model"]["avg_num_neighbors"] == 6.54321
    assert content["architecture"]["training"]["atomic_baseline"] == {"energy": {1: -13.5, 8: -2000.25}}
    assert "avg_num_neighbors" not in said
    content, said = written()
    assert "avg_num_neighbors" not in content["architecture"]["model"] and "`avg_num_neighbors: auto`" in said
    assert "`energy_scale: auto`" in said
    assert "`energy_scale" not in written(training={"energy_scale": "energy"})[1]


def test_a_huber_delta_in_physical_units_is_divided_by_the_scale() -> None:
    loss = written({"energy": {"unit": "eV"}}, MEASURED, {"loss": "universal"})[0]["architecture"]["training"]["loss"]
    assert loss["energy"]["delta"] == 0.005
    assert loss["energy"]["gradients"]["positions"] == {
        "type": "huber",
        "weight": 100.0,
        "reduction": "mean",
        "delta": 0.005,
    }


def test_scales_of_some_elements_only_are_lost_with_a_word() -> None:
    charge = {"charge": {"sample_kind": "atom", "unit": "e"}}
    seen = Measured(frozenset({"charge"}), 6.0, baseline={"charge": {1: 0.0, 8: 0.1}})
    scales = {"charge": {1: 0.5}}
    content, said = written(charge, seen, {"fixed_scaling_weights": scales})
    assert (
        "fixed_scaling_weights" not in content["architecture"]["training"] and "`fixed_scaling_weights.charge`" in said
    )
    scales["charge"][8] = 0.25
    content, said = written(charge, seen, {"fixed_scaling_weights": scales})
    assert content["architecture"]["training"]["fixed_scaling_weights"] == scales and "scaling" not in said


def test_gradients_are_mappings_and_carry_their_keys() -> None:
    targets = written(measured=MEASURED)[0]["training_set"]["targets"]
    assert targets["energy"] == {
        "quantity": "energy",
        "key": "REF_energy",
        "unit": "eV",
        "forces": {"key": "REF_forces"},
        "stress": False,
    }
    assert targets["mtt::mu"]["unit"] == "e*Angstrom" and targets["mtt::mu"]["quantity"] == ""
    virial = written({"energy": {"virial": "W", "forces": False}})[0]["training_set"]["targets"]["energy"]
    assert (virial["virial"], virial["stress"], virial["forces"]) == ({"key": "W"}, False, False)


def test_targets_metatrain_cannot_have_are_left_out_with_their_loss() -> None:
    targets = ALL | {"mtt::alpha": {"type": {"cartesian": {"rank": 2}}}}
    loss = {"mtt::alpha": {"weight": 3}, "energy": {"forces": {"weight": 10}}}
    content, said = written(targets, Measured(MEASURED.labels | {"mtt::alpha"}, 6.0), {"loss": loss})
    assert set(content["training_set"]["targets"]) == {"energy", "mtt::mu"}
    assert set(content["architecture"]["training"]["loss"]) == {"energy", "mtt::mu"}
    assert "`mtt::alpha` is left out" in said
    with pytest.raises(OptionsError, match="any of the targets"):
        written({"mtt::alpha": {"type": {"cartesian": {"rank": 2}}}})


def test_best_metrics_devices_and_gate_are_translated() -> None:
    content, said = written(training={"best_model_metric": "loss"}, model={"gate": None}, device="cuda:1")
    assert content["architecture"]["training"]["best_model_metric"] == "loss"
    assert content["device"] == "cuda" and "CUDA_VISIBLE_DEVICES=1" in said
    assert content["architecture"]["model"]["gate"] is None, "null means linear readouts there too"
    assert "mae_prod" in written()[1] and "best_model_metric" not in written()[0]["architecture"]["training"]


def test_what_is_written_reads_back_with_the_same_meaning() -> None:
    training = {"loss": {"energy": {"type": "huber", "delta": 0.2, "forces": {"weight": 10}}}, "batch_size": 3}
    tree, _ = written(training=training, measured=MEASURED, validation_set={"indices": [0, 3]}, seed=4)
    options = parse_options(tree)
    assert options.architecture.training.loss["energy"].forces.weight == 10
    assert options.architecture.training.batch_size == 3 and options.seed == 4
    assert options.validation.indices == [0, 3]
