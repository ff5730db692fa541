"""Names, types and derivatives of targets, and what the loss makes of them."""

from typing import Any

import pytest

from mace_app.options import (
    Irrep,
    LossTerm,
    OptionsError,
    RunOptions,
    TargetInfo,
    TargetOptions,
    name_problem,
    parse_options,
    resolve_loss,
)

VECTOR = {"cartesian": {"rank": 1}}


def run(targets: dict[str, Any] | None = None, **more: Any) -> RunOptions:
    return parse_options({"training_set": {"systems": "a.xyz", "targets": targets or {"energy": {}}}} | more)


def problems(targets: dict[str, Any], **more: Any) -> dict[str, str]:
    with pytest.raises(OptionsError) as caught:
        run(targets, **more)
    return {".".join(problem.loc): problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    "name", ["energy", "energy/pbe", "energy/r2SCAN-D3", "charge", "non_conservative_force", "mtt::dipole", "mtt::U0.1"]
)
def test_standard_names_variants_and_names_with_prefix_are_fine(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("dipole", "`mtt::dipole`"),
        ("enrgy", "did you mean `energy`"),
        ("force", "`non_conservative_force`"),
        ("forces", "write `forces:` inside the energy"),
        ("stress", "`non_conservative_stress`"),
        ("virial", "write `virial:` inside the energy"),
        ("forces/pbe", "`non_conservative_force`"),
        ("my::dipole", "`mtt::dipole`"),
        ("mtt::", "after `mtt::`"),
        ("mtt::two words", "after `mtt::`"),
        ("mtt::aux::x", "reserved"),
        ("mtt::x.forces", "derivative"),
        ("energy/", "variant"),
        ("feature", "can't be trained"),
    ],
)
def test_a_wrong_name_gets_advice(name: str, advice: str) -> None:
    assert advice in (name_problem(name) or "")


def test_plural_names_of_old_files_become_todays_names() -> None:
    options = run({"energy": {}, "charges": {"per_atom": True}})
    assert set(options.targets()) == {"energy", "charge"}
    assert options.training_set[0].targets["charge"].key == "charge"
    assert "old name" in next(iter(problems({"charge": {"per_atom": True}, "charges": {"per_atom": True}}).values()))


def test_x_and_mtt_x_cannot_both_be_targets() -> None:
    assert "training_set.0.targets.energy" in problems({"energy": {}, "mtt::energy": {}})


def test_forces_are_used_if_found_only_for_the_name_or_the_explicit_quantity_energy() -> None:
    targets = run({"energy": {}, "energy/pbe": {}, "mtt::e": {"quantity": "energy"}, "mtt::gap": {}}).targets()
    assert [target.has_forces for target in targets.values()] == [None, False, None, False]
    assert [target.is_energy for target in targets.values()] == [True, True, True, False]
    assert all(target.quantity == "energy" for target in targets.values() if target.is_energy)


@pytest.mark.parametrize(
    ("written", "key", "read_from"),
    [
        (True, "forces", None),
        ("REF_forces", "REF_forces", None),
        ({"key": "F"}, "F", None),
        ({}, "forces", None),
        ("a.xyz", "forces", None),
        ("b.xyz", "forces", "b.xyz"),
        ({"read_from": "a.xyz", "key": "F", "reader": "ase"}, "F", None),
        ({"read_from": "b.xyz", "key": "F", "reader": "ase"}, "F", "b.xyz"),
    ],
)
def test_forces_given_in_any_way_are_required(written: Any, key: str, read_from: str | None) -> None:
    options = run({"energy": {"forces": written}})
    gradient = options.training_set[0].targets["energy"].forces
    assert (gradient.key, gradient.read_from) == (key, read_from)
    assert options.targets()["energy"].has_forces is True


def test_forces_off_stay_off_whatever_the_data_hold() -> None:
    options = run({"energy": {"forces": False}})
    assert options.targets(found={"energy", "energy.forces", "energy.stress"})["energy"].labels() == [
        "energy",
        "energy.stress",
    ]


def test_what_is_used_if_found_is_decided_by_the_data() -> None:
    options = run()
    assert options.targets()["energy"].labels() == ["energy"]
    assert options.targets()["energy"].possible_labels() == ["energy", "energy.forces", "energy.stress"]
    assert options.targets(found={"energy", "energy.forces"})["energy"].labels() == ["energy", "energy.forces"]


def test_a_virial_replaces_the_stress_and_both_at_once_are_refused() -> None:
    energy = run({"energy": {"virial": "REF_virial"}}).targets()["energy"]
    assert energy.has_stress is True and energy.stress_from_virial
    place = "training_set.0.targets.energy.virial"
    assert place in problems({"energy": {"virial": True, "stress": True}})


def test_labels_may_stand_in_files_of_their_own_and_derivatives_follow_their_energy() -> None:
    targets = {
        "energy": {"read_from": "b.xyz", "forces": "c.xyz", "stress": "b.xyz"},
        "charge": {"sample_kind": "atom"},
    }
    dataset = run(targets).training_set[0]
    assert dataset.label_files() == {("energy", ""): "b.xyz", ("energy", "forces"): "c.xyz"}
    assert dataset.targets["energy"].stress.read_from is None


