"""Every hyperparameter of the model changes the model, or is refused with its reason."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hyper_runs import ENERGY, TINY, VECTOR, Laboratory, Network

from mace_app.options import ModelHypers, OptionsError, option_fields

TARGETS = {**ENERGY, "mtt::dipole": {"key": "dipole", "type": VECTOR}}
BLOCK = "InteractionBlock"


@dataclass(frozen=True)
class Case:
    """A value to compare with the tiny model's, or a part of the reason for which it is refused."""

    value: Any
    refused: str = ""
    targets: Any = None


CASES: dict[str, Case] = {
    "mace_model": Case("mp.model", refused="the architecture comes from the file"),  # tests/tasks/test_fine_tuning.py
    "mace_head_name": Case("pbe", refused="foundation file"),
    "mace_head_target": Case("energy/two", targets={**ENERGY, "energy/two": {"key": "gap", "unit": "eV"}}),
    "more_mace_heads": Case({"energy/two": None}, targets={**ENERGY, "energy/two": {"key": "gap", "unit": "eV"}}),
    "r_max": Case(2.5),
    "num_radial_basis": Case(5),
    "radial_type": Case("gaussian"),
    "num_cutoff_basis": Case(6),
    "max_ell": Case(2),
    "interaction": Case("RealAgnosticDensity"),
    "interaction_first": Case("RealAgnosticDensity"),
    "num_interactions": Case(1, targets={**ENERGY, "mtt::gap": {"key": "gap"}}),
    "hidden_irreps": Case("3x0e + 3x1o"),
    "edge_irreps": Case("1x0e + 1x1o"),
    "apply_cutoff": Case(False),
    "avg_num_neighbors": Case(1.0),
    "pair_repulsion": Case(True),
    "distance_transform": Case("Agnesi"),
    "correlation": Case(2),
    "gate": Case(None),
    "MLP_irreps": Case("3x0e"),
    "radial_MLP": Case([4, 4]),
    "use_embedding_readout": Case(True, refused="charge and spin"),
    "use_last_readout_only": Case(True),
    "use_agnostic_product": Case(True),
    "kernels": Case("reference"),  # changes no number: tests/model/test_fast_core.py and test_cueq.py
}
FIELDS = {item.name: item for item in option_fields(ModelHypers)}
CHOICES = [
    (name, value)
    for name, item in FIELDS.items()
    for value in item.choices + ((None,) if item.optional else ())
    if name != "kernels"
]


def network(laboratory: Laboratory, targets: Any, **model: Any) -> Network:
    return laboratory.network({"architecture": {"model": model}}, targets or TARGETS)


def must_differ(base: Network, changed: Network) -> None:
    """In the weights it has, or at equal weights in what it predicts; and it can be trained."""
    assert changed.backward()
    first, second = base.shapes, changed.shapes
    if first != second:
        return
    before = base.predictions(base.weights)
    after = changed.predictions(base.weights)
    assert np.isfinite(after).any()
    same = before.shape == after.shape and np.allclose(before, after, rtol=1e-6, atol=1e-9, equal_nan=True)
    assert not same, "neither the weights nor the predictions at equal weights changed"


def test_every_hyper_has_its_case() -> None:
    assert set(CASES) == set(ModelHypers.model_fields)


@pytest.mark.parametrize("name", [name for name in CASES if name != "kernels"])
def test_a_model_hyper_changes_the_model_or_is_refused(laboratory: Laboratory, name: str) -> None:
    case = CASES[name]
    if case.refused:
        with pytest.raises(OptionsError, match=case.refused) as caught:
            laboratory.options({"architecture": {"model": {name: case.value}}})
        places = {problem.loc[-1] for problem in caught.value.problems}
        assert places == (set(TINY) - {"MLP_irreps"} if name == "mace_model" else {name})
        return
    must_differ(network(laboratory, case.targets), network(laboratory, case.targets, **{name: case.value}))


# Some choices make sense only beside another option.
COMPANY = {("radial_type", "chebyshev"): {"distance_transform": "Agnesi"}}


@pytest.mark.parametrize(("name", "value"), CHOICES, ids=[f"{name}-{value}" for name, value in CHOICES])
def test_every_choice_can_be_trained_and_differs_from_the_default(
    laboratory: Laboratory, name: str, value: Any
) -> None:
    default = TINY.get(name, FIELDS[name].default)
    if value == default:
        assert network(laboratory, None).backward()
    else:
        beside = COMPANY.get((name, value), {})
        must_differ(network(laboratory, None, **beside), network(laboratory, None, **beside, **{name: value}))
