"""Every kind of target, and the auxiliary outputs, in an exported file: metatrain's layouts, the model's numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from graph_fixtures import ENERGY, Graphs, batch_of, crystal, ethanol, predict, single_atom, small_model
from metatensor.torch import Labels, TensorMap
from metatomic.torch import ModelEvaluationOptions, ModelOutput, load_atomistic_model, systems_to_torch
from metatomic_ase import MetatomicCalculator
from vesin.metatomic import neighbor_lists_for_model

from mace_app.export import ExportMetadata, ExportReport, export_metatomic
from mace_app.export.auxiliary import auxiliary_names
from mace_app.model import MaceModel
from mace_app.options import TargetInfo

SPHERICAL = {"o3_lambda": 2, "o3_sigma": 1}
MIXED = [{"o3_lambda": 0, "o3_sigma": 1, "num": 2}, SPHERICAL, {"o3_lambda": 1, "o3_sigma": -1}]
TARGETS = [
    ENERGY,
    TargetInfo("mtt::U", quantity="energy", unit="kcal/mol", has_forces=True, has_stress=True),
    TargetInfo("mtt::dos", unit="", num_subtargets=3),
    TargetInfo("charge", unit="e", sample_kind="atom"),
    TargetInfo("non_conservative_force", unit="eV/Angstrom", sample_kind="atom", type={"cartesian": {"rank": 1}}),
    TargetInfo("non_conservative_stress", unit="eV/Angstrom^3", type={"cartesian": {"rank": 2, "symmetric": True}}),
    TargetInfo("mtt::tensor", sample_kind="atom", type={"cartesian": {"rank": 2, "symmetric": False}}),
    TargetInfo("mtt::gap", unit="eV", aggregate="mean"),
    TargetInfo("mtt::mean_tensor", aggregate="mean", type={"cartesian": {"rank": 2, "symmetric": True}}),
    TargetInfo("mtt::quadrupole", sample_kind="atom", type={"spherical": {"irreps": [{**SPHERICAL, "num": 2}]}}),
    TargetInfo("mtt::mixed", type={"spherical": {"irreps": MIXED}}),
]
NAMES = [target.name for target in TARGETS]
STRUCTURES = [ethanol(), single_atom(), crystal()]
HIDDEN = "4x0e + 4x1o + 4x1e + 4x2e"
FEATURES = [(0, 1, 4), (1, 1, 4), (1, -1, 4), (2, 1, 4), (0, 1, 4)]  # (λ, σ, channels), scalars only in the last layer


@pytest.fixture(scope="module")
def model() -> MaceModel:
    model = small_model(TARGETS, hidden_irreps=HIDDEN, correlation=3)
    random = np.random.default_rng(3)
    for target in TARGETS:
        if target.name in model.baseline:
            values = random.normal(size=tuple(model.baseline.values(target.name).shape))
            values[:, 2 if target.name == "mtt::mixed" else values.shape[1] :] = 0  # only what is invariant
            model.baseline.set(target.name, values)
        scale, columns = model.scaler.scale(target.name), model.scaler.property_scale(target.name)
        one_for_each_block = target.kind == "scalar"
        shape = tuple(columns.shape) if one_for_each_block else (columns.shape[0], 1)
        model.scaler.set(target.name, random.uniform(0.5, 2, tuple(scale.shape)), random.uniform(0.5, 2, shape))
    return model


@pytest.fixture(scope="module")
def exported(model: MaceModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportReport]:
    path = tmp_path_factory.mktemp("kinds") / "model.pt"
    return path, export_metatomic(model, path, ExportMetadata("kinds"), Graphs(STRUCTURES))


@pytest.fixture(scope="module")
def loaded(exported: tuple[Path, ExportReport]) -> torch.nn.Module:
    return load_atomistic_model(exported[0])


def run(
    loaded: torch.nn.Module, names: list[str], kind: str, structures: list[Atoms], selected: object = None
) -> dict[str, TensorMap]:
    systems = systems_to_torch(structures, dtype=torch.float64)
    for calculator in neighbor_lists_for_model("angstrom", loaded):
        calculator.add_neighbor_list(systems)
    outputs = {name: ModelOutput(sample_kind=kind) for name in names}
    return loaded(systems, ModelEvaluationOptions("angstrom", outputs, selected), check_consistency=True)


def flat(tensor: TensorMap) -> np.ndarray:
    """[samples, …] or, for several blocks, [samples, all of them one after the other]."""
    blocks = [block.values.numpy() for block in tensor.blocks()]
    return blocks[0] if len(blocks) == 1 else np.concatenate([b.reshape(len(b), -1) for b in blocks], axis=1)


def test_all_outputs_were_compared_by_a_fresh_process(model: MaceModel, exported: tuple[Path, ExportReport]) -> None:
    checks = {check.label: check for check in exported[1].checks}
    assert set(checks) == model.labels | set(auxiliary_names(model.config))
    assert {"mtt::U.forces", "mtt::U.stress", "mtt::mixed", "mtt::tensor"} <= set(checks)
    assert checks["mtt::U.stress"].structures == 1
    assert max(check.tolerance for check in checks.values()) < 1e-6


def test_layouts_are_those_of_metatrain(loaded: torch.nn.Module) -> None:
    results = run(loaded, NAMES, "system", STRUCTURES)
    described = {
        name: (tensor.keys.names, [[c.names[0] for c in b.components] for b in tensor.blocks()], tensor.property_names)
        for name, tensor in results.items()
    }
    assert described == {
        "energy": (["_"], [[]], ["energy"]),
        "mtt::U": (["_"], [[]], ["energy"]),
        "mtt::dos": (["_"], [[]], ["dos"]),
        "charge": (["_"], [[]], ["charge"]),
        "non_conservative_force": (["_"], [["xyz"]], ["non_conservative_force"]),
        "non_conservative_stress": (["_"], [["xyz_1", "xyz_2"]], ["non_conservative_stress"]),
        "mtt::tensor": (["_"], [["xyz_1", "xyz_2"]], ["tensor"]),
        "mtt::gap": (["_"], [[]], ["gap"]),
        "mtt::mean_tensor": (["_"], [["xyz_1", "xyz_2"]], ["mean_tensor"]),
        "mtt::quadrupole": (["o3_lambda", "o3_sigma"], [["o3_mu"]], ["n"]),
        "mtt::mixed": (["o3_lambda", "o3_sigma"], [["o3_mu"]] * 3, ["n"]),
    }
    mixed = results["mtt::mixed"]
    assert mixed.keys.values.tolist() == [[0, 1], [2, 1], [1, -1]]
    assert [tuple(block.values.shape) for block in mixed.blocks()] == [(3, 1, 2), (3, 5, 1), (3, 3, 1)]
    assert [block.components[0].values[:, 0].tolist() for block in mixed.blocks()][1] == [-2, -1, 0, 1, 2]
    assert results["mtt::dos"].block().properties.values[:, 0].tolist() == [0, 1, 2]


def test_several_systems_at_once_give_what_the_model_gives(model: MaceModel, loaded: torch.nn.Module) -> None:
    ours = predict(model, *STRUCTURES)
    for kind in ("system", "atom"):
        names = [target.name for target in TARGETS if target.sample_kind == kind]
        for name, tensor in run(loaded, names, kind, STRUCTURES).items():
            assert np.abs(ours[name]).max() > 1e-3
            np.testing.assert_allclose(flat(tensor), ours[name], rtol=0, atol=1e-9, err_msg=name)


def test_direct_forces_and_stress_reach_ase(model: MaceModel, exported: tuple[Path, ExportReport]) -> None:
    """ASE's calculator takes them for an energy's, and removes the net force."""
    atoms = crystal()
    atoms.calc = MetatomicCalculator(exported[0], device="cpu", non_conservative=True, check_consistency=True)
    ours = predict(model, atoms)
    forces = ours["non_conservative_force"][:, :, 0]
    np.testing.assert_allclose(atoms.get_forces(), forces - forces.mean(axis=0), rtol=0, atol=1e-10)
    stress = ours["non_conservative_stress"][0, :, :, 0]
    np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, rtol=0, atol=1e-10)


def test_values_of_a_structure_are_sums_or_means_of_those_of_its_atoms(loaded: torch.nn.Module) -> None:
    names = [*NAMES, *(output for output in loaded.capabilities().outputs if "aux" in output)]
    per_atom, whole = (run(loaded, names, kind, STRUCTURES) for kind in ("atom", "system"))
    sizes = [len(atoms) for atoms in STRUCTURES]
    for name in names:
        parts = np.split(flat(per_atom[name]), np.cumsum(sizes)[:-1])
        mean = "gap" in name or "mean_tensor" in name
        expected = np.stack([part.mean(axis=0) if mean else part.sum(axis=0) for part in parts])
        np.testing.assert_allclose(flat(whole[name]), expected, rtol=0, atol=1e-9, err_msg=name)


def test_selected_atoms_are_those_rows_and_their_sums_or_means(loaded: torch.nn.Module) -> None:
    names = [*NAMES, *(output for output in loaded.capabilities().outputs if "aux" in output)]
    chosen = [[2, 1], [0, 8], [0, 1]]
    selected = Labels(["system", "atom"], torch.tensor(chosen))
    full = run(loaded, names, "atom", STRUCTURES)
    rows, structures = (run(loaded, names, kind, STRUCTURES, selected) for kind in ("atom", "system"))
    for name in names:
        everything, some = flat(full[name]), flat(rows[name])
        assert rows[name].block(0).samples.values.tolist() == [[0, 1], [0, 8], [2, 1]]
        np.testing.assert_allclose(some, everything[[1, 8, 11]], rtol=0, atol=1e-12, err_msg=name)
        assert structures[name].block(0).samples.values.tolist() == [[0], [2]]
        first = some[:2].mean(axis=0) if "gap" in name or "mean_tensor" in name else some[:2].sum(axis=0)
        np.testing.assert_allclose(flat(structures[name]), [first, some[2]], rtol=0, atol=1e-9, err_msg=name)


def test_no_atoms_selected_give_no_samples(loaded: torch.nn.Module) -> None:
    nothing = Labels(["system", "atom"], torch.zeros((0, 2), dtype=torch.int32))
    for kind in ("atom", "system"):
        results = run(loaded, [*NAMES, "mtt::aux::mace_features"], kind, STRUCTURES, nothing)
        assert {len(block.samples) for tensor in results.values() for block in tensor.blocks()} == {0}


def test_auxiliary_outputs_hold_what_the_last_layers_are_linear_in(model: MaceModel, loaded: torch.nn.Module) -> None:
    """The features are the backbone's, block for block; and from the last-layer features a linear map gives the target,
    which no other quantity of that length would do."""
    capabilities = loaded.capabilities()
    names = [name for name in capabilities.outputs if name.startswith("mtt::aux::")]
    of_targets = {f"mtt::aux::{name.removeprefix('mtt::')}_last_layer_features" for name in NAMES}
    assert set(names) == {"mtt::aux::mace_features"} | of_targets
    assert {capabilities.outputs[name].sample_kind for name in names} == {"atom"}
    results = run(loaded, [*names, "energy", "charge"], "atom", STRUCTURES)
    features = results["mtt::aux::mace_features"]
    assert features.keys.names == ["o3_lambda", "o3_sigma", "i_irrep"]
    assert features.keys.values.tolist() == [[l, s, i] for i, (l, s, _) in enumerate(FEATURES)]  # noqa: E741
    batch = batch_of(model, *STRUCTURES)
    with torch.no_grad():
        ours, energies = model.features(batch, batch.vectors)
    start = 0
    for block, (l, _, channels) in zip(features.blocks(), FEATURES, strict=True):  # noqa: E741
        assert (block.components[0].names, block.properties.names) == (["o3_mu"], ["feature"])
        assert block.components[0].values[:, 0].tolist() == list(range(-l, l + 1))
        width = (2 * l + 1) * channels
        expected = ours[:, start : start + width].reshape(-1, channels, 2 * l + 1).transpose(1, 2)
        np.testing.assert_allclose(block.values, expected, rtol=0, atol=1e-12)
        start += width
    readouts = model.backbone.readouts
    energy = results["mtt::aux::energy_last_layer_features"]
    assert energy.keys.values.tolist() == [[0, 1, 0]]
    assert energy.block().values.shape == (12, 1, 8)
    with torch.no_grad():
        scalars, hidden = energy.block().values[:, 0, :4], energy.block().values[:, 0, 4:]
        others = torch.zeros(12, 44, dtype=torch.float64)  # of the first layer: a scalar is made of scalars alone
        total = readouts[0].linear(torch.cat([scalars, others], dim=1)) + readouts[1].linear_2(hidden)
    np.testing.assert_allclose(total[:, 0], energies[:, 0], rtol=0, atol=1e-12)
    charge = results["mtt::aux::charge_last_layer_features"]
    assert charge.keys.values.tolist() == [[0, 1, 0], [0, 1, 1]]
    with torch.no_grad():
        values = model.head("charge").linear_2(torch.cat([block.values[:, 0] for block in charge.blocks()], dim=1))
    scale = model.scaler.scale("charge")[:, None] * model.scaler.property_scale("charge")
    values = values * scale[batch.elements] + model.baseline.values("charge")[batch.elements]
    np.testing.assert_allclose(results["charge"].block().values, values, rtol=0, atol=1e-12)


def test_auxiliary_outputs_are_not_computed_unless_asked_for(model: MaceModel) -> None:
    from mace_app.export.module import ExportedModel

    class Forbidden(torch.nn.Module):
        def forward(self, *_: object) -> torch.Tensor:
            raise AssertionError("computed though nobody asked")

    module = ExportedModel(model.copy().eval())
    systems = systems_to_torch(STRUCTURES, dtype=torch.float64)
    for calculator in neighbor_lists_for_model("angstrom", module, "angstrom"):
        calculator.add_neighbor_list(systems)
    for target in module.targets:
        if target.target == "energy":
            target.head.features = Forbidden()
        else:
            target.head = Forbidden()
    with torch.no_grad():
        results = module(systems, {"energy": ModelOutput(sample_kind="system")}, None)
    np.testing.assert_allclose(results["energy"].block().values, predict(model, *STRUCTURES)["energy"], atol=1e-9)