@pytest.mark.parametrize(
    ("name", "target", "word"),
    [
        ("energy", {"per_atom": True}, "sample_kind: system"),
        ("energy", {"num_subtargets": 3}, "one number"),
        ("mtt::e", {"quantity": "energy", "type": VECTOR}, "one number"),
        ("charge", {}, "sample_kind: atom"),
        ("non_conservative_force", {"sample_kind": "atom"}, "one vector"),
        ("mtt::dipole", {"forces": True}, "no energy"),
        ("mtt::alpha", {"type": {"cartesian": {"rank": 3}}}, "at most 2"),
        ("mtt::mu", {"type": {"cartesian": {"rank": 1, "symmetric": True}}}, "rank 2"),
        ("mtt::q", {"type": {"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1}] * 2}}}, "`num`"),
        ("mtt::q", {"type": {"spherical": {"irreps": []}}}, "empty"),
        ("mtt::q", {"sample_kind": "atom", "aggregate": "mean"}, "no effect"),
        ("energy", {"aggregate": "mean"}, "sum over atoms"),
        ("non_conservative_stress", {"type": VECTOR}, "one 3×3 tensor"),
        ("mtt::q", {"type": "vector"}, "`{cartesian: {rank: 1}}`"),
        ("mtt::q", {"type": {"cartesian": {"rnak": 1}}}, "`rank`"),
        ("mtt::q", {"sample_kind": "atom_pair"}, "not possible"),
        ("mtt::q", {"sample_kind": "system", "per_atom": True}, "contradict"),
        ("mtt::q", {"reader": "metatensor"}, "not built yet"),
        ("mtt::q", {"unts": "eV"}, "Did you mean `unit`"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(name: str, target: dict[str, Any], word: str) -> None:
    found = problems({name: target})
    assert any(word in message for message in found.values()), found
    assert all(place.startswith(f"training_set.0.targets.{name}") for place in found)


def test_shapes_and_irreps_follow_the_type() -> None:
    dipole = TargetInfo("mtt::dipole", type=VECTOR, num_subtargets=2)
    assert (dipole.kind, dipole.rank, dipole.components, dipole.irreps) == ("cartesian", 1, (3,), [Irrep(2, 1, -1)])
    tensor = TargetInfo("mtt::alpha", type={"cartesian": {"rank": 2}})
    assert tensor.shape == (3, 3, 1)
    kinds = {s: [i.kind for i in tensor.resolve(False, False, symmetric=s).irreps] for s in (None, True, False)}
    assert kinds == {None: ["0e", "2e"], True: ["0e", "2e"], False: ["0e", "1e", "2e"]}
    assert tensor.resolve(False, False, symmetric=True).resolve(False, False, symmetric=False).symmetric
    pseudo = TargetInfo("mtt::q", type={"spherical": {"irreps": [{"o3_lambda": 1, "o3_sigma": -1, "num": 3}]}})
    assert pseudo.irreps == [Irrep(3, 1, 1)] and pseudo.components == (3,) and pseudo.shape == (3, 3)
    irreps = [{"o3_lambda": 0, "o3_sigma": 1}, {"o3_lambda": 2, "o3_sigma": -1, "num": 2}]
    several = TargetInfo("mtt::q", type={"spherical": {"irreps": irreps}}, num_subtargets=3)
    assert several.irreps == [Irrep(3, 0, 1), Irrep(6, 2, -1)] and several.shape == (33,)
    blocks = [(b.o3_lambda, b.o3_sigma, b.components, b.properties, b.start, b.stop) for b in several.blocks]
    assert blocks == [(0, 1, (1,), 3, 0, 3), (2, -1, (5,), 6, 3, 33)]
    assert TargetInfo.from_json(dipole.to_json()) == dipole


def test_a_vector_needs_vector_features_and_the_message_names_irreps_that_would_do() -> None:
    targets = {"energy": {}, "mtt::dipole": {"type": VECTOR}}

    def model(**hypers: Any) -> dict[str, Any]:
        return {"architecture": {"model": hypers}}

    found = problems(targets, **model(hidden_irreps="16x0e + 16x2e"))
    assert "`hidden_irreps: 16x0e + 16x1o + 16x2e`" in found["architecture.model.hidden_irreps"]
    found = problems(targets, **model(num_interactions=1, hidden_irreps="16x0e + 16x1o"))
    assert "`num_interactions: 2`" in found["architecture.model.num_interactions"]
    assert run(targets, **model(hidden_irreps="16x0e + 16x1o")).targets()["mtt::dipole"].irreps == [Irrep(1, 1, -1)]


def test_a_tensor_needs_features_of_its_irreps_and_a_general_one_more() -> None:
    model = {"architecture": {"model": {"hidden_irreps": "16x0e + 16x1o + 16x2e", "correlation": 2}}}

    def alpha(**kind: Any) -> dict[str, Any]:
        return {"mtt::alpha": {"type": {"cartesian": {"rank": 2, **kind}}}}

    assert run(alpha(), **model).targets()["mtt::alpha"].symmetric is None
    assert run(alpha(symmetric=True), **model).targets()["mtt::alpha"].symmetric
    with pytest.raises(OptionsError, match="1e"):
        run(alpha(), **model).targets(found=set(), symmetric={"mtt::alpha": False})
    general = problems(alpha(symmetric=False), **model)["architecture.model.hidden_irreps"]
    assert "16x0e + 16x1o + 16x1e + 16x2e" in general
    assert "raise `max_ell` or `correlation`" in general
    assert "`symmetric: true`" in general


def test_one_advice_serves_all_targets_that_miss_irreps() -> None:
    targets = {"mtt::mu": {"type": VECTOR}, "mtt::alpha": {"type": {"cartesian": {"rank": 2}}}}
    model = {"architecture": {"model": {"hidden_irreps": "8x0e"}}}
    with pytest.raises(OptionsError) as caught:
        run(targets, **model)
    advice = [problem.message for problem in caught.value.problems]
    assert len(advice) == 2
    assert all("`hidden_irreps: 8x0e + 8x1o + 8x2e`" in text for text in advice)


def test_maces_own_readout_is_for_one_scalar_only() -> None:
    targets = {"mtt::dipole": {"type": VECTOR}}
    found = problems(targets, architecture={"model": {"mace_head_target": "mtt::dipole"}})
    assert list(found) == ["architecture.model.mace_head_target"]
    found = problems(targets, architecture={"model": {"pair_repulsion": True, "gate": "tanh"}})
    assert set(found) == {"architecture.model.pair_repulsion", "architecture.model.gate"}


def loss_of(loss: Any, found: set[str], targets: dict[str, Any] | None = None) -> dict[str, LossTerm]:
    options = run(targets, architecture={"training": {"loss": loss}})
    return resolve_loss(options.architecture.training, options.targets(found=found))


def test_one_loss_type_holds_for_every_label() -> None:
    terms = loss_of("mae", {"energy.forces"})
    assert terms == {"energy": LossTerm("mae"), "energy.forces": LossTerm("mae")}


def test_terms_not_mentioned_are_mse_with_weight_one() -> None:
    targets = {"energy": {}, "mtt::dipole": {"type": VECTOR}}
    loss = {"energy": {"type": "huber", "weight": "1e-1", "gradients": {"positions": {"weight": 10}}}}
    terms = loss_of(loss, {"energy.forces", "energy.stress"}, targets)
    assert terms == {
        "energy": LossTerm("huber", 0.1, "mean", 1.0),
        "energy.forces": LossTerm("mse", 10.0),
        "energy.stress": LossTerm("mse", 1.0),
        "mtt::dipole": LossTerm("mse", 1.0),
    }


def test_a_virial_in_the_loss_is_the_stress_term() -> None:
    terms = loss_of({"energy": {"virial": {"type": "huber", "delta": 0.01}}}, {"energy.stress"})
    assert terms["energy.stress"] == LossTerm("huber", 1.0, "mean", 0.01)


@pytest.mark.parametrize(
    ("targets", "loss", "place"),
    [
        ({"energy": {}}, {"enrgy": "mse"}, "enrgy"),
        ({"energy": {"forces": False}}, {"energy": {"forces": "mse"}}, "energy.forces"),
        ({"mtt::gap": {}}, {"mtt::gap": {"forces": "mse"}}, "mtt::gap.forces"),
        ({"energy": {}}, {"energy": {"stress": "mse", "virial": "mse"}}, "energy.virial"),
        ({"energy": {}}, {"energy": {"reduction": "none"}}, "energy.reduction"),
        ({"energy": {}}, {"energy": {"weight": -1}}, "energy.weight"),
        ({"energy": {}}, {"energy": {"forces": "hubr"}}, "energy.forces.type"),
    ],
)
def test_a_loss_for_what_is_not_there_is_refused(targets: dict, loss: dict, place: str) -> None:
    assert list(problems(targets, architecture={"training": {"loss": loss}})) == [f"architecture.training.loss.{place}"]


def test_a_loss_for_forces_the_data_turn_out_not_to_hold_is_refused_then() -> None:
    options = run(architecture={"training": {"loss": {"energy": {"forces": {"weight": 10}}}}})
    with pytest.raises(OptionsError, match=r"architecture\.training\.loss\.energy\.forces: .*without forces"):
        options.targets(found={"energy"})
    forces_scale = run(architecture={"training": {"energy_scale": "forces"}})
    with pytest.raises(OptionsError, match="needs forces"):
        forces_scale.targets(found={"energy"})


def test_a_target_by_itself_can_be_checked_for_the_form() -> None:
    assert TargetOptions(per_atom=True).sample_kind == "atom"
