"""Small structures with labels of a made-up potential, and options for the smallest model that learns from them."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms

WATER = np.array([[0.0, 0.0, 0.0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]])


def labelled(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Pairs of energy (d − 1)²; forces to match."""
    vectors = atoms.positions[None] - atoms.positions[:, None]
    lengths = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
    energy = 0.5 * ((lengths - 1) ** 2).sum()
    forces = 2 * ((lengths - 1) / lengths)[..., None] * vectors
    return float(energy - 10 * len(atoms)), forces.sum(axis=1)


def frame(atoms: Atoms, forces: bool = True, energy: Any = None, key: str = "energy") -> str:
    """One structure as extended xyz."""
    own, gradient = labelled(atoms)
    columns = "species:S:1:pos:R:3" + (":forces:R:3" if forces else "")
    info = f'{key}={own if energy is None else energy} pbc="F F F"' if energy != "" else 'pbc="F F F"'
    lines = [str(len(atoms)), f"Properties={columns} {info}"]
    for symbol, position, force in zip(atoms.symbols, atoms.positions, gradient, strict=True):
        numbers = [*position, *force] if forces else position
        lines.append(f"{symbol} " + " ".join(f"{number:.12f}" for number in numbers))
    return "\n".join(lines) + "\n"


def waters(count: int, seed: int = 0, symbols: str = "OH2") -> list[Atoms]:
    random = np.random.default_rng(seed)
    return [Atoms(symbols, WATER + 0.1 * random.normal(size=(3, 3))) for _ in range(count)]


def write_waters(path: Path, count: int = 12, **frames: Any) -> Path:
    path.write_text("".join(frame(atoms, **frames) for atoms in waters(count)))
    return path


def options(data: Path, **training: Any) -> dict[str, Any]:
    return {
        "seed": 7,
        "device": "cpu",
        "base_precision": 64,
        "architecture": {
            "model": {
                "r_max": 3.0,
                "hidden_irreps": "4x0e + 4x1o",
                "num_radial_basis": 4,
                "radial_MLP": [8],
                "MLP_irreps": "4x0e",
                "max_ell": 1,
                "correlation": 2,
            },
            "training": {"num_epochs": 2, "batch_size": 4, **training},
        },
        "training_set": {
            "systems": str(data),
            "targets": {"energy": {"key": "energy", "unit": "eV", "forces": None}},
        },
        "validation_set": 0.25,
    }


def write_options(path: Path, value: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(value))
    return path
