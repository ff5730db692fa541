"""Structures and graphs for tests of the engine, built with ASE alone and so independent of ``mace_app.data``."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list

from mace_app.model import Batch, MaceModel, ModelConfig
from mace_app.options import ModelHypers, TargetInfo

SMALL = {
    "r_max": 3.5,
    "hidden_irreps": "4x0e + 4x1o",
    "max_ell": 2,
    "correlation": 2,
    "num_radial_basis": 4,
    "radial_MLP": [8],
    "MLP_irreps": "4x0e",
}
ENERGY = TargetInfo("energy", quantity="energy", unit="eV", has_forces=True, has_stress=True)
DIPOLE = TargetInfo("mtt::dipole", unit="e*angstrom", type={"cartesian": {"rank": 1}})
CHARGE = TargetInfo("charge", unit="e", sample_kind="atom")


def ethanol(seed: int = 0) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.positions += np.random.default_rng(seed).normal(0, 0.1, atoms.positions.shape)
    return atoms


def crystal(seed: int = 1) -> Atoms:
    """A cell smaller than the cutoff, sheared: every atom sees several images of itself."""
    atoms = bulk("C", "diamond", a=3.4)
    atoms.numbers = [6, 8]
    generator = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell @ (np.eye(3) + generator.normal(0, 0.05, (3, 3))), scale_atoms=True)
    atoms.positions += generator.normal(0, 0.1, atoms.positions.shape)
    return atoms


def slab(seed: int = 2) -> Atoms:
    """Periodic along a and b only."""
    generator = np.random.default_rng(seed)
    atoms = Atoms("CHOH", positions=generator.uniform(0, 2.8, (4, 3)), cell=[2.9, 3.1, 20.0], pbc=[True, True, False])
    atoms.positions[:, 2] += [0, 2.0, 4.0, 6.0]
    return atoms


def single_atom() -> Atoms:
    return Atoms("O", positions=[[0.3, 0.1, -0.2]])


def collate(
    structures: Sequence[Atoms], r_max: float, labels: Sequence[Mapping[str, np.ndarray]] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of ``GraphSet.collate``; ``labels`` holds for each structure the arrays of that structure alone."""
    parts: dict[str, list[np.ndarray]] = {}
    ptr = [0]
    for index, atoms in enumerate(structures):
        senders, receivers, shifts = neighbor_list("ijS", atoms, r_max)
        entries = {
            "numbers": atoms.numbers,
            "positions": atoms.positions,
            "cells": atoms.cell.array[None],
            "pbc": atoms.pbc[None],
            "structure": np.full(len(atoms), index),
            "senders": senders + ptr[-1],
            "receivers": receivers + ptr[-1],
            "shifts": shifts.astype(float).reshape(-1, 3),
            "edge_structure": np.full(len(senders), index),
        }
        if labels is not None:
            entries |= {f"label:{name}": np.asarray(value, dtype=float) for name, value in labels[index].items()}
        for name, value in entries.items():
            parts.setdefault(name, []).append(value)
        ptr.append(ptr[-1] + len(atoms))
    return {name: np.concatenate(values) for name, values in parts.items()} | {"ptr": np.array(ptr)}


class Graphs:
    """A small ``GraphSource``."""

    def __init__(
        self, structures: Sequence[Atoms], labels: Sequence[Mapping[str, np.ndarray]] | None = None, r_max: float = 3.5
    ) -> None:
        self.structures, self.labels, self.r_max = list(structures), labels, r_max

    def __len__(self) -> int:
        return len(self.structures)

    def collate(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        labels = None if self.labels is None else [self.labels[i] for i in indices]
        return collate([self.structures[i] for i in indices], self.r_max, labels)


def small_config(
    targets: Sequence[TargetInfo], atomic_types: Sequence[int] = (1, 6, 8), **hypers: object
) -> ModelConfig:
    return ModelConfig(ModelHypers(**{**SMALL, **hypers}), list(atomic_types), {t.name: t for t in targets}, 6.0)


def small_model(
    targets: Sequence[TargetInfo] = (ENERGY, DIPOLE),
    dtype: torch.dtype = torch.float64,
    atomic_types: Sequence[int] = (1, 6, 8),
    seed: int = 0,
    **hypers: object,
) -> MaceModel:
    torch.manual_seed(seed)
    return MaceModel(small_config(targets, atomic_types, **hypers), dtype)


def batch_of(model: MaceModel, *structures: Atoms) -> Batch:
    arrays = collate(structures, model.config.cutoff)
    return Batch.from_arrays(arrays, model.config.atomic_types, "cpu", model.dtype)


def predict(model: MaceModel, *structures: Atoms) -> dict[str, np.ndarray]:
    """Every label in physical units."""
    batch = batch_of(model, *structures)
    predictions = model.physical(batch, model(batch, model.labels))
    return {label: value.numpy() for label, value in predictions.items()}
