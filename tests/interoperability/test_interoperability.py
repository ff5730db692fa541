"""One trained model in the programs of others. The scripts beside this file do the same for any run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write

sys.path.insert(0, str(Path(__file__).parent))

import compare_with_ase
import compare_with_ipi
import compare_with_mtt
from comparing import REPOSITORY, Row

pytestmark = pytest.mark.slow

CHARGES = {1: 0.3, 6: 0.1, 8: -0.5}
TARGETS = {
    "energy": {"key": "my_energy", "unit": "eV", "forces": {"key": "my_forces"}, "virial": {"key": "my_virial"}},
    "charge": {"key": "my_charge", "unit": "e", "sample_kind": "atom"},
    "mtt::dipole": {"key": "my_dipole", "unit": "e*Angstrom", "type": {"cartesian": {"rank": 1}}},
    "mtt::polarizability": {"key": "my_polarizability", "type": {"cartesian": {"rank": 2}}},
    "mtt::quadrupole": {"key": "my_quadrupole", "type": {"spherical": {"irreps": [{"o3_lambda": 2, "o3_sigma": 1}]}}},
}
MODEL = {
    "r_max": 3.5,
    "hidden_irreps": "4x0e + 4x1o + 4x2e",
    "num_radial_basis": 4,
    "radial_MLP": [8],
    "MLP_irreps": "4x0e",
    "max_ell": 2,
    "correlation": 2,
}


def crystals(count: int) -> list[Atoms]:
    """Periodic, of different sizes, with made-up labels; no two atoms closer than 0.9 Å."""
    random, found = np.random.default_rng(4), []
    while len(found) < count:
        size = int(random.integers(3, 7))
        cell = 4.0 * np.eye(3) + random.normal(0, 0.3, (3, 3))
        atoms = Atoms(
            random.choice([1, 6, 8], size), scaled_positions=random.uniform(size=(size, 3)), cell=cell, pbc=True
        )
        if (atoms.get_all_distances(mic=True) + 9 * np.eye(size)).min() < 0.9:
            continue
        charges = np.array([CHARGES[number] for number in atoms.numbers])
        tensor = random.normal(size=(3, 3))
        atoms.arrays["my_charge"] = charges + 0.1 * random.normal(size=size)
        atoms.arrays["my_forces"] = random.normal(size=(size, 3))
        atoms.info["my_energy"] = float(-10 * size + random.normal())
        atoms.info["my_virial"] = (tensor + tensor.T).ravel()
        atoms.info["my_dipole"] = charges @ atoms.positions
        atoms.info["my_polarizability"] = (tensor @ tensor.T).ravel()
        atoms.info["my_quadrupole"] = random.normal(size=5)
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run in float64 and the file of its data."""
    folder = tmp_path_factory.mktemp("interoperability")
    write(folder / "data.xyz", crystals(12))
    options = {
        "seed": 3,
        "device": "cpu",
        "base_precision": 64,
        "architecture": {"model": MODEL, "training": {"num_epochs": 2, "batch_size": 4}},
        "training_set": {
            "systems": {"read_from": str(folder / "data.xyz"), "length_unit": "angstrom"},
            "targets": TARGETS,
        },
        "validation_set": 0.2,
    }
    (folder / "options.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    command = [sys.executable, "-m", "mace_app", "train", str(folder / "options.yaml"), "-o", str(folder / "run")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "run", folder / "data.xyz"


def all_agree(rows: list[Row], labels: set[str]) -> None:
    print("\n".join(str(row) for row in rows))
    assert {row.label for row in rows} == labels
    assert all(row.magnitude > 1e-5 for row in rows)
    assert [str(row) for row in rows if not row.agrees] == []


LABELS = {*TARGETS, "energy.forces", "energy.stress"}


def test_ase_gives_our_numbers_for_every_target(trained: tuple[Path, Path]) -> None:
    all_agree(compare_with_ase.compare(*trained), LABELS)


def test_the_driver_of_ipi_gives_our_energy_forces_and_stress(trained: tuple[Path, Path]) -> None:
    driver = compare_with_ipi.driver()
    if driver is None:
        pytest.skip(
            "there is no i-pi-driver-py beside this Python; `pip install ipi`, or set MACE_APP_IPI_DRIVER to it"
        )
    all_agree(compare_with_ipi.compare(*trained, driver), {"energy", "energy.forces", "energy.stress"})


def test_metatrain_accepts_the_file_and_finds_our_errors(trained: tuple[Path, Path]) -> None:
    mtt = compare_with_mtt.program()
    if mtt is None:
        pytest.skip("there is no mtt on the path; install metatrain elsewhere and set MACE_APP_MTT to its program")
    all_agree(
        compare_with_mtt.compare(*trained, mtt), {f"{label} {kind}" for label in LABELS for kind in ("mae", "rmse")}
    )
