"""The ``.model`` file: mace-torch's own calculator and tools must find in it the model it was made from."""

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import units
from graph_fixtures import DIPOLE, ENERGY, SMALL, Graphs, crystal, ethanol, predict, single_atom, slab, small_model

from mace_app.export import ExportRefused, NativeReport, export_native, native
from mace_app.model import MaceModel
from mace_app.model.adapter import build_scale_shift_mace
from mace_app.model.foundation.into_model import foundation_model
from mace_app.model.foundation.source import open_foundation
from mace_app.options import ModelHypers, TargetInfo

STRUCTURES = Graphs([ethanol(), crystal(), slab(), single_atom()])


def realistic(dtype: torch.dtype = torch.float64, targets: tuple = (ENERGY, DIPOLE), **hypers: object) -> MaceModel:
    model = small_model(targets, dtype, **hypers)
    model.baseline.set(targets[0].name, np.array([[-13.6], [-1028.5], [-2041.25]]))
    model.scaler.set(targets[0].name, 1.7)
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[MaceModel, Path, NativeReport]:
    model = realistic(pair_repulsion=True, distance_transform="Agnesi")
    path = tmp_path_factory.mktemp("native") / "model.model"
    return model, path, export_native(model, path, STRUCTURES, "angstrom")


@pytest.fixture(autouse=True)
def mace_may_unpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as importing mace-torch does


def calculator(model: Path | torch.nn.Module, **options: str) -> Any:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from mace.calculators import MACECalculator

        given = {"model_paths": model} if isinstance(model, Path) else {"models": model}
        return MACECalculator(**given, device="cpu", **options)


def test_the_calculator_of_mace_gives_the_same_energy_forces_and_stress(
    exported: tuple[MaceModel, Path, NativeReport],
) -> None:
    model, path, report = exported
    mace = calculator(path)
    assert mace.available_heads == ["Default"]
    assert mace.default_dtype == "float64"
    for atoms in (ethanol(7), crystal(7), slab(7)):
        atoms.rotate(50, (1, 2, 3), rotate_cell=True)
        atoms.calc = mace
        ours = predict(model, atoms)
        assert atoms.get_potential_energy() == pytest.approx(ours["energy"][0, 0], abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), ours["energy.forces"], rtol=0, atol=1e-9)
        if atoms.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(voigt=False), ours["energy.stress"][0], rtol=0, atol=1e-9)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.model"]
    assert {check.label for check in report.checks} == set(ENERGY.labels())
    assert (report.target, report.left_out) == ("energy", ["mtt::dipole"])


def test_tools_of_mace_can_take_the_file_apart_and_build_it_again(
    exported: tuple[MaceModel, Path, NativeReport],
) -> None:
    """As ``mace_run_train --foundation_model`` and the converters do: settings from the module, then its weights."""
    _, path, _ = exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mace.modules import ScaleShiftMACE
        from mace.tools.scripts_utils import extract_config_mace_model

        model = torch.load(path, weights_only=False)
        settings = extract_config_mace_model(model)
        torch.set_default_dtype(torch.float64)
        try:
            other = ScaleShiftMACE(**settings)
        finally:
            torch.set_default_dtype(torch.float32)
        other.load_state_dict(model.state_dict())
    assert settings["heads"] == ["Default"]
    assert settings["atomic_energies"].shape == (1, 3)
    assert settings["pair_repulsion"] is True
    assert settings["distance_transform"] == "Agnesi"


def test_a_model_that_came_from_such_a_file_goes_out_again(tmp_path: Path) -> None:
    """Its elements are not in ascending order, and it is built from the architecture in the file."""
    hypers = ModelHypers(**SMALL)
    first = build_scale_shift_mace(hypers, [8, 1, 6], 6.0, np.array([-2041.25, -13.6, -1028.5]), 1.7, torch.float64)
    torch.save(first, tmp_path / "first.model")
    model = foundation_model(open_foundation(tmp_path / "first.model"))
    export_native(model, tmp_path / "second.model", STRUCTURES)
    energies = []
    for name in ("first", "second"):
        atoms = ethanol(7)
        atoms.calc = calculator(tmp_path / f"{name}.model")
        energies.append(atoms.get_potential_energy())
    assert energies[1] == pytest.approx(energies[0], abs=1e-9)
    assert energies[0] == pytest.approx(predict(model, ethanol(7))["energy"][0, 0], abs=1e-9)


