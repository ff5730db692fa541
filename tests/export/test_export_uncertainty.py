"""The standard output `energy_uncertainty` of exported files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from graph_fixtures import DIPOLE, ENERGY, Graphs, crystal, ethanol, single_atom, slab, small_model
from metatensor.torch import Labels
from metatomic.torch import ModelOutput, load_atomistic_model
from metatomic_ase import MetatomicCalculator
from test_export_metatomic import METADATA, VARIANT, run, system_of

from mace_app.export import ExportRefused, export_metatomic, metatomic_file, uncertainty_name
from mace_app.model import Batch, EnergyFeatures, EnergyUncertainty, MaceModel

STRUCTURES = Graphs([ethanol(), crystal(), slab(), single_atom()])
TOGETHER = [ethanol(), single_atom(), crystal()]


def uncertainty(width: int, seed: int) -> EnergyUncertainty:
    factor = np.random.default_rng(seed).normal(size=(width, width))
    return EnergyUncertainty(factor, 0.5, 1e-6, 100, 50, 0.68, 0.95)


def features(model: MaceModel, target: str, *structures) -> list[np.ndarray]:
    """Those of the atoms of each structure, in float64."""
    found = []
    for atoms in structures:
        batch = Batch.from_arrays(Graphs([atoms]).collate([0]), model.config.atomic_types, "cpu", model.dtype)
        found.append(EnergyFeatures(model, target)(model.with_features(batch, set())[1]).double().numpy())
    return found


@pytest.fixture(scope="module")
def model() -> MaceModel:
    return small_model([ENERGY, VARIANT, DIPOLE])


@pytest.fixture(scope="module")
def known(model: MaceModel) -> dict[str, EnergyUncertainty]:
    """Of both energies: that of MACE's own readouts and that of an added head."""
    assert list(model.config.internal_targets) == ["energy"]
    widths = {name: features(model, name, single_atom())[0].shape[1] for name in ("energy", "energy/other")}
    return {name: uncertainty(width, seed) for seed, (name, width) in enumerate(widths.items())}


