"""Neighbour lists agree with ASE's, whatever the periodicity."""

import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from mace_app.data.neighbours import Neighbours

PERIODICITIES = list(itertools.product([False, True], repeat=3))


def table(first: np.ndarray, second: np.ndarray, shifts: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(map(tuple, np.column_stack([first, second, shifts]).tolist()))


@pytest.mark.parametrize("pbc", PERIODICITIES)
@pytest.mark.parametrize("kind", ["larger than the cutoff", "much smaller than the cutoff", "no vector where open"])
def test_pairs_are_those_of_ase(pbc: tuple[bool, bool, bool], kind: str, random: np.random.Generator) -> None:
    cell = np.diag([6.0, 7.0, 8.0]) + random.normal(0, 0.5, (3, 3))
    if kind == "much smaller than the cutoff":
        cell *= 0.3
    positions = random.uniform(-1.5, 1.5, (5, 3)) @ cell  # also outside of the cell
    if kind == "no vector where open":
        cell[~np.array(pbc)] = 0.0
    atoms = Atoms("C5", positions, cell=cell, pbc=pbc)
    senders, receivers, shifts, distances = Neighbours(4.5)(positions, cell, np.array(pbc))
    assert table(senders, receivers, shifts) == table(*neighbor_list("ijS", atoms, 4.5))
    vectors = positions[receivers] - positions[senders] + shifts @ cell
    assert np.allclose(np.linalg.norm(vectors, axis=1), distances) and (distances < 4.5).all()
    assert (np.diff(receivers) >= 0).all()


def test_the_cutoff_is_strict_and_lonely_atoms_have_no_pairs() -> None:
    nothing = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    assert len(Neighbours(1.0)(np.array([[0.0, 0, 0], [1.0, 0, 0]]), *nothing)[0]) == 0
    assert len(Neighbours(1.0)(np.array([[0.0, 0, 0], [0.99, 0, 0]]), *nothing)[0]) == 2
    assert Neighbours(1.0)(np.zeros((1, 3)), *nothing)[2].shape == (0, 3)


@pytest.mark.parametrize("length", [30.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("place", ["along one axis", "diagonal", "above a slab", "in a long cell", "in a huge cell"])
def test_emptiness_costs_nothing(place: str, length: float) -> None:
    positions, cell, pbc = np.array([[0.0, 0, 0], [0.4, 0, 0], [0.0, 0, 0]]), np.zeros((3, 3)), np.zeros(3, dtype=bool)
    if place == "along one axis":
        positions[2, 0] = length
    elif place == "diagonal":
        positions[2] = length
    elif place == "above a slab":
        positions[2, 2], cell, pbc = length, np.diag([3.0, 3.0, 0.0]), np.array([True, True, False])
    else:
        positions[2] = 1.5
        cell = np.diag([length, 3.0, 3.0]) if place == "in a long cell" else np.eye(3) * length
        pbc = np.ones(3, dtype=bool)
    begun = time.perf_counter()
    senders, receivers, shifts, distances = Neighbours(0.5)(positions, cell, pbc)
    assert list(zip(senders, receivers, strict=True)) == [(1, 0), (0, 1)] and not shifts.any()
    assert np.allclose(distances, 0.4)
    assert time.perf_counter() - begun < 10.0


def test_the_neighbour_list_does_not_wait_for_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from mace_app.data.neighbours import Neighbours\n"
        "Neighbours(2.0)(np.eye(3), np.zeros((3, 3)), np.zeros(3, dtype=bool))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
