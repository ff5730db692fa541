"""metatrain's options files are read as they are, also those that it writes itself with every default filled in."""

import copy
from typing import Any

import pytest

from mace_app.options import GradientOptions, OptionsError, dump_options, parse_options, parse_yaml, resolve_loss
from mace_app.options.loggers import WandbOptions

# What metatrain 2026.4.1 wrote as options_restart.yaml, without the hyperparameters that are at our defaults too.
RESTART = """
device: cpu
base_precision: 64
seed: 1
final_eval: true
print_stats: auto
test_set: 0.0
architecture:
  name: experimental.mace
  model: {mace_model: null, mace_head_name: null, mace_head_target: energy, r_max: 3.0, hidden_irreps: 2x0e + 2x1o,
    edge_irreps: null, avg_num_neighbors: 1, distance_transform: null, gate: silu, use_embedding_readout: false}
  training:
    distributed_port: 39591
    num_workers: null
    atomic_baseline: {}
    fixed_scaling_weights: {}
    grad_clip_norm: 1.0
    loss:
      energy:
        type: mse
        weight: 1.0
        reduction: mean
        gradients:
          positions: {type: mse, weight: 10, reduction: mean}
          strain: {type: mse, weight: 1.0, reduction: mean}
      mtt::dipole: {type: huber, weight: 2.0, reduction: mean, gradients: {}, delta: 0.1}
      charge: {type: mse, weight: 1.0, reduction: mean, gradients: {}}
      mtt::gap: {type: mse, weight: 1.0, reduction: mean, gradients: {}}
    max_atoms_per_batch: null
    min_atoms_per_batch: 0
training_set:
- systems: {read_from: small.xyz, reader: null, length_unit: angstrom}
  targets:
    energy:
      quantity: energy
      read_from: small.xyz
      reader: null
      key: REF_energy
      unit: eV
      sample_kind: system
      type: scalar
      num_subtargets: 1
      description: ''
      forces: {read_from: small.xyz, reader: null, key: REF_forces}
      stress: {read_from: small.xyz, reader: null, key: stress}
      virial: false
    mtt::dipole: &rest
      quantity: energy
      read_from: small.xyz
      reader: null
      key: REF_dipole
      unit: e*A
      sample_kind: system
      type: {cartesian: {rank: 1}}
      num_subtargets: 1
      description: ''
      forces: false
      stress: false
      virial: false
    charge: {<<: *rest, key: REF_charges, sample_kind: atom, type: scalar}
    mtt::gap: {<<: *rest, key: gap, type: scalar}
validation_set: 0.2
"""


def restart(**training: Any) -> dict[str, Any]:
    tree = parse_yaml(RESTART)
    tree["architecture"]["training"] |= training
    return tree


def test_a_file_that_metatrain_wrote_itself_means_what_it_means_there() -> None:
    options = parse_options(restart())
    targets = options.targets(found={"energy", "energy.forces", "mtt::dipole", "charge", "mtt::gap"})
    assert {name: target.labels() for name, target in targets.items()} == {
        "energy": ["energy", "energy.forces"],
        "mtt::dipole": ["mtt::dipole"],
        "charge": ["charge"],
        "mtt::gap": ["mtt::gap"],
    }
    assert [target.is_energy for target in targets.values()] == [True, False, False, False]
    energy = options.training_set[0].targets["energy"]
    assert energy.forces == GradientOptions(key="REF_forces") and energy.stress is None
    loss = resolve_loss(options.architecture.training, targets)
    assert loss["energy.forces"].weight == 10 and loss["mtt::dipole"].delta == 0.1
    assert parse_options(parse_yaml(dump_options(options))) == options


def test_a_stress_that_is_there_after_all_is_learnt() -> None:
    options = parse_options(restart())
    targets = options.targets(found={"energy", "energy.forces", "energy.stress", "mtt::dipole", "charge", "mtt::gap"})
    assert resolve_loss(options.architecture.training, targets)["energy.stress"].weight == 1