@pytest.fixture(scope="module")
def exported(model: MaceModel, known: dict[str, EnergyUncertainty], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.pt"
    report = export_metatomic(model, path, METADATA, STRUCTURES, uncertainties=known)
    checks = {check.label: check for check in report.checks}
    assert checks["energy_uncertainty"].unit == "eV" and checks["energy_uncertainty/other"].unit == "kcal/mol"
    assert checks["energy_uncertainty"].structures == 4 and checks["energy_uncertainty"].tolerance < 1e-6
    return path


def test_the_names_are_those_of_the_standard() -> None:
    assert uncertainty_name("energy") == "energy_uncertainty"
    assert uncertainty_name("energy/pbe") == "energy_uncertainty/pbe"
    assert uncertainty_name("mtt::U") is None and uncertainty_name("energy_of_mine") is None


def test_values_are_those_of_the_formula(model: MaceModel, known: dict[str, EnergyUncertainty], exported: Path) -> None:
    found = run(exported, ["energy_uncertainty", "energy_uncertainty/other"], "system", TOGETHER)
    for name, entry in known.items():
        block = found[uncertainty_name(name)].block()
        sums = np.array([atoms.sum(axis=0) for atoms in features(model, name, *TOGETHER)])
        np.testing.assert_allclose(block.values[:, 0], entry.sigma(sums), rtol=1e-8)
        assert block.samples.names == ["system"] and block.samples.values.tolist() == [[0], [1], [2]]
        assert (block.components, block.properties.names, len(block.properties)) == ([], ["energy"], 1)
        assert block.gradients_list() == []


def test_of_selected_atoms_it_is_that_of_their_energy(
    model: MaceModel, known: dict[str, EnergyUncertainty], exported: Path
) -> None:
    chosen = Labels(["system", "atom"], torch.tensor([[0, 8], [2, 1], [0, 1]]))
    block = run(exported, ["energy_uncertainty"], "system", TOGETHER, chosen)["energy_uncertainty"].block()
    first, _, third = features(model, "energy", *TOGETHER)
    expected = known["energy"].sigma(np.array([first[[1, 8]].sum(axis=0), third[1]]))
    assert block.samples.values.tolist() == [[0], [2]]
    np.testing.assert_allclose(block.values[:, 0], expected, rtol=1e-8)


def test_the_file_says_that_it_is_one_value_a_structure(exported: Path) -> None:
    outputs = load_atomistic_model(exported).capabilities().outputs
    assert outputs["energy_uncertainty"].sample_kind == "system" and outputs["energy_uncertainty"].unit == "eV"
    assert outputs["energy_uncertainty"].explicit_gradients == []
    assert "standard deviation" in outputs["energy_uncertainty"].description.lower()


def test_ase_gives_it_beside_energy_and_forces_and_chooses_variants(
    model: MaceModel, known: dict[str, EnergyUncertainty], exported: Path
) -> None:
    atoms = ethanol()
    sums = {name: features(model, name, atoms)[0].sum(axis=0)[None] for name in known}
    wanted = {"energy_uncertainty": ModelOutput(unit="meV", sample_kind="system")}
    calculator = MetatomicCalculator(exported, device="cpu", check_consistency=True, additional_outputs=wanted)
    atoms.calc = calculator
    atoms.get_forces()
    value = calculator.additional_outputs["energy_uncertainty"].block().values.item()
    assert value == pytest.approx(1000 * known["energy"].sigma(sums["energy"])[0], rel=1e-8)
    wanted = {"energy_uncertainty/other": ModelOutput(unit="kcal/mol", sample_kind="system")}
    calculator = MetatomicCalculator(
        exported, device="cpu", variants={"energy": "other"}, check_consistency=True, additional_outputs=wanted
    )
    atoms.calc = calculator
    atoms.get_potential_energy()
    value = calculator.additional_outputs["energy_uncertainty/other"].block().values.item()
    assert value == pytest.approx(known["energy/other"].sigma(sums["energy/other"])[0], rel=1e-8)


def test_it_can_be_differentiated_with_respect_to_positions(exported: Path) -> None:
    """As for biased sampling: against finite differences."""
    loaded = load_atomistic_model(exported)
    (neighbours,) = loaded.requested_neighbor_lists()

    def sigma(shift: float) -> float:
        atoms = ethanol()
        atoms.positions[2, 1] += shift
        return run(exported, ["energy_uncertainty"], "system", [atoms])["energy_uncertainty"].block().values.item()

    system = system_of(ethanol(), neighbours)
    vectors = system.get_neighbor_list(neighbours).values.requires_grad_(True)
    value = loaded.module([system], {"energy_uncertainty": ModelOutput(sample_kind="system")}, None)
    (gradient,) = torch.autograd.grad(value["energy_uncertainty"].block().values.sum(), vectors)
    pairs = system.get_neighbor_list(neighbours).samples
    second, first = pairs.column("second_atom") == 2, pairs.column("first_atom") == 2
    analytic = gradient[second, 1, 0].sum() - gradient[first, 1, 0].sum()
    assert analytic.item() == pytest.approx((sigma(1e-4) - sigma(-1e-4)) / 2e-4, rel=1e-5)


def test_float32_models_sum_in_float64(tmp_path: Path) -> None:
    model = small_model([ENERGY], torch.float32)
    entry = uncertainty(features(model, "energy", single_atom())[0].shape[1], 3)
    export_metatomic(model, tmp_path / "m.pt", METADATA, STRUCTURES, uncertainties={"energy": entry})
    atoms = ethanol()
    atoms.calc = MetatomicCalculator(tmp_path / "m.pt", device="cpu")
    found = atoms.calc.run_model(atoms, {"energy_uncertainty": ModelOutput(unit="eV", sample_kind="system")})
    expected = entry.sigma(features(model, "energy", atoms)[0].sum(axis=0)[None])[0]
    assert found["energy_uncertainty"].block().values.item() == pytest.approx(expected, rel=1e-5)


def test_another_uncertainty_than_the_models_is_refused(
    model: MaceModel, known: dict[str, EnergyUncertainty], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = metatomic_file.build_atomistic_model
    other = {**known, "energy": uncertainty(len(known["energy"].factor), 7)}
    monkeypatch.setattr(
        metatomic_file, "build_atomistic_model", lambda model, metadata, _: build(model, metadata, other)
    )
    with pytest.raises(ExportRefused, match="disagrees with the model in energy_uncertainty, so"):
        export_metatomic(model, tmp_path / "model.pt", METADATA, STRUCTURES, uncertainties=known)


def test_without_one_there_is_no_such_output(model: MaceModel, tmp_path: Path) -> None:
    report = export_metatomic(model, tmp_path / "m.pt", METADATA, Graphs([ethanol()]))
    assert not any("uncertainty" in check.label for check in report.checks)
    outputs = load_atomistic_model(tmp_path / "m.pt").capabilities().outputs
    assert not any("uncertainty" in name for name in outputs)
