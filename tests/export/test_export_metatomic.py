import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from graph_fixtures import CHARGE, DIPOLE, ENERGY, Graphs, crystal, ethanol, predict, single_atom, slab, small_model
from metatensor.torch import Labels, TensorBlock
from metatomic.torch import ModelEvaluationOptions, ModelOutput, NeighborListOptions, System, load_atomistic_model
from metatomic_ase import MetatomicCalculator

from mace_app.export import ExportMetadata, ExportRefused, ExportReport, export_metatomic, metatomic_file
from mace_app.export.auxiliary import auxiliary_names
from mace_app.export.check import compare_in_fresh_process
from mace_app.model import MaceModel
from mace_app.options import TargetInfo

VARIANT = TargetInfo("energy/other", quantity="energy", unit="kcal/mol", has_forces=True, has_stress=True)
GAP = TargetInfo("mtt::gap.2/x", unit="eV", num_subtargets=2)
TARGETS = [ENERGY, VARIANT, DIPOLE, CHARGE, GAP]
STRUCTURES = Graphs([ethanol(), crystal(), slab(), single_atom()])
METADATA = ExportMetadata("small", "A model for tests", ["Somebody"])


def realistic(dtype: torch.dtype, **hypers: object) -> MaceModel:
    model = small_model(TARGETS, dtype, **hypers)
    model.baseline.set("energy", np.array([[-13.6], [-1028.5], [-2041.25]]))
    model.baseline.set("charge", np.array([[0.2], [0.1], [-0.5]]))
    model.scaler.set("energy", 1.7)
    model.scaler.set("energy/other", 40.0)
    model.scaler.set("charge", np.array([0.1, 0.2, 0.3]))
    model.scaler.set("mtt::gap.2/x", 2.0, np.array([[0.5, 1.5]]))
    return model


@pytest.fixture(scope="module")
def model() -> MaceModel:
    return realistic(torch.float64)


@pytest.fixture(scope="module")
def exported(model: MaceModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportReport]:
    path = tmp_path_factory.mktemp("export") / "model.pt"
    return path, export_metatomic(model, path, METADATA, STRUCTURES)


def test_an_export_is_checked_by_a_fresh_process_and_says_so(
    model: MaceModel, exported: tuple[Path, ExportReport]
) -> None:
    path, report = exported
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]
    written = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert written["file"] == "model.pt"
    assert len(written["sha256"]) == 64
    checks = {check["label"]: check for check in written["checks"]}
    assert set(checks) == model.labels | set(auxiliary_names(model.config))
    assert checks["energy"]["structures"] == 4
    assert checks["energy.stress"]["structures"] == 1
    assert all(check["max_difference"] <= check["tolerance"] for check in checks.values())
    assert max(check["tolerance"] for check in checks.values()) < 1e-6


def test_ase_gives_the_same_energy_forces_and_stress(model: MaceModel, exported: tuple[Path, ExportReport]) -> None:
    calculator = MetatomicCalculator(exported[0], device="cpu", check_consistency=True)
    for atoms in (ethanol(), crystal()):
        atoms.calc = calculator
        ours = predict(model, atoms)
        assert atoms.get_potential_energy() == pytest.approx(ours["energy"][0, 0], abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), ours["energy.forces"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), ours["energy.stress"][0], rtol=0, atol=1e-12)


def test_a_variant_in_other_units_is_converted(model: MaceModel, exported: tuple[Path, ExportReport]) -> None:
    atoms = ethanol()
    atoms.calc = MetatomicCalculator(exported[0], device="cpu", variants={"energy": "other"})
    factor = units.kcal / units.mol
    ours = predict(model, atoms)
    assert atoms.get_potential_energy() == pytest.approx(ours["energy/other"][0, 0] * factor, rel=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), ours["energy/other.forces"] * factor, rtol=1e-6, atol=1e-9)


def test_molecular_dynamics_conserves_energy(exported: tuple[Path, ExportReport]) -> None:
    atoms = ethanol()
    atoms.calc = MetatomicCalculator(exported[0], device="cpu")
    atoms.set_momenta(np.random.default_rng(0).normal(0, 0.3, (9, 3)))
    dynamics = VelocityVerlet(atoms, 0.25 * units.fs)
    energies = []
    for _ in range(50):
        dynamics.run(1)
        energies.append(atoms.get_total_energy())
    assert np.ptp(energies) < 2e-3 < atoms.get_kinetic_energy()


def system_of(atoms: Atoms, options: NeighborListOptions) -> System:
    """As an engine other than ASE's calculator would build it."""
    first, second, shifts, vectors = neighbor_list("ijSD", atoms, options.cutoff)
    if not options.full_list:
        along = np.column_stack([second - first, shifts])
        kept = [next(int(step) for step in row if step) > 0 for row in along]
        first, second, shifts, vectors = (values[kept] for values in (first, second, shifts, vectors))
    names = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]
    samples = torch.tensor(np.column_stack([first, second, shifts]), dtype=torch.int32)
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    system = System(
        torch.tensor(atoms.numbers, dtype=torch.int32),
        torch.tensor(atoms.positions),
        torch.tensor(cell),
        torch.tensor(atoms.pbc),
    )
    block = TensorBlock(
        torch.tensor(vectors)[:, :, None], Labels(names, samples), [Labels.range("xyz", 3)], Labels.range("distance", 1)
    )
    system.add_neighbor_list(options, block)
    return system


def run(path: Path, names: list[str], sample_kind: str, structures: list, selected: object = None) -> dict:
    model = load_atomistic_model(path)
    (neighbours,) = model.requested_neighbor_lists()
    outputs = {name: ModelOutput(sample_kind=sample_kind) for name in names}
    options = ModelEvaluationOptions("angstrom", outputs, selected_atoms=selected)
    return model([system_of(atoms, neighbours) for atoms in structures], options, check_consistency=True)