@pytest.mark.parametrize(
    "hypers",
    [
        {"interaction": "RealAgnosticAttResidual", "use_last_readout_only": True, "gate": None, "apply_cutoff": False},
        {"interaction_first": "RealAgnosticResidualNonLinear", "num_interactions": 3, "radial_type": "gaussian"},
    ],
)
def test_other_architectures_keep_their_energies_of_atoms_in_float32_too(hypers: dict) -> None:
    model = realistic(torch.float32, **hypers)
    mace = native.build_native(model, "energy")
    assert mace.atomic_energies_fn.atomic_energies.tolist() == [[-13.6, -1028.5, -2041.25]]
    assert {parameter.dtype for parameter in mace.parameters()} == {torch.float32}
    atoms = ethanol(7)
    atoms.calc = calculator(mace, default_dtype="float32")
    np.testing.assert_allclose(atoms.get_forces(), predict(model, atoms)["energy.forces"], rtol=0, atol=2e-5)


def test_an_energy_in_another_unit_arrives_in_electronvolt() -> None:
    model = realistic(targets=(TargetInfo("energy", quantity="energy", unit="kcal/mol", has_forces=True),))
    atoms = ethanol()
    atoms.calc = calculator(native.build_native(model, "energy"))
    ours, factor = predict(model, atoms), units.kcal / units.mol
    assert atoms.get_potential_energy() == pytest.approx(ours["energy"][0, 0] * factor, rel=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), ours["energy.forces"] * factor, rtol=1e-6, atol=1e-9)


PER_ATOM = TargetInfo("energy", quantity="energy", unit="eV", sample_kind="atom")


@pytest.mark.parametrize(
    ("targets", "name", "length_unit", "message"),
    [
        ((DIPOLE,), "m.model", "", "this model has no such energy"),
        ((TargetInfo("energy/pbe", quantity="energy", unit="eV"),), "m.model", "", "`energy`, and this model has no"),
        ((PER_ATOM,), "m.model", "", "scaled element by element"),
        ((TargetInfo("energy", quantity="energy"),), "m.model", "", "`energy` has no unit"),
        ((TargetInfo("energy", quantity="energy", unit="e"),), "m.model", "", "its unit `e` is none"),
        ((ENERGY,), "m.model", "nm", "Lengths of this model are in `nm`"),
        ((ENERGY,), "m.pt", "", r"let it end in `\.model`"),
    ],
)
def test_what_the_format_cannot_carry_is_refused_with_the_reason(
    targets: tuple, name: str, length_unit: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match=message):
        export_native(small_model(targets), tmp_path / name, STRUCTURES, length_unit)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_disagrees_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.model"
    path.write_text("old")
    build = native.build_native

    def other_scale(model: MaceModel, name: str) -> Any:
        mace = build(model, name)
        mace.scale_shift.scale += 1e-6
        return mace

    monkeypatch.setattr(native, "build_native", other_scale)
    with pytest.raises(ExportRefused, match=r"disagrees with the model in energy, energy\.forces"):
        export_native(realistic(), path, STRUCTURES)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("model.model", "old")]


def test_a_scalar_that_is_no_energy_does_not_become_one(tmp_path: Path) -> None:
    gap = TargetInfo("mtt::gap", unit="eV", aggregate="mean")
    with pytest.raises(ExportRefused, match="`mtt::gap`, and this model has no such energy"):
        export_native(small_model([gap], mace_head_target="mtt::gap"), tmp_path / "m.model", STRUCTURES)
