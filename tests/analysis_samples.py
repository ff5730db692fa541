"""Analyses with known errors, without any model."""

from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mace_app.analysis import Analysis, AnalysisInfo, Label, Structures
from mace_app.options import TargetInfo

ENERGY = TargetInfo("energy", "energy", "eV", has_forces=True)


def made_up(
    structures: int = 200,
    atoms: int = 9,
    seed: int = 0,
    groups: tuple[str, ...] = ("warm", "cold"),
    elements: tuple[int, ...] = (1, 6, 8),
    periodic: bool = False,
    splits: tuple[str, ...] = ("training", "validation"),
) -> Analysis:
    """Energies off by about 1 meV/atom and forces by about 30 meV/Å, all alike; energy and forces only."""
    random = np.random.default_rng(seed)
    n_atoms = random.integers(max(1, atoms - 2), atoms + 3, structures)
    total = int(n_atoms.sum())
    numbers = random.choice(elements, total)
    forces = random.normal(0, 1.0, (total, 3))
    energy = -3.0 * n_atoms + random.normal(0, 0.1, structures) * n_atoms
    first = np.concatenate([[0], np.cumsum(n_atoms)])
    formulas = [_formula(numbers[first[n] : first[n + 1]]) for n in range(structures)]
    table = Structures(
        split=np.array([splits[n * len(splits) // structures] for n in range(structures)], dtype=np.str_),
        dataset=np.full(structures, "data.xyz"),
        frame=np.arange(structures),
        group=np.array([groups[n % len(groups)] for n in range(structures)], dtype=np.str_),
        formula=np.array(formulas, dtype=np.str_),
        n_atoms=n_atoms,
        cell=np.broadcast_to(np.eye(3) * (8.0 if periodic else 0.0), (structures, 3, 3)).copy(),
        pbc=np.full((structures, 3), periodic),
        map=random.normal(size=(structures, 2)),
        uncertainty=np.full(structures, np.nan),
    )
    return Analysis(
        AnalysisInfo(
            model={"kind": "run", "id": "run", "which": "best", "name": "Made up", "epoch": 10},
            data=[{"name": "data", "path": "data.xyz", "sha256": "0" * 64, "structures": structures}],
            targets={"energy": ENERGY},
            length_unit="angstrom",
            created="2025-01-31T12:00:00+00:00",
        ),
        table,
        numbers,
        random.normal(0, 2.0, (total, 3)),
        {
            "energy": Label(
                "energy", "eV", False, True, energy[:, None],
                (energy + 0.001 * n_atoms * random.normal(size=structures))[:, None], -2.9 * n_atoms,
            ),
            "energy.forces": Label(
                "energy.forces", "eV/Å", True, False, forces, forces + 0.03 * random.normal(size=forces.shape)
            ),
        },
    )  # fmt: skip


def _formula(numbers: Any) -> str:
    kinds, counts = np.unique(numbers, return_counts=True)
    return "".join(
        f"{chemical_symbols[kind]}{count if count > 1 else ''}" for kind, count in zip(kinds, counts, strict=True)
    )
