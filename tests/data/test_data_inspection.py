"""What an inspection says about files."""

import json
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from water_files import water, waters

from mace_app.data import Cancelled, DataError, Inspection, inspect_files, suggest_mapping
from mace_app.data.roles import role_of, stem, total_energy_unit
from mace_app.options import DatasetOptions

Write = Callable[..., Path]


def said(inspection: Inspection, text: str) -> list[str]:
    return [finding.severity for finding in inspection.findings if text in finding.message]


PUBLISHED = {
    "ethanol_rmd17_train.xyz": {
        "energy": {"key": "energy", "unit": "eV", "quantity": "energy", "forces": {"key": "forces"}}
    },
    "carbon_virial_100.xyz": {
        "energy": {
            "key": "energy",
            "unit": "eV",
            "quantity": "energy",
            "forces": {"key": "force"},
            "virial": {"key": "virial"},
        }
    },
    "qm9_100.xyz": {"energy": {"key": "U0", "unit": "Hartree", "quantity": "energy"}},
    "solvents_xtb_200.xyz": {
        "energy": {"key": "energy_xtb", "unit": "eV", "quantity": "energy", "forces": {"key": "forces_xtb"}}
    },
    "ethanol_isolated_atoms.xyz": {"energy": {"key": "energy", "unit": "eV", "quantity": "energy"}},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sets_are_mapped_as_their_authors_meant(name: str, published_data: Path) -> None:
    inspection = inspect_files([published_data / name])
    assert suggest_mapping(inspection) == PUBLISHED[name]
    DatasetOptions.model_validate({"systems": name, "targets": suggest_mapping(inspection)})
    assert not [finding for finding in inspection.findings if finding.severity == "error"]
    text = json.dumps(inspection.to_json(), allow_nan=False)
    assert Inspection.from_json(json.loads(text)) == inspection
    assert len(text) < 30_000


def test_numbers_of_the_ethanol_set(published_data: Path) -> None:
    inspection = inspect_files([published_data / "ethanol_rmd17_train.xyz"])
    assert (inspection.structures, inspection.atoms) == (1000, 9000)
    assert {z: count.atoms for z, count in inspection.elements.items()} == {1: 6000, 6: 2000, 8: 1000}
    assert inspection.compositions[0].formula == "C2H6O" and inspection.periodicity == {"FFF": 1000}
    forces = inspection.forces["forces"]
    frames = ase.io.read(published_data / "ethanol_rmd17_train.xyz", ":")
    raw = np.concatenate([atoms.get_forces() for atoms in frames])
    assert forces.rms == pytest.approx(np.sqrt((raw**2).mean()))
    assert sum(forces.histogram.counts) + forces.histogram.below + forces.histogram.above == 9000
    energies = np.array(
        [atoms.get_potential_energy() for atoms in ase.io.read(published_data / "ethanol_rmd17_train.xyz", ":")]
    )
    assert inspection.energies["energy"].spread == pytest.approx(energies.std() / 9, rel=1e-6)
    key = inspection.key("energy")
    assert key is not None and (key.count, key.structures, key.width, key.minimum) == (1000, 1000, 1, energies.min())
    assert said(inspection, "rank 1 of 3") == ["info"]


def test_coverage_leaves_isolated_atoms_out(published_data: Path) -> None:
    inspection = inspect_files([published_data / "solvents_xtb_200.xyz"])
    key = inspection.key("forces_xtb")
    assert key is not None and (key.count, key.structures, key.isolated) == (200, 200, 3)
    assert [atom.element for atom in inspection.isolated_atoms] == [1, 6, 8]
    assert inspection.isolated_atoms[0].values["energy_xtb"] == pytest.approx(-10.7072, abs=1e-4)
    assert said(inspection, "unusually large `forces_xtb`") == ["warning"]


def test_faults_of_the_content_become_findings(write: Write) -> None:
    frames = waters(40)
    frames[7] = water(None, 0.5)
    frames[9] = water("nan", 0.51)
    frames[11] = water("inf", 0.52)
    frames[13] = frames[12]
    frames[15] = water(-1000.0, 0.53)
    frames[17] = water(-2000.0).replace("0.96", "0.2")
    frames[19] = water(-2000.0).replace("0.93", "nan")
    inspection = inspect_files([write(frames)])
    by_text = {
        "known for 39 of 40": ("warning", [7]),
        "is NaN in 1 structures": ("warning", [9]),
        "is infinite": ("error", [11]),
        "repeat an earlier one": ("warning", [13]),
        "unusual `energy`": ("warning", [15]),
        "nearer to each other": ("warning", [17]),
        "not a sensible number": ("error", [19]),
    }
    for text, (severity, numbers) in by_text.items():
        matching = [finding for finding in inspection.findings if text in finding.message]
        assert [(finding.severity, finding.frames) for finding in matching] == [(severity, numbers)], text
    assert inspection.duplicates == [(12, 13)]
    severities = [finding.severity for finding in inspection.findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)


def test_the_same_structure_with_another_energy_is_noticed(write: Write) -> None:
    inspection = inspect_files([write([*waters(20), water(-1999.0, 0.0)])])
    assert said(inspection, "occurs with different `energy`") == ["warning"]


def test_calculator_results_are_keys_too(tmp_path: Path) -> None:
    frames = []
    for number in range(5):
        atoms = Atoms("Cu3", [[0, 0, 0], [2.2, 0, 0], [0, 2.3, 0.01 * number]], cell=[9, 9, 9], pbc=True)
        atoms.calc = SinglePointCalculator(
            atoms, energy=-1.0 * number, forces=np.full((3, 3), 0.1 * number), stress=np.arange(6.0) * number
        )
        frames.append(atoms)
    ase.io.write(tmp_path / "cu.traj", frames)
    inspection = inspect_files([tmp_path / "cu.traj"])
    places = {key.name: (key.place, key.per_atom, key.shape, key.unit) for key in inspection.keys}
    assert places["forces"] == ("results", True, [3], "eV/Å") and places["stress"] == ("results", False, [6], "eV/Å³")
    assert suggest_mapping(inspection)["energy"] == {
        "key": "energy",
        "unit": "eV",
        "quantity": "energy",
        "forces": {"key": "forces"},
        "stress": {"key": "stress"},
    }


@pytest.mark.parametrize(
    ("name", "per_atom", "width", "role"),
    [
        ("REF_energy", False, 1, "energy"),
        ("TotEnergy", False, 1, "energy"),
        ("dft_energy", False, 1, "energy"),
        ("REF_forces", True, 3, "forces"),
        ("force", True, 3, "forces"),
        ("REF_virials", False, 9, "virial"),
        ("REF_stress", False, 9, "stress"),
        ("REF_dipole", False, 3, "dipole"),
        ("REF_charges", True, 1, "charges"),
        ("Qs", True, 1, "property"),
        ("polarizability", False, 9, "polarizability"),
        ("alpha", False, 1, "property"),
        ("born_charges", True, 9, "property"),
        ("elec_energy_tol", False, 1, "property"),
        ("cut_off_energy", False, 1, "property"),
        ("config_weight", False, 1, "weight"),
        ("energy", False, 3, "property"),
        ("momenta", True, 3, "geometry"),
        ("total_charge", False, 1, "total charge"),
    ],
)
def test_roles_follow_name_and_shape(name: str, per_atom: bool, width: int, role: str) -> None:
    assert role_of(name, per_atom, "float", width).name == role


@pytest.mark.parametrize(
    ("width", "words"),
    [(1, "a number"), (3, "a vector"), (5, "l = 2"), (7, "l = 3"), (9, "a tensor"), (40, "40 numbers")],
)
def test_what_a_label_might_be_is_said_from_its_width(width: int, words: str) -> None:
    assert words in role_of("label", False, "float", width).reason


def test_a_polarisability_is_proposed_and_other_values_are_left_to_a_person(write: Write) -> None:
    extra = 'polarizability="1 0 0 0 1 0 0 0 2" quadrupole="1 2 3 4 5" gap='
    frames = [text.replace(" energy=", f" {extra}{number} energy=") for number, text in enumerate(waters(4))]
    mapping = suggest_mapping(inspect_files([write(frames)]))
    assert set(mapping) == {"energy", "mtt::polarizability"}
    assert mapping["mtt::polarizability"] == {"key": "polarizability", "type": {"cartesian": {"rank": 2}}}


def test_keys_with_the_same_stem_belong_together(write: Write) -> None:
    assert stem("energy_xtb") == stem("forces_xtb") == "xtb" and stem("REF_energy") == stem("REF_stress") == "ref"
    frames = [
        text.replace("forces:R:3", "REF_forces:R:3:forces_pbe:R:3:q:R:1")
        .replace(" energy=", f' REF_energy={-2000 - number} energy_pbe={-1990 - number} REF_dipole="0 {number} 1" x=')
        .replace("\nO 0.0 0.0 0.0", "\nO 0.0 0.0 0.0 1 2 3 4")
        .replace("\nH ", "\nH 1 0 2 0 " if number < 0 else "\nH ")
        for number, text in enumerate(waters(5))
    ]
    frames = ["\n".join(_seven(line) for line in text.splitlines()) + "\n" for text in frames]
    mapping = suggest_mapping(inspect_files([write(frames)]))
    assert mapping["energy"]["key"] == "REF_energy" and mapping["energy"]["forces"] == {"key": "REF_forces"}
    assert mapping["energy/pbe"]["forces"] == {"key": "forces_pbe"}
    assert mapping["mtt::dipole"]["type"] == {"cartesian": {"rank": 1}}


def _seven(line: str) -> str:
    """Rows of atoms with element, position and seven numbers."""
    parts = line.split()
    return " ".join([*parts[:4], "1", "2", "3", "4", "5", "6", "7"]) if parts[0] in ("O", "H") else line


def test_units_are_told_from_total_energies() -> None:
    counts, elements = np.array([[4.0, 1.0], [6.0, 2.0]]), [1, 6]
    hartree = np.array([-40.5, -79.8])
    assert total_energy_unit(hartree, counts, elements) == "Hartree"
    assert total_energy_unit(hartree * 27.2114, counts, elements) == "eV"
    assert total_energy_unit(hartree * 0.1, counts, elements) is None


def test_several_files_are_counted_through(write: Write) -> None:
    paths = [write(waters(3), "a.xyz"), write(waters(2), "b.xyz")]
    inspection = inspect_files(paths)
    assert [(file.structures, file.first) for file in inspection.files] == [(3, 0), (2, 3)]
    assert inspection.duplicates == [(0, 3), (1, 4)]


def test_an_inspection_can_be_watched_and_cancelled(write: Write) -> None:
    path = write(waters(120))
    seen: list[tuple[int, int]] = []
    inspect_files([path], progress=lambda done, total, message: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        inspect_files([path], cancelled=lambda: next(asked) > 50)


def test_what_cannot_be_read_is_an_error_with_its_place(write: Write) -> None:
    with pytest.raises(DataError, match="frame 2"):
        inspect_files([write([*waters(2), "3\nrest"])])
    with pytest.raises(ValueError, match="format"):
        Inspection.from_json({"format": 99})
