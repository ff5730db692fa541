"""The fast core gives the numbers and gradients of mace-torch's own modules, for all architectures of the options."""

from typing import Any

import numpy as np
import pytest
import torch
from graph_fixtures import CHARGE, DIPOLE, ENERGY, batch_of, collate, crystal, ethanol, single_atom, slab, small_model
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mace_app.model import Batch, MaceModel, ModelError
from mace_app.model.fast import NotCovered

EPSILON = 1e-12
RESIDUAL = ["RealAgnosticResidual", "RealAgnosticDensityResidual"]
FIRST = ["RealAgnostic", "RealAgnosticDensity", *RESIDUAL, "RealAgnosticResidualNonLinear"]
STRUCTURES = [ethanol(), crystal(), single_atom(), slab()]


@st.composite
def architectures(draw: st.DrawFn) -> dict[str, Any]:
    """Of every option of the model that the core takes part in. Higher correlation goes with lower max_ell, because
    mace-torch's tables for both high take gigabytes."""
    channels = draw(st.integers(1, 5))
    kinds = ["0e", *draw(st.lists(st.sampled_from(["1o", "1e", "2e", "0o"]), unique=True, max_size=3))]
    layers = draw(st.integers(1, 3))
    correlation = draw(st.integers(1, 4))
    highest = {1: 5, 2: 4, 3: 2, 4: 1}[correlation]
    radial = draw(st.sampled_from(["bessel", "gaussian", "chebyshev"]))
    chosen = {
        "hidden_irreps": " + ".join(f"{channels}x{kind}" for kind in kinds),
        "num_interactions": layers,
        "correlation": correlation,
        "max_ell": draw(st.integers(1, highest)),
        "interaction_first": draw(st.sampled_from(FIRST)),
        "interaction": draw(st.sampled_from([*FIRST, "RealAgnosticAttResidual"])),
        "apply_cutoff": draw(st.booleans()),
        "use_agnostic_product": draw(st.booleans()),
        "use_last_readout_only": draw(st.booleans()),
        "pair_repulsion": draw(st.booleans()),
        "radial_type": radial,
        "distance_transform": "Agnesi" if radial == "chebyshev" else draw(st.sampled_from([None, "Agnesi", "Soft"])),
        "radial_MLP": draw(st.sampled_from([[6], [5, 7], [4, 4, 4]])),
        "MLP_irreps": draw(st.sampled_from(["3x0e", "16x0e"])),
        "gate": draw(st.sampled_from(["silu", "tanh", "abs", None])),
    }
    if draw(st.booleans()):
        sent = draw(st.lists(st.sampled_from(kinds), unique=True, min_size=1))
        chosen["edge_irreps"] = " + ".join(f"{draw(st.integers(1, 4))}x{kind}" for kind in kinds if kind in sent)
    return chosen


def both(hypers: dict[str, Any], targets: Any = (ENERGY, CHARGE)) -> tuple[MaceModel, MaceModel] | None:
    """The same model on both; None where mace-torch can't build it."""
    try:
        reference = small_model(targets, kernels="reference", **hypers)
    except (ModelError, ValueError):
        return None
    fast = small_model(targets, kernels="fast", **hypers)
    fast.load_state_dict(reference.state_dict())
    return fast, reference


