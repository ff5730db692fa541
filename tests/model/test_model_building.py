import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from graph_fixtures import CHARGE, DIPOLE, ENERGY, batch_of, ethanol, predict, single_atom, small_model

from mace_app.model import MaceModel, ModelConfig, ModelError, parameter_groups
from mace_app.options import ModelHypers, TargetInfo

ROOT = Path(__file__).parents[2]


def test_a_model_is_built_again_from_json_and_weights() -> None:
    model = small_model([ENERGY, DIPOLE, TargetInfo("mtt::a.b/c", num_subtargets=2)])
    description = json.loads(json.dumps(model.to_json(), allow_nan=False))
    other = MaceModel.from_json(description)
    assert other.config == model.config
    other.load_state_dict(model.state_dict())
    for label, value in predict(model, ethanol()).items():
        np.testing.assert_array_equal(predict(other, ethanol())[label], value)


def test_a_copy_is_equal_independent_and_leaves_the_random_state_alone() -> None:
    model = small_model()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    other = model.copy()
    assert torch.rand(1) == expected
    before = predict(model, ethanol())
    np.testing.assert_array_equal(predict(other, ethanol())["energy"], before["energy"])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    np.testing.assert_array_equal(predict(model, ethanol())["energy"], before["energy"])


def test_the_default_dtype_is_left_alone() -> None:
    before = torch.get_default_dtype()
    model = small_model(dtype=torch.float64)
    assert torch.get_default_dtype() == before
    floating = {p.dtype for p in [*model.parameters(), *model.buffers()] if p.is_floating_point()}
    # mace-torch's ZBL and scatter code aside, everything is in the dtype asked for.
    assert floating == {torch.float64}


def test_importing_the_model_leaves_torch_load_safe_and_prints_nothing() -> None:
    code = "import mace_app.model, os; assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ"
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_parameter_is_in_exactly_one_group_and_only_those_of_mace_decay() -> None:
    model = small_model([ENERGY, DIPOLE, CHARGE])
    groups = parameter_groups(model, 5e-7)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = [names[id(p)] for group in groups if group["weight_decay"] > 0 for p in group["params"]]
    wanted = [
        name
        for name in names.values()
        if name.startswith("backbone.products.") or re.fullmatch(r"backbone\.interactions\.\d\.linear\.weight", name)
    ]
    assert sorted(decaying) == sorted(wanted)


def test_every_weight_learns_from_energy_forces_and_an_added_head() -> None:
    model = small_model([ENERGY, DIPOLE, CHARGE])
    predictions = model(batch_of(model, ethanol()), model.labels - {"energy.stress"}, create_graph=True)
    sum(value.square().sum() for value in predictions.values()).backward()
    silent = [n for n, p in model.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())]
    assert silent == []


def test_without_an_internal_energy_there_are_no_weights_that_nothing_trains() -> None:
    model = small_model([CHARGE, DIPOLE])
    assert len(model.backbone.readouts) == 0
    assert set(predict(model, ethanol())) == {"charge", "mtt::dipole"}


def test_added_scalar_heads_have_one_hidden_block_for_each_layer() -> None:
    head = small_model([CHARGE], MLP_irreps="16x0e").head("charge")
    assert str(head.linear_1.irreps_out) == "16x0e+16x0e"
    vector = small_model([DIPOLE]).head("mtt::dipole")
    assert str(vector.linear_1.irreps_out) == "4x1o"  # the last layer has no vectors


@pytest.mark.parametrize(
    ("target", "hypers", "message"),
    [
        (DIPOLE, {"hidden_irreps": "4x0e"}, "needs features of kind `1o`, .* only has `0e`; .*: 4x0e \\+ 4x1o`\\."),
        (DIPOLE, {"num_interactions": 1}, "set `hidden_irreps: 4x0e \\+ 4x1o` and `num_interactions: 2`"),
        (
            TargetInfo("mtt::t", type={"cartesian": {"rank": 2, "symmetric": False}}),
            {},
            "needs features of kind `1e`, `2e`, .*: 4x0e \\+ 4x1o \\+ 4x1e \\+ 4x2e`",
        ),
    ],
)
def test_a_target_the_features_cannot_give_is_refused(target: TargetInfo, hypers: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small_model([target], **hypers)


def test_an_unknown_element_is_named() -> None:
    model = small_model()
    with pytest.raises(ModelError, match=r"Atom 1 of this batch is of element 7.* its elements are 1, 6, 8"):
        batch_of(model, Atoms("HN", positions=[[0, 0, 0], [0, 0, 1]]))


def test_no_neighbours_at_all_is_refused_where_messages_are_divided_by_their_number() -> None:
    with pytest.raises(ModelError, match="no atom has a neighbour within `r_max: 5`"):
        ModelConfig(ModelHypers(), [1], {"energy": ENERGY}, 0.0)


def test_an_unknown_label_is_refused() -> None:
    model = small_model([CHARGE])
    with pytest.raises(ModelError, match="This model has no energy; it has charge"):
        model(batch_of(model, ethanol()), {"energy"})


def test_maces_own_readout_serves_any_single_scalar_that_is_named() -> None:
    gap, charge = TargetInfo("mtt::gap", aggregate="mean"), CHARGE
    for target in (gap, charge):
        model = small_model([target, DIPOLE], mace_head_target=target.name)
        assert model.config.internal_target == target.name
        assert len(model.backbone.readouts) == 2
        assert len(model.heads) == 1
    assert small_model([gap, DIPOLE]).config.internal_target is None


def test_without_the_target_of_maces_own_readout_the_others_train_alone() -> None:
    """The reference dies where the data have no energy for MACE's own readout."""
    model = small_model([DIPOLE])
    batch = batch_of(model, ethanol(), single_atom())
    model(batch, {"mtt::dipole"}, create_graph=True)["mtt::dipole"].square().sum().backward()
    assert all(weight.grad is not None for weight in model.heads.parameters())


def test_the_interaction_range_counts_the_layers_that_the_model_has() -> None:
    for layers in (1, 3):
        model = small_model([CHARGE], num_interactions=layers)
        assert model.config.interaction_range == len(model.backbone.interactions) * 3.5
