"""What is compared: the data, the split, and the hyperparameters that all programs share."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.neighborlist import neighbor_list

DATA_FILE = "ethanol_rmd17_train.xyz"


@dataclass(frozen=True)
class Setting:
    """Everything here is equal for all programs."""

    epochs: int = 20
    training: int = 950
    validation: int = 50
    seed: int = 1
    split_seed: int = 0
    r_max: float = 5.0
    hidden_irreps: str = "32x0e + 32x1o"
    max_ell: int = 3
    correlation: int = 3
    num_interactions: int = 2
    num_radial_basis: int = 8
    num_cutoff_basis: int = 5
    batch_size: int = 8
    learning_rate: float = 0.01
    weight_decay: float = 5e-7
    energy_weight: float = 1.0
    forces_weight: float = 100.0
    threads: int = 1

    def key(self, program: str, data: Path) -> str:
        """Names a result: equal settings on equal data share it."""
        content = json.dumps({"program": program, **asdict(self)}, sort_keys=True).encode()
        return hashlib.sha256(content + data.read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Split:
    training: Path
    validation: Path
    avg_num_neighbors: float


def make_split(data: Path, setting: Setting, folder: Path) -> Split:
    """Writes both sets as files with `REF_energy` (eV) and `REF_forces` (eV/Å), which all programs read alike."""
    frames = read(data, ":")
    if len(frames) < setting.training + setting.validation:
        raise SystemExit(f"{data} has {len(frames)} structures; {setting.training} + {setting.validation} are needed.")
    order = np.random.default_rng(setting.split_seed).permutation(len(frames))
    chosen = order[: setting.training + setting.validation]
    name = f"{setting.training}_{setting.validation}_{setting.split_seed}"
    split_folder = folder / f"split_{name}"
    split_folder.mkdir(parents=True, exist_ok=True)
    paths = split_folder / "training.xyz", split_folder / "validation.xyz"
    training = [plain(frames[index]) for index in chosen[: setting.training]]
    write(paths[0], training, format="extxyz")
    write(paths[1], [plain(frames[index]) for index in chosen[setting.training :]], format="extxyz")
    neighbours = sum(len(neighbor_list("i", atoms, setting.r_max)) for atoms in training)
    return Split(*paths, neighbours / sum(len(atoms) for atoms in training))


def plain(atoms: Atoms) -> Atoms:
    """Without the 50 Å box that the file writes around each molecule, which isn't periodic anyway."""
    result = Atoms(atoms.numbers, atoms.positions)
    result.info["REF_energy"] = atoms.get_potential_energy()
    result.arrays["REF_forces"] = atoms.get_forces()
    return result