def numbers(model: MaceModel, batch: Batch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Predictions, and derivatives of a sum over all of them by every weight, each with a factor of its own. The sum is
    linear, so that large values, as of a pair repulsion, lose no digits in it."""
    model.zero_grad(set_to_none=True)
    predictions = model(batch, model.labels, create_graph=True)
    values = torch.cat([predictions[label].reshape(-1) for label in sorted(predictions)])
    total = (values * torch.cos(torch.arange(len(values), dtype=torch.float64)).to(values.dtype)).sum()
    total.backward()
    gradients = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in model.named_parameters()
    }
    return {label: value.detach() for label, value in predictions.items()}, gradients


def assert_equal(fast: MaceModel, reference: MaceModel, structures: Any = STRUCTURES) -> None:
    first, second = numbers(fast, batch_of(fast, *structures)), numbers(reference, batch_of(reference, *structures))
    largest = max(float(value.abs().max()) for value in second[1].values())
    for label, expected in second[0].items():
        scale = max(float(expected.abs().max()), 1e-3)
        assert float((first[0][label] - expected).abs().max()) <= EPSILON * scale, label
    for name, expected in second[1].items():
        # Derivatives that cancel to nothing are compared with the largest of all.
        scale = max(float(expected.abs().max()), 1e-3 * largest)
        assert float((first[1][name] - expected).abs().max()) <= EPSILON * scale, name


@given(hypers=architectures())
@settings(max_examples=12, derandomize=True, deadline=None, database=None)
def test_predictions_and_gradients_of_some_architectures(hypers: dict[str, Any]) -> None:
    models = both(hypers)
    assume(models is not None)
    assert models is not None
    assert_equal(*models)


@pytest.mark.slow
@given(hypers=architectures())
@settings(max_examples=30, deadline=None, database=None)
def test_predictions_and_gradients_of_many_architectures(hypers: dict[str, Any]) -> None:
    models = both(hypers)
    assume(models is not None)
    assert models is not None
    assert_equal(*models)


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("apply_cutoff", [True, False])
def test_every_first_block(first: str, apply_cutoff: bool) -> None:
    models = both({"interaction_first": first, "interaction": first, "apply_cutoff": apply_cutoff})
    assert models is not None
    assert_equal(*models)


@pytest.mark.parametrize(
    "hypers",
    [
        {"interaction": "RealAgnosticAttResidual"},
        {"correlation": 4, "max_ell": 2},
        {"correlation": 5, "max_ell": 1},
        {"max_ell": 6, "correlation": 1},
        {"hidden_irreps": "4x0e + 4x1o + 4x2e", "max_ell": 3, "correlation": 3},
        {"edge_irreps": "3x0e + 2x1o", "pair_repulsion": True, "distance_transform": "Soft"},
    ],
    ids=str,
)
def test_what_a_random_choice_seldom_meets(hypers: dict[str, Any]) -> None:
    models = both(hypers, (ENERGY, DIPOLE))
    assert models is not None
    assert_equal(*models)


def test_several_heads_of_maces_own() -> None:
    other = ENERGY.__class__("energy/two", quantity="energy", unit="eV", has_forces=True, has_stress=False)
    models = both({"more_mace_heads": {"energy/two": None}}, (ENERGY, other))
    assert models is not None
    assert_equal(*models)


def test_in_single_precision_they_differ_by_its_rounding() -> None:
    reference = small_model(dtype=torch.float32, kernels="reference", correlation=3, max_ell=3)
    fast = small_model(dtype=torch.float32, kernels="fast", correlation=3, max_ell=3)
    fast.load_state_dict(reference.state_dict())
    first, second = (numbers(model, batch_of(model, *STRUCTURES)) for model in (fast, reference))
    for label, expected in second[0].items():
        assert float((first[0][label] - expected).abs().max()) <= 1e-5 * max(1e-2, float(expected.abs().max())), label


def test_atoms_of_very_different_surroundings_stand_in_groups() -> None:
    """A dense crystal, a molecule and a lone atom in one batch: rows of one width would be mostly empty."""
    models = both({"r_max": 4.5})
    assert models is not None
    batch = batch_of(models[0], *STRUCTURES)
    assert len(batch.arrangement.groups) > 1
    slots = sum(n * width for n, width in zip(batch.arrangement.groups, batch.arrangement.widths, strict=True))
    assert slots < 1.2 * 2 * len(batch.vectors)
    assert_equal(*models)


@pytest.mark.parametrize("structures", [[single_atom()], [single_atom(), single_atom()]], ids=["one", "two"])
def test_without_any_neighbour(structures: list[Any]) -> None:
    models = both({})
    assert models is not None
    assert_equal(*models, structures)


def test_an_arrangement_holds_every_directed_edge_once() -> None:
    batch = batch_of(small_model([ENERGY]), *STRUCTURES)
    found = batch.arrangement
    arrays = collate(STRUCTURES, 3.5)
    assert batch.mirrored and 2 * len(batch.vectors) == len(arrays["senders"]) == len(found.senders)
    taken = found.slot_edges[found.slot_edges < len(found.senders)]
    assert sorted(taken.tolist()) == list(range(len(found.senders)))
    row = 0
    rows = found.rows if len(found.rows) else torch.arange(len(batch.numbers))
    places = torch.argsort(rows)
    begin = 0
    for atoms, width in zip(found.groups, found.widths, strict=True):
        for place in places[row : row + atoms]:
            edges = found.slot_edges[begin : begin + width]
            edges = edges[edges < len(found.senders)]
            assert (found.receivers[edges] == place).all()
            assert len(edges) == int((found.receivers == place).sum())
            begin += width
        row += atoms


def test_edges_without_their_reverse_are_computed_one_by_one() -> None:
    """As of an asymmetric neighbour list: nothing is assumed about it."""
    models = both({})
    assert models is not None
    fast, reference = models
    arrays = collate([crystal(), ethanol()], 3.5)
    kept = np.arange(len(arrays["senders"])) != 3
    arrays |= {name: arrays[name][kept] for name in ("senders", "receivers", "shifts", "edge_structure")}
    batches = [Batch.from_arrays(arrays, fast.config.atomic_types) for _ in range(2)]
    assert not batches[0].mirrored and len(batches[0].vectors) == kept.sum()
    first, second = numbers(fast, batches[0]), numbers(reference, batches[1])
    for label, expected in second[0].items():
        torch.testing.assert_close(first[0][label], expected, rtol=0, atol=1e-12)


def test_new_weights_and_tables_take_effect_at_once() -> None:
    """The core has no state of its own: a loaded checkpoint, a step or a cast is seen in the next prediction."""
    fast, other = small_model([ENERGY], kernels="fast"), small_model([ENERGY], kernels="reference", seed=5)
    batch = batch_of(fast, *STRUCTURES)
    before = fast(batch, {"energy"})["energy"]
    fast.load_state_dict(other.state_dict())
    expected = other(batch, {"energy"})["energy"]
    after = fast(batch, {"energy"})["energy"]
    assert not torch.allclose(before, expected)
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=0)
    with torch.no_grad():
        for model in (fast, other):
            for table in model.backbone.buffers():
                if table.dim() > 2:
                    table.mul_(0.5)
    fast.load_state_dict(other.state_dict())
    torch.testing.assert_close(
        fast(batch, {"energy"})["energy"], other(batch, {"energy"})["energy"], rtol=1e-12, atol=0
    )
    assert not torch.allclose(other(batch, {"energy"})["energy"], expected)


def test_no_weight_of_the_core_is_in_the_state_of_the_model() -> None:
    fast, reference = small_model(kernels="fast"), small_model(kernels="reference")
    fast(batch_of(fast, ethanol()), {"energy"})
    assert list(fast.state_dict()) == list(reference.state_dict())
    assert [name for name, _ in fast.named_parameters()] == [name for name, _ in reference.named_parameters()]


def test_what_computes_the_layers_is_said() -> None:
    assert small_model(kernels="auto").backbone.kernels().name == "fast"
    kernels = small_model(kernels="reference").backbone.kernels()
    assert kernels.name == "reference" and "asks for" in kernels.reason


def test_a_block_it_does_not_know_is_left_to_mace_torch_with_the_reason() -> None:
    def strange(kernels: str) -> MaceModel:
        model = small_model([ENERGY], kernels=kernels)
        block = model.backbone.interactions[1]
        block.__class__ = type("StrangeBlock", (type(block),), {})
        return model

    automatic, reference = strange("auto"), small_model([ENERGY], kernels="reference")
    kernels = automatic.backbone.kernels()
    assert kernels.name == "reference" and "StrangeBlock" in kernels.reason
    batch = batch_of(reference, *STRUCTURES)
    assert torch.equal(automatic(batch, {"energy"})["energy"], reference(batch, {"energy"})["energy"])
    with pytest.raises(ModelError, match="StrangeBlock"):
        strange("fast")(batch, {"energy"})
    assert issubclass(NotCovered, Exception)
