"""Options of a run that starts from a foundation file: what the file decides is refused, what needs it asks for it."""

from typing import Any

import pytest

from mace_app.options import OptionsError, missing_files, parse_options, with_absolute_paths
from mace_app.options.model import FROM_FILE, ModelHypers

ENERGY = {"key": "energy", "unit": "eV"}
DIPOLE = {"key": "dipole", "unit": "e*A", "type": {"cartesian": {"rank": 1}}}
OTHER_VALUES: dict[str, Any] = {
    "r_max": 4.0,
    "num_radial_basis": 6,
    "radial_type": "gaussian",
    "num_cutoff_basis": 6,
    "apply_cutoff": False,
    "distance_transform": "Agnesi",
    "pair_repulsion": True,
    "hidden_irreps": "8x0e",
    "num_interactions": 1,
    "correlation": 2,
    "max_ell": 2,
    "edge_irreps": "8x0e",
    "interaction_first": "RealAgnosticDensity",
    "interaction": "RealAgnosticDensity",
    "avg_num_neighbors": 3.0,
    "radial_MLP": [8],
    "use_agnostic_product": True,
    "use_last_readout_only": True,
}


def problems(model: dict[str, Any], targets: Any = None, systems: Any = "a.xyz", **more: Any) -> dict[str, str]:
    architecture = {"model": model, "training": more.pop("training", {}), **more.pop("architecture", {})}
    tree = {
        "architecture": architecture,
        "training_set": {"systems": systems, "targets": targets or {"energy": ENERGY}},
        **more,
    }
    try:
        parse_options(tree)
    except OptionsError as error:
        return {".".join(problem.loc): problem.message for problem in error.problems}
    return {}


def file(**model: Any) -> dict[str, Any]:
    return {"mace_model": "some.model", **model}


def test_a_file_alone_is_enough() -> None:
    assert problems(file()) == {}


@pytest.mark.parametrize("name", [name for name in FROM_FILE if name != "use_embedding_readout"])
def test_what_the_file_decides_is_refused(name: str) -> None:
    assert problems({name: OTHER_VALUES[name]}) == {} or name in ("edge_irreps", "interaction")
    found = problems(file(**{name: OTHER_VALUES[name]}))
    assert list(found) == [f"architecture.model.{name}"]
    assert "comes from the file" in found[f"architecture.model.{name}"]


def test_every_other_hyper_is_still_of_use_with_a_file() -> None:
    rest = set(ModelHypers.model_fields) - set(FROM_FILE)
    assert rest == {
        "mace_model",
        "mace_head_name",
        "mace_head_target",
        "more_mace_heads",
        "gate",
        "MLP_irreps",
        "kernels",
    }
    targets = {"energy": ENERGY, "mtt::gap": {"key": "gap"}}
    assert problems(file(gate=None, MLP_irreps="4x0e", mace_head_name="pbe"), targets) == {}
    without_scalar_head = problems(file(gate=None))
    assert "no readout of these targets has a hidden scalar layer" in without_scalar_head["architecture.model.gate"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.pt", "no weights that can be trained"),
        ("m.ckpt", "any code"),
        ("best.safetensors", "model.model"),
        ("m.xyz", "end in `.model`"),
    ],
)
def test_other_files_are_refused_with_what_to_name_instead(name: str, words: str) -> None:
    assert words in problems({"mace_model": name})["architecture.model.mace_model"]


def test_heads_are_named_only_where_there_is_a_file() -> None:
    assert "there is none" in problems({"mace_head_name": "pbe"})["architecture.model.mace_head_name"]
    targets = {"energy": ENERGY, "energy/old": ENERGY}
    assert problems({"more_mace_heads": {"energy/old": None}}, targets) == {}
    found = problems({"more_mace_heads": {"energy/old": "pbe"}}, targets)
    assert "there is none" in found["architecture.model.more_mace_heads.energy/old"]
    assert problems(file(more_mace_heads={"energy/old": "pbe"}), targets) == {}


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ({"energy": None}, "has MACE's readouts anyway"),
        ({"energy/odl": None}, "Did you mean `energy/old`"),
        ({"mtt::dipole": None}, "give one scalar"),
    ],
)
def test_more_heads_are_energies_of_the_data(heads: dict[str, None], words: str) -> None:
    targets = {"energy": ENERGY, "energy/old": ENERGY, "mtt::dipole": DIPOLE}
    assert (
        words
        in problems({"more_mace_heads": heads}, targets)[f"architecture.model.more_mace_heads.{next(iter(heads))}"]
    )