def test_values_per_atom_sum_to_the_structure_and_selected_atoms_are_left_in(
    model: MaceModel, exported: tuple[Path, ExportReport]
) -> None:
    structures = [ethanol(), single_atom(), crystal()]
    names = ["energy", "mtt::dipole", "mtt::gap.2/x"]
    per_atom = run(exported[0], names, "atom", structures)
    whole = run(exported[0], names, "system", structures)
    ours = predict(model, *structures)
    chosen = Labels(["system", "atom"], torch.tensor([[0, 8], [2, 1], [0, 1]]))
    some = run(exported[0], names, "system", structures, chosen)
    rows = run(exported[0], names, "atom", structures, chosen)
    for name in names:
        atoms, total = per_atom[name].block(), whole[name].block()
        np.testing.assert_allclose(total.values, ours[name], rtol=0, atol=1e-9)
        sums = [atoms.values[atoms.samples.column("system") == index].sum(0) for index in range(3)]
        np.testing.assert_allclose(torch.stack(sums), total.values, rtol=0, atol=1e-9)
        subset = rows[name].block()
        assert subset.samples.values.tolist() == [[0, 1], [0, 8], [2, 1]]
        np.testing.assert_allclose(subset.values, atoms.values[[1, 8, 11]], rtol=0, atol=1e-12)
        assert some[name].block().samples.values.tolist() == [[0], [2]]
        np.testing.assert_allclose(some[name].block().values[0], atoms.values[[1, 8]].sum(0), rtol=0, atol=1e-9)
    assert whole["mtt::dipole"].block().components[0].names == ["xyz"]
    assert whole["mtt::gap.2/x"].block().properties.names == ["gap_2"]


def test_the_card_of_the_file_says_what_the_model_is(exported: tuple[Path, ExportReport]) -> None:
    capabilities = load_atomistic_model(exported[0]).capabilities()
    assert capabilities.atomic_types == [1, 6, 8]
    assert capabilities.interaction_range == 7.0
    assert (capabilities.dtype, capabilities.length_unit) == ("float64", "angstrom")
    assert capabilities.outputs["energy/other"].unit == "kcal/mol"


def test_an_element_the_model_does_not_know_is_named(exported: tuple[Path, ExportReport]) -> None:
    atoms = ethanol()
    atoms.numbers[3] = 17
    atoms.calc = MetatomicCalculator(exported[0], device="cpu")
    with pytest.raises(ValueError, match="does not support the atomic type '17'"):
        atoms.get_potential_energy()


def test_the_model_is_left_as_it_was_and_an_old_file_survives_a_refusal(
    model: MaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    path.write_text("old")
    before = predict(model, ethanol())
    other = model.copy()
    with torch.no_grad():
        other.head("mtt::dipole").linear_2.weight.mul_(1.001)
    build = metatomic_file.build_atomistic_model
    monkeypatch.setattr(metatomic_file, "build_atomistic_model", lambda model, *others: build(other, *others))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with pytest.raises(ExportRefused, match=r"disagrees with the model in mtt::dipole, so") as refused:
        export_metatomic(model, path, METADATA, STRUCTURES)
    assert torch.rand(1) == expected
    assert "mtt::dipole: DIFFERS" in str(refused.value)
    assert "energy: agrees" in str(refused.value)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("model.pt", "old")]
    assert all(parameter.requires_grad for parameter in model.parameters())
    np.testing.assert_array_equal(predict(model, ethanol())["energy"], before["energy"])


@pytest.mark.parametrize(
    "hypers",
    [
        {"pair_repulsion": True, "distance_transform": "Agnesi", "interaction": "RealAgnosticDensityResidual"},
        {
            "interaction_first": "RealAgnosticResidualNonLinear",
            "interaction": "RealAgnosticAttResidual",
            "distance_transform": "Soft",
            "apply_cutoff": False,
            "use_last_readout_only": True,
            "gate": None,
        },
    ],
)
def test_other_architectures_export_in_float32_too(hypers: dict, tmp_path: Path) -> None:
    report = export_metatomic(realistic(torch.float32, **hypers), tmp_path / "m.pt", METADATA, STRUCTURES)
    assert {check.label for check in report.checks} >= {"energy", "energy.forces", "energy.stress", "mtt::dipole"}


@pytest.mark.parametrize(
    ("targets", "name", "structures", "message"),
    [
        ([TargetInfo("energy", quantity="energy")], "m.pt", STRUCTURES, "`energy` has no unit"),
        ([TargetInfo("charge", sample_kind="atom")], "m.pt", STRUCTURES, "`charge` has no unit"),
        ([TargetInfo("charge", unit="e/furlongs!")], "m.pt", STRUCTURES, "none that simulation engines know"),
        (
            [TargetInfo("mtt::U", quantity="energy", unit="ev/furlongs!")],
            "m.pt",
            STRUCTURES,
            "is an energy, and its unit",
        ),
        ([TargetInfo("energy", quantity="energy", unit="eV/A")], "m.pt", STRUCTURES, "is an energy, and its unit"),
        ([ENERGY], "m.pth", STRUCTURES, r"let it end in `\.pt`"),
        ([ENERGY], "m.pt", Graphs([]), "no structures to compare"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    targets: list, name: str, structures: Graphs, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match=message):
        export_metatomic(small_model(targets), tmp_path / name, METADATA, structures)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_run_is_refused_with_the_reason(model: MaceModel, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not a model")
    with pytest.raises(ExportRefused, match="could not be run in a fresh process"):
        compare_in_fresh_process(model, broken, STRUCTURES, "angstrom", 1)
