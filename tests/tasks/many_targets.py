"""Molecules with a label of every kind, from formulas of a line each, and options that train on all of them."""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from small_data import labelled

CHARGES = {1: 0.4, 6: -0.2, 8: -0.8}
SHAPES = {
    "water": Atoms("OH2", [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]]),
    "formaldehyde": Atoms("COH2", [[0, 0, 0], [0, 0, 1.2], [0, 0.94, -0.54], [0, -0.94, -0.54]]),
    "hydroxyl": Atoms("OH", [[0, 0, 0], [0.1, 0.3, 0.9]]),
}


def quadrupole(charges: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Σ q r²C_2m in the order m = −2…2."""
    x, y, z = positions.T
    root = np.sqrt(3)
    harmonics = [root * x * y, root * y * z, z**2 - (x**2 + y**2) / 2, root * x * z, root / 2 * (x**2 - y**2)]
    return np.stack(harmonics) @ charges


def labels(atoms: Atoms) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the structure, and of its atoms."""
    vectors = atoms.positions[None] - atoms.positions[:, None]
    lengths = np.linalg.norm(vectors, axis=-1) + 1e9 * np.eye(len(atoms))
    coordination = np.exp(-(lengths**2)).sum(axis=1)
    charges = np.array([CHARGES[z] for z in atoms.numbers]) + 0.5 * coordination
    centred = atoms.positions - atoms.positions.mean(axis=0)
    bonds = np.exp(-lengths)[..., None, None] * vectors[..., :, None] * vectors[..., None, :]
    polarizability = bonds.sum(axis=(0, 1)) + np.eye(3) * sum(0.5 + 0.1 * z for z in atoms.numbers)
    moment = quadrupole(charges, centred)
    energy, forces = labelled(atoms)
    grid = np.linspace(0, 1, 6)
    info = {
        "energy": energy,
        "dipole": charges @ centred,
        "alpha": polarizability,
        "quadrupole": moment,
        "multipoles": np.concatenate([[charges.sum()], moment]),
        "gap": 3.0 + coordination.mean(),
        "dos": np.exp(-((grid[:, None] - coordination) ** 2)).sum(axis=1),
    }
    arrays = {
        "forces": forces,
        "partial": charges,
        "born": (bonds.sum(axis=1) + charges[:, None, None] * np.eye(3)).reshape(-1, 9),
    }
    return info, arrays


def molecules(count: int, seed: int = 0) -> list[Atoms]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        shape = list(SHAPES.values())[number % len(SHAPES)]
        found.append(Atoms(shape.numbers, shape.positions + 0.15 * random.normal(size=(len(shape), 3))))
    return found


def write_molecules(path: Path, count: int, without: bool = True, seed: int = 0) -> Path:
    """``without``: every structure lacks one label, another for each, so that none is known everywhere."""
    frames = []
    for number, atoms in enumerate(molecules(count, seed)):
        info, arrays = labels(atoms)
        if without:
            keys = [*info, *arrays]
            gone = keys[number % len(keys)]
            info.pop(gone, None)
            arrays.pop(gone, None)
        frame = atoms.copy()
        frame.info = info
        for key, values in arrays.items():
            frame.set_array(key, values)
        frames.append(frame)
    ase.io.write(path, frames, format="extxyz")
    return path


def irreps(*pairs: tuple[int, int]) -> dict[str, Any]:
    return {"spherical": {"irreps": [{"o3_lambda": degree, "o3_sigma": sigma} for degree, sigma in pairs]}}


TARGETS: dict[str, dict[str, Any]] = {
    "energy": {"key": "energy", "unit": "eV", "forces": {"key": "forces"}},
    "mtt::dipole": {"key": "dipole", "unit": "e*angstrom", "type": {"cartesian": {"rank": 1}}},
    "mtt::alpha": {"key": "alpha", "unit": "angstrom^3", "type": {"cartesian": {"rank": 2}}},
    "mtt::born": {"key": "born", "unit": "e", "sample_kind": "atom", "type": {"cartesian": {"rank": 2}}},
    "mtt::quadrupole": {"key": "quadrupole", "unit": "e*angstrom^2", "type": irreps((2, 1))},
    "mtt::multipoles": {"key": "multipoles", "type": irreps((0, 1), (2, 1))},
    "charge": {"key": "partial", "unit": "e", "sample_kind": "atom"},
    "mtt::gap": {"key": "gap", "unit": "eV", "aggregate": "mean"},
    "mtt::dos": {"key": "dos", "num_subtargets": 6},
}


def options(data: Path, **training: Any) -> dict[str, Any]:
    return {
        "seed": 3,
        "device": "cpu",
        "base_precision": 64,
        "architecture": {
            "model": {
                "r_max": 3.0,
                "hidden_irreps": "6x0e + 6x1o + 6x2e",
                "num_radial_basis": 4,
                "radial_MLP": [8],
                "MLP_irreps": "6x0e",
                "max_ell": 2,
                "correlation": 2,
            },
            "training": {"num_epochs": 12, "batch_size": 4, "learning_rate": 0.02, **training},
        },
        "training_set": {"systems": {"read_from": str(data), "length_unit": "angstrom"}, "targets": TARGETS},
        "validation_set": 0.25,
    }
