"""Real structures with planted faults in their labels: what a person has to find in them, and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read, write
from scipy.spatial.transform import Rotation

SAMPLE = Path(__file__).resolve().parents[1] / "docs" / "samples" / "ethanol.xyz"
SHIFT = 0.12  # eV/atom


@dataclass(frozen=True)
class Planted:
    """Numbers of frames in ``path``: two whose energies are swapped, one that is another one turned, with another
    energy; and the group whose energies are shifted. Forces on oxygen are noisy everywhere."""

    path: Path
    swapped: tuple[int, int]
    twins: tuple[int, int]
    shifted: str


def write_planted(path: Path, seed: int = 0) -> Planted:
    """The ethanol sample with ``energy_dft`` and ``forces_dft`` in eV and eV/Å."""
    random = np.random.default_rng(seed)
    frames = []
    for number, atoms in enumerate(atoms for atoms in read(SAMPLE, ":") if len(atoms) > 1):
        frame = Atoms(atoms.numbers, atoms.positions)
        frame.info["config_type"] = ("crystal", "slab", "wire")[number % 3]
        frame.info["energy_dft"] = float(atoms.info["REF_energy"])
        frame.arrays["forces_dft"] = np.array(atoms.arrays["REF_forces"])
        frames.append(frame)
    energies = np.array([frame.info["energy_dft"] for frame in frames])
    slabs = [number for number, frame in enumerate(frames) if frame.info["config_type"] == "slab"]
    low, high = min(slabs, key=energies.__getitem__), max(slabs, key=energies.__getitem__)
    frames[low].info["energy_dft"], frames[high].info["energy_dft"] = energies[high], energies[low]
    for frame in frames:
        if frame.info["config_type"] == "wire":
            frame.info["energy_dft"] += SHIFT * len(frame)
        oxygen = frame.numbers == 8
        frame.arrays["forces_dft"][oxygen] += random.normal(0, 1.0, (oxygen.sum(), 3))
    turn = Rotation.random(rng=random).as_matrix()
    twin = frames[3].copy()
    twin.positions = frames[3].positions @ turn.T + 1.0
    twin.arrays["forces_dft"] = frames[3].arrays["forces_dft"] @ turn.T
    twin.info["energy_dft"] += 1.0
    frames.append(twin)
    write(path, frames, format="extxyz")
    return Planted(path, (low, high), (3, len(frames) - 1), "wire")


def options(planted: Planted, **training: Any) -> dict[str, Any]:
    """A small model that learns in seconds what is there to learn."""
    return {
        "device": "cpu",
        "base_precision": 32,
        "seed": 1,
        "architecture": {
            "model": {
                "r_max": 4.0, "hidden_irreps": "16x0e + 16x1o", "num_radial_basis": 6, "max_ell": 2, "correlation": 2,
                "radial_MLP": [32, 32],
            },
            "training": {"num_epochs": 10, "batch_size": 8, "learning_rate": 0.02, **training},
        },
        "training_set": {
            "systems": {"read_from": str(planted.path), "length_unit": "angstrom"},
            "targets": {
                "energy": {"key": "energy_dft", "unit": "eV", "forces": {"key": "forces_dft"}, "stress": False}
            },
        },
        "validation_set": 0.2,
        "test_set": 0.0,
        "final_eval": False,
    }  # fmt: skip