def test_one_type_of_loss_for_everything_is_recognised_when_it_is_filled_in() -> None:
    part = {"type": "huber", "weight": 1.0, "reduction": "mean", "delta": 1.0}
    loss = {name: part | {"gradients": {}} for name in ("mtt::dipole", "charge", "mtt::gap")}
    loss["energy"] = part | {"gradients": {"positions": part, "strain": part}}
    assert parse_options(restart(loss=loss)).architecture.training.loss == "huber"
    short = {"energy": "huber"}
    assert parse_options(restart(loss=short)).architecture.training.loss["energy"].forces is None, "mse, as there"


def test_a_term_with_an_opinion_about_an_absent_stress_is_refused() -> None:
    tree = restart()
    tree["architecture"]["training"]["loss"]["energy"]["gradients"]["strain"]["weight"] = 5
    options = parse_options(tree)
    with pytest.raises(OptionsError, match=r"loss\.energy\.stress"):
        options.targets(found={"energy", "energy.forces", "mtt::dipole", "charge", "mtt::gap"})


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"max_atoms_per_batch": 60, "min_atoms_per_batch": 0}, {"batch_atom_bounds": [None, 60]}),
        ({"max_atoms_per_batch": 60, "min_atoms_per_batch": 20}, {"batch_atom_bounds": [20, 60]}),
        ({"max_atoms_per_batch": None}, {"batch_atom_bounds": [None, None]}),
        ({"finetune": {}}, {}),
        ({"finetune": None}, {}),
        ({"finetune": {"read_from": None, "method": "full"}}, {}),
        ({"grad_clip_norm": float("inf")}, {"grad_clip_norm": None}),
        ({"distributed": False}, {"distributed": False}),
        ({"distributed": True, "distributed_port": 40000}, {"distributed": True, "distributed_port": 40000}),
        ({"loss": {"energy": {"type": "mse", "sliding_factor": None}}}, {}),
    ],
)
def test_what_only_metatrain_writes_is_translated(training: dict[str, Any], expected: dict[str, Any]) -> None:
    found = parse_options(restart(**training)).architecture.training
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("finetune", {"read_from": "model.ckpt", "method": "full"}, "mace_model"),
        ("loss", {"energy": {"type": "mse", "sliding_factor": 0.9}}, "adaptive weighting"),
        ("loss", {"energy": {"type": "gaussian_nll_ensemble"}}, "ensemble"),
    ],
)
def test_what_is_not_built_is_refused_with_its_reason(place: str, value: Any, reason: str) -> None:
    with pytest.raises(OptionsError, match=rf"architecture\.training\.{place}.*{reason}"):
        parse_options(restart(**{place: value}))


def test_weights_and_biases_are_written_offline_or_refused() -> None:
    given = {"project": "x", "tags": ["a"]}
    assert parse_options({**restart(), "wandb": {**given, "mode": "offline"}}).wandb == WandbOptions(**given)
    assert parse_options({**restart(), "wandb": {}}).wandb is None
    for wandb, words in (
        ({**given, "mode": "online"}, "wandb sync"),
        ({"tags": ["a"]}, "project"),
        ({"project": "a/b"}, "name"),
    ):
        with pytest.raises(OptionsError, match=words):
            parse_options({**restart(), "wandb": wandb})


def test_a_divisor_of_one_is_no_opinion_about_blocks_that_divide_by_a_density() -> None:
    tree = restart()
    tree["architecture"]["model"] |= dict.fromkeys(("interaction", "interaction_first"), "RealAgnosticDensity")
    assert parse_options(tree).architecture.model.avg_num_neighbors == "auto"
    tree["architecture"]["model"]["avg_num_neighbors"] = 7
    with pytest.raises(OptionsError, match="learned density"):
        parse_options(tree)


def test_the_mapping_that_is_read_is_left_as_it_was() -> None:
    tree = restart()
    before = copy.deepcopy(tree)
    parse_options(tree)
    assert tree == before


def test_quantities_that_a_person_wrote_are_taken_at_their_word() -> None:
    targets = {"mtt::mu": {"quantity": "energy", "type": {"cartesian": {"rank": 1}}}}
    with pytest.raises(OptionsError, match="one number"):
        parse_options({"training_set": {"systems": "a.xyz", "targets": targets}})