def test_a_list_of_more_heads_is_understood() -> None:
    tree = {"training_set": {"systems": "a.xyz", "targets": {"energy": ENERGY, "energy/old": ENERGY}}}
    tree["architecture"] = {"model": {"more_mace_heads": ["energy/old"]}}
    assert parse_options(tree).architecture.model.more_mace_heads == {"energy/old": None}


def test_elements_cannot_be_chosen_with_a_file() -> None:
    found = problems(file(), architecture={"atomic_types": [1, 6, 8]})
    assert "those of the file" in found["architecture.atomic_types"]


def test_words_for_energies_of_atoms_need_a_file_and_a_target_of_it() -> None:
    for word in ("foundation", "estimated"):
        baseline = {"atomic_baseline": {"energy": word}}
        assert "give `mace_model`" in problems({}, training=baseline)["architecture.training.atomic_baseline.energy"]
        assert problems(file(), training=baseline) == {}
    targets = {"energy": ENERGY, "mtt::gap": {"key": "gap"}}
    found = problems(file(), targets, training={"atomic_baseline": {"mtt::gap": "estimated"}})
    assert "only `energy` come" in found["architecture.training.atomic_baseline.mtt::gap"]
    assert problems(file(), targets, training={"atomic_baseline": {"mtt::gap": "fit"}}) == {}


def test_total_energies_are_not_fitted_anew_beside_a_network_that_knows_its_part() -> None:
    found = problems(file(), training={"atomic_baseline": {"energy": "fit"}})
    assert "Use `estimated`" in found["architecture.training.atomic_baseline.energy"]
    for fine in ("isolated_atoms", {1: -13.6}, 0.0):
        assert problems(file(), training={"atomic_baseline": {"energy": fine}}) == {}


@pytest.mark.parametrize("given", [{"energy": 0.5}, "another-run"])
def test_the_scale_belongs_to_the_files_weights(given: Any) -> None:
    found = problems(file(), training={"fixed_scaling_weights": given})
    assert any("belongs to its weights" in message for message in found.values())
    targets = {"energy": ENERGY, "mtt::gap": {"key": "gap"}}
    assert problems(file(), targets, training={"fixed_scaling_weights": {"mtt::gap": 0.5}}) == {}


def test_a_scale_of_energies_that_nothing_has_is_refused() -> None:
    found = problems(file(), training={"energy_scale": "energy"})
    assert "that of the foundation file" in found["architecture.training.energy_scale"]


def test_energies_are_in_electronvolt_and_lengths_in_angstrom() -> None:
    found = problems(file(), {"energy": {**ENERGY, "unit": "kcal/mol"}})
    assert "gives eV, and nothing is converted" in found["training_set.0.targets.energy"]
    found = problems(file(), systems={"read_from": "a.xyz", "length_unit": "bohr"})
    assert "distances in Å only" in found["training_set.0.systems.length_unit"]
    found = problems(file(mace_head_target="mtt::gap"), {"mtt::gap": {"key": "gap", "unit": "eV"}})
    assert "energies of structures" in found["training_set.0.targets.mtt::gap"]


def test_new_heads_alone_need_no_energy_in_the_data() -> None:
    assert problems(file(), {"mtt::dipole": DIPOLE}) == {}
    assert problems(file(mace_head_target="energy/pbe"), {"mtt::dipole": DIPOLE}) == {}


def test_the_file_is_one_of_those_a_run_needs() -> None:
    options = parse_options({"training_set": "a.xyz", "architecture": {"model": {"mace_model": "some.model"}}})
    assert [problem.loc for problem in missing_files(options)] == [
        ("training_set", "0", "systems", "read_from"),
        ("architecture", "model", "mace_model"),
    ]
    absolute = with_absolute_paths(options).architecture.model.mace_model
    assert absolute is not None and absolute.startswith("/") and absolute.endswith("some.model")
