"""What is timed: two data sets, four models, the hyperparameters that all programs share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.neighborlist import neighbor_list


@dataclass(frozen=True)
class DataSet:
    """``file`` in the folder of data; the first 100 structures, 80 of them for training."""

    name: str
    file: str
    forces: str
    virial: str | None


ETHANOL = DataSet("ethanol", "ethanol_rmd17_train.xyz", "forces", None)
CARBON = DataSet("carbon", "carbon_virial_100.xyz", "force", "virial")


@dataclass(frozen=True)
class Setting:
    """Everything here is equal for all programs."""

    data: DataSet
    hidden_irreps: str
    epochs: int
    precision: int = 32
    r_max: float = 5.0
    batch_size: int = 8
    threads: int = 1
    seed: int = 1
    num_radial_basis: int = 8
    num_cutoff_basis: int = 5
    max_ell: int = 3
    correlation: int = 3
    num_interactions: int = 2

    @property
    def name(self) -> str:
        return f"{self.data.name}, {self.hidden_irreps}, float{self.precision}"


SETTINGS = [
    Setting(ETHANOL, "32x0e + 32x1o", 12),
    Setting(CARBON, "32x0e + 32x1o", 10),
    Setting(ETHANOL, "32x0e + 32x1o", 8, precision=64),
    Setting(ETHANOL, "64x0e", 12),
    Setting(ETHANOL, "128x0e + 128x1o + 128x2e", 3),
]


@dataclass(frozen=True)
class Files:
    training: Path
    validation: Path
    avg_num_neighbors: float


def make_files(data: DataSet, source: Path, folder: Path, r_max: float) -> Files:
    """Both sets with `REF_energy` (eV), `REF_forces` (eV/Å) and `REF_virials` (eV), which all programs read alike."""
    frames = read(source / data.file, ":100")
    order = np.random.default_rng(0).permutation(len(frames))
    plain = [_plain(frames[index], data) for index in order]
    training, validation = folder / f"{data.name}_training.xyz", folder / f"{data.name}_validation.xyz"
    write(training, plain[:80], format="extxyz")
    write(validation, plain[80:], format="extxyz")
    neighbours = sum(len(neighbor_list("i", atoms, r_max)) for atoms in plain[:80])
    return Files(training, validation, neighbours / sum(len(atoms) for atoms in plain[:80]))


def _plain(atoms: Atoms, data: DataSet) -> Atoms:
    periodic = data.virial is not None
    result = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell if periodic else None, pbc=periodic)
    result.info["REF_energy"] = atoms.info["energy"] if atoms.calc is None else atoms.get_potential_energy()
    result.arrays["REF_forces"] = atoms.arrays[data.forces] if data.forces in atoms.arrays else atoms.get_forces()
    if data.virial is not None:
        result.info["REF_virials"] = np.asarray(atoms.info[data.virial]).reshape(9)
    return result
