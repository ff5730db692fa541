"""From a published file to a metatomic file in one step, on the command line."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write
from mace_files import KINDS, TWO_HEADS, build, save
from metatomic_ase import MetatomicCalculator
from test_foundation_parity import ask_mace

from mace_app.__main__ import main
from mace_app.model.foundation import (
    AtomsGraphs,
    Foundation,
    FoundationError,
    foundation_config,
    foundation_model,
    open_foundation,
    probe_structures,
    rebuild,
)
from mace_app.published import published_as
from mace_app.tasks import foundation as task


def answers_of(path: Path, structures: list[Atoms]) -> list[tuple[float, np.ndarray]]:
    """Energy and forces of an exported file."""
    calculator = MetatomicCalculator(path, device="cpu")
    found = []
    for atoms in structures:
        atoms = atoms.copy()
        atoms.calc = calculator
        found.append((atoms.get_potential_energy(), atoms.get_forces()))
    return found


@pytest.mark.shared_data
def test_a_file_of_2024_exports_in_one_step_and_agrees_with_mace_to_1e_9(
    published_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = published_data / "solvents_2024.model"
    assert main(["export", str(model), "-o", str(tmp_path / "model.pt")]) == 0
    printed = capsys.readouterr().out
    assert "energy: agrees" in printed and "energy.forces: agrees" in printed and "energy.stress: agrees" in printed
    structures = read(published_data / "solvents_xtb_200.xyz", "::5")
    structures = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in structures]
    theirs = ask_mace(tmp_path, [["file", str(model), None]], structures)
    for index, (energy, forces) in enumerate(answers_of(tmp_path / "model.pt", structures)):
        assert abs(energy - theirs[f"file:{index}:energy"]) < 1e-9
        assert np.abs(forces - theirs[f"file:{index}:forces"]).max() < 1e-9


def test_each_head_of_a_file_exports_on_its_own_and_agrees_with_mace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(KINDS["newest_two_heads"](), tmp_path / "two.model")
    structures = probe_structures([1, 6, 8])
    write(tmp_path / "own.xyz", structures[:2])
    theirs = ask_mace(tmp_path, [["file", str(path), "ccsd"]], structures)
    output = tmp_path / "ccsd.pt"
    arguments = ["export", str(path), "--head", "ccsd", "-o", str(output), "--structures", str(tmp_path / "own.xyz")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"on {len(structures) + 2} structures" in printed and "Head: ccsd" in printed
    for index, (energy, forces) in enumerate(answers_of(output, structures)):
        assert abs(energy - theirs[f"file:{index}:energy"]) < 1e-9
        assert np.abs(forces - theirs[f"file:{index}:forces"]).max() < 1e-9


def test_a_file_with_several_heads_needs_the_name_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(build(**TWO_HEADS), tmp_path / "two.model")
    assert main(["export", str(path), "-o", str(tmp_path / "model.pt")]) == 2
    assert "`dft`, `ccsd`" in capsys.readouterr().err
    assert main(["export", str(path), "--head", "pbe", "-o", str(tmp_path / "model.pt")]) == 2
    assert "no head `pbe`" in capsys.readouterr().err
    assert not (tmp_path / "model.pt").exists()


def test_a_single_head_is_used_whatever_its_name(tmp_path: Path) -> None:
    path = save(KINDS["matrix_of_one_head"](), tmp_path / "one.model")
    foundation = open_foundation(path)
    assert foundation.heads == ["only"]
    assert foundation.head_index(None) == foundation.head_index("only") == 0
    with pytest.raises(FoundationError, match="`only`"):
        foundation.head_index("dft")


def test_an_export_that_disagrees_with_mace_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a mistake in reading the weights would look like: the model is not the one in the file."""
    path = save(build(), tmp_path / "a.model")

    def wrong(foundation: Foundation, *arguments: object, **options: object) -> object:
        model = foundation_model(foundation, *arguments, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            model.backbone.readouts[0].linear.weight[0] += 1e-5
        return model

    monkeypatch.setattr(task, "foundation_model", wrong)
    with pytest.raises(task.HeadRefused, match="disagrees") as refused:
        task.export_foundation(path, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()
    verdicts = {check.label: check.passed for check in refused.value.checks}
    assert not verdicts["energy"] and not verdicts["energy.forces"]
    table = {row.atoms.get_chemical_formula(): row.differences for row in refused.value.structures}
    assert len(table) == len(probe_structures([1, 6, 8])) and table["H2O"]["energy"] > 1e-8


@pytest.mark.parametrize("kind", ["scale_one", "plain"])
def test_a_scale_of_one_or_none_is_kept_and_not_fitted(kind: str, tmp_path: Path) -> None:
    model = foundation_model(open_foundation(save(KINDS[kind](), tmp_path / "a.model")))
    assert model.scaler.scale("energy").tolist() == [1.0]
    assert model.baseline.values("energy").reshape(-1).tolist() == [-13.6, -1028.5, -2041.25]


def test_baseline_and_scale_are_those_of_the_chosen_head(tmp_path: Path) -> None:
    model = foundation_model(open_foundation(save(build(**TWO_HEADS), tmp_path / "a.model")), "ccsd")
    assert model.scaler.scale("energy").tolist() == [0.6]
    assert model.baseline.values("energy").reshape(-1).tolist() == [-13.1 - 0.4, -1027.9 - 0.4, -2043.5 - 0.4]


def test_reach_and_elements_are_those_of_the_file(tmp_path: Path) -> None:
    config = foundation_config(open_foundation(save(KINDS["three_layers"](), tmp_path / "a.model")))
    assert config.interaction_range == pytest.approx(3 * 3.7)
    assert config.atomic_types == [1, 6, 8]
    assert config.cutoff == pytest.approx(3.7)


def test_single_precision_stays_single(tmp_path: Path) -> None:
    path = save(KINDS["single_precision"](), tmp_path / "a.model")
    report = task.export_foundation(path, tmp_path / "model.pt").report
    assert {check.label for check in report.checks} >= {"energy", "energy.forces", "energy.stress"}
    assert foundation_model(open_foundation(path)).dtype == torch.float32


def test_inspect_tells_what_a_file_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(build(**TWO_HEADS), tmp_path / "mace-mh-1.model")
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "Heads: dft, ccsd" in text and "H C O" in text and "no commercial use" in text
    assert main(["inspect", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["scale"] == [1.7, 0.6] and facts["architecture"]["hidden_irreps"] == "4x0e + 4x1o"
    assert facts["parameters"] == sum(parameter.numel() for parameter in build(**TWO_HEADS).parameters())


def test_known_names_tell_the_licence_also_as_the_cache_of_mace_writes_them() -> None:
    assert published_as("mace-mpa-0-medium.model").licence == "MIT"  # type: ignore[union-attr]
    assert published_as("macempa0mediummodel").title == "MACE-MPA-0 medium"  # type: ignore[union-attr]
    assert "ASL" in published_as("MACE-OFF23_small.model").licence  # type: ignore[union-attr]
    assert published_as("solvents_2024.model") is None


@pytest.mark.parametrize("elements", [[1], [2], [1, 6, 8], list(range(1, 95))])
def test_structures_for_the_check_are_of_the_elements_sensible_and_the_same_every_time(elements: list[int]) -> None:
    structures = probe_structures(elements)
    again = probe_structures(elements)
    assert len(structures) >= 2 and sum(map(len, structures)) <= 48
    assert {z for atoms in structures for z in atoms.numbers} <= set(elements)
    assert len(elements) > 24 or {z for atoms in structures for z in atoms.numbers} == set(elements)
    assert any(atoms.pbc.all() for atoms in structures) and any(not atoms.pbc.any() for atoms in structures)
    for atoms, other in zip(structures, again, strict=True):
        assert np.array_equal(atoms.positions, other.positions) and np.array_equal(atoms.cell, other.cell)
        distances = atoms.get_all_distances(mic=bool(atoms.pbc.all()))
        assert distances[~np.eye(len(atoms), dtype=bool)].min(initial=9.0) > 0.4
    graphs = AtomsGraphs(structures, 5.0)
    assert graphs.collate(range(len(structures)))["ptr"][-1] == sum(map(len, structures))


def test_a_part_that_differs_from_what_mace_would_build_is_refused(tmp_path: Path) -> None:
    """As if the gate, the envelope or an irrep had been read wrongly, or the weights were of another model."""
    changes = {
        "normalize2mom": lambda model: setattr(model.readouts[1].non_linearity.acts[0], "cst", 1.5),
        "a lost weight": lambda model: delattr(model.products[1].linear, "weight"),
        "one too many": lambda model: model.register_parameter("extra", torch.nn.Parameter(torch.zeros(2).double())),
        "another class": lambda model: setattr(model.interactions[1], "reshape", model.interactions[1].linear),
    }
    for name, change in changes.items():
        model = build()
        change(model)
        path = save(model, tmp_path / "a.model")
        with pytest.raises(FoundationError, match="can't be rebuilt"):
            rebuild(open_foundation(path))
        assert name


@pytest.mark.parametrize("kind", ["AtomicDipolesMACE", "EnergyDipolesMACE"])
def test_models_without_an_energy_of_their_own_are_named(kind: str, tmp_path: Path) -> None:
    energies = {} if kind == "EnergyDipolesMACE" else {"atomic_energies": None}
    path = save(build(kind, correlation=1, **energies), tmp_path / "dipole.model")
    with pytest.raises(FoundationError, match=f"`dipole.model` \\({kind}\\) predicts .*dipoles"):
        open_foundation(path)


def test_models_that_need_a_charge_are_named(tmp_path: Path) -> None:
    specs = {"total_charge": {"type": "continuous", "in_dim": 1, "emb_dim": 4, "per": "graph"}}
    path = save(build(embedding_specs=specs), tmp_path / "omol.model")
    with pytest.raises(FoundationError, match="charge or spin of every structure"):
        open_foundation(path)


def test_a_layout_that_needs_another_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("cuequivariance_torch")
    layer = type("Linear", (torch.nn.Linear,), {"__module__": "cuequivariance_torch"})
    library.Linear = layer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuequivariance_torch", library)
    model = build()
    model.products[0].linear = layer(4, 4)
    with pytest.raises(FoundationError, match="layout of cuEquivariance"):
        open_foundation(save(model, tmp_path / "fast.model"))


def test_compiled_models_are_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "lammps.model")
    with pytest.raises(FoundationError, match="TorchScript"):
        open_foundation(tmp_path / "lammps.model")
