"""Masks and masked losses, and weights of groups: what the options allow."""

from typing import Any

import pytest

from mace_app.options import OptionsError, parse_options, resolve_loss

DOS = {"type": {"cartesian": {"rank": 1}}}


def problems(training: dict[str, Any], masks: dict[str, Any], more: dict[str, Any] | None = None, **top: Any) -> dict:
    """{dotted place: message}."""
    data = {"systems": "a.xyz", "targets": {"energy": {"unit": "eV"}, "mtt::x": DOS}, "extra_data": masks}
    sets: Any = data if more is None else [data, {"targets": data["targets"], **more}]
    try:
        parse_options({"training_set": sets, "architecture": {"training": training}, **top})
    except OptionsError as error:
        return {".".join(problem.loc): problem.message for problem in error.problems}
    return {}


def loss(**terms: Any) -> dict[str, Any]:
    return {"loss": terms}


LOSS = "architecture.training.loss"


@pytest.mark.parametrize(
    ("training", "masks", "place", "word"),
    [
        ({"loss": {"mtt::x": "masked_mse"}}, {}, f"{LOSS}.mtt::x", "`mse`"),
        ({"loss": {"mtt::x": "masked_huber"}}, {"energy_mask": {}}, f"{LOSS}.mtt::x", "mtt::x_mask"),
        (loss(energy={"forces": "masked_mae"}), {}, f"{LOSS}.energy.forces", "energy_forces_mask"),
        (loss(energy={"virial": "masked_mae"}), {}, f"{LOSS}.energy.virial", "energy_stress_mask"),
        ({"loss": "masked_mae"}, {"energy_mask": {}}, LOSS, "mtt::x_mask"),
        ({}, {"mtt::x_mask": {}}, "training_set.0.extra_data.mtt::x_mask", "`masked_mse`"),
        (
            loss(energy="masked_mse"),
            {"energy_mask": {}, "energy_forces_mask": {}},
            "training_set.0.extra_data",
            "energy",
        ),
        ({"loss": "weighted"}, {"energy_mask": {}}, "training_set.0.extra_data.energy_mask", "no effect"),
        (
            {"loss": "mse", "stage_two_start": 5, "stage_two_loss": {"mtt::x": "masked_mse"}},
            {},
            "architecture.training.stage_two_loss.mtt::x",
            "needs a mask",
        ),
    ],
)
def test_a_mask_and_a_masked_loss_need_each_other(training, masks, place, word) -> None:
    found = problems(training, masks)
    first = next(iter(found), "nothing was refused")
    assert first.startswith(place) and word in found[first]


@pytest.mark.parametrize(
    ("training", "masks"),
    [
        ({"loss": {"mtt::x": "masked_mse"}}, {"mtt::x_mask": {"key": "m"}}),
        ({"loss": "masked_mae"}, {"energy_mask": {}, "mtt::x_mask": {}, "energy_forces_mask": {}}),
        ({"loss": "masked_mae"}, {"energy_mask": {}, "mtt::x_mask": {}}),  # the data may hold no forces
        (loss(energy={"stress": {"type": "masked_huber", "delta": 0.1}}), {"energy_stress_mask": {}}),
        ({"stage_two_start": 5, "stage_two_loss": {"mtt::x": "masked_mse"}}, {"mtt::x_mask": {}}),
        ({"num_epochs": 0}, {"mtt::x_mask": {}}),
    ],
)
def test_together_they_are_accepted(training, masks) -> None:
    assert problems(training, masks) == {}


def test_every_training_set_with_the_target_needs_the_mask() -> None:
    training = {"loss": {"mtt::x": "masked_mse"}}
    found = problems(training, {"mtt::x_mask": {}}, {"systems": "b.xyz"})
    assert "training_set.1" in found[f"{LOSS}.mtt::x"]
    assert problems(training, {"mtt::x_mask": {}}, {"systems": "b.xyz", "extra_data": {"mtt::x_mask": {}}}) == {}
    assert problems(training, {"mtt::x_mask": {}}, {"systems": "b.xyz", "targets": {"energy": {"unit": "eV"}}}) == {}


def test_a_loss_for_everything_asks_for_masks_of_forces_once_the_data_have_them() -> None:
    options = parse_options(
        {
            "training_set": {"systems": "a.xyz", "extra_data": {"energy_mask": {}}},
            "architecture": {"training": {"loss": "masked_mse"}},
        }
    )
    assert list(options.targets(found={"energy"})) == ["energy"]
    with pytest.raises(OptionsError, match="energy_forces_mask"):
        options.targets(found={"energy", "energy.forces"})


def test_masked_huber_has_the_delta_of_huber() -> None:
    """metatrain's has none and can't be built from a name alone."""
    options = parse_options(
        {
            "training_set": {"systems": "a.xyz", "extra_data": {"energy_mask": {}}},
            "architecture": {"training": {"loss": {"energy": "masked_huber"}}},
        }
    )
    assert resolve_loss(options.architecture.training, options.targets(found={"energy"}))["energy"].delta == 1.0


@pytest.mark.parametrize("name", ["pointwise", "masked_pointwise", "gaussian_nll_ensemble", "ensemble_nll"])
@pytest.mark.parametrize("place", ["", ".energy.type", ".energy.forces.type"])
def test_losses_that_are_not_built_say_why(name, place) -> None:
    value: Any = name
    for key in reversed(place.split(".")[1:-1]):
        value = {key: value}
    found = problems({"loss": value}, {})
    assert list(found) == [LOSS + place]
    assert ("no formula" if "pointwise" in name else "ensemble of last layers") in found[LOSS + place]


def test_a_loss_for_everything_is_no_loss_of_one_term() -> None:
    assert "write `loss: universal` alone" in problems(loss(energy="universal"), {})[f"{LOSS}.energy.type"]


@pytest.mark.parametrize("value", [{"a": -1}, {"a": "nan"}, {"a": True}, {"a": None}, [1], "a"])
def test_weights_of_groups_are_numbers_from_zero_up(value) -> None:
    assert list(problems({"config_weights": value}, {})) == ["architecture.training.config_weights"]
    assert problems({"config_weights": {"a": 0, 7: "1e1"}}, {}) == {}
