"""Batches limited by structures and atoms: nothing is lost, bounds hold, the same every time."""

import itertools

import numpy as np
import pytest

from mace_app.training.sampling import BatchLimits, EpochOrder, in_order, pack


def sizes_of(batches, atoms):
    return [int(atoms[batch].sum()) for batch in batches]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_sizes_and_bounds_every_structure_comes_once_and_no_limit_is_exceeded(seed):
    random = np.random.default_rng(seed)
    atoms = random.integers(1, 40, size=int(random.integers(1, 120)))
    most = None if seed % 4 == 0 else int(random.integers(5, 90))
    fewest = None if seed % 3 == 0 else int(random.integers(1, most or 60))
    limits = BatchLimits(int(random.integers(1, 9)), fewest, most)
    batches = pack(random.permutation(len(atoms)), atoms, limits)
    assert sorted(np.concatenate(batches)) == list(range(len(atoms)))
    for batch, size in zip(batches, sizes_of(batches, atoms), strict=True):
        assert 1 <= len(batch) <= limits.structures
        assert most is None or size <= most or len(batch) == 1
    for one, two in itertools.pairwise(batches):
        if fewest is not None and min(atoms[one].sum(), atoms[two].sum()) < fewest:
            joined = np.concatenate([one, two])
            assert not limits.hold(len(joined), int(atoms[joined].sum())), "these two could be one batch"


def test_without_bounds_batches_are_cut_as_ever():
    atoms = np.full(10, 7)
    assert [list(batch) for batch in pack(np.arange(10), atoms, BatchLimits(4))] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_batch_is_closed_before_it_would_exceed_the_bound_and_a_giant_is_alone():
    atoms = np.array([4, 4, 4, 50, 4, 4])
    batches = pack(np.arange(6), atoms, BatchLimits(16, None, 10))
    assert [list(batch) for batch in batches] == [[0, 1], [2], [3], [4, 5]]


def test_a_small_last_batch_is_filled_from_its_neighbour_which_keeps_enough():
    batches = pack(np.arange(9), np.full(9, 10), BatchLimits(4, 20))
    assert [len(batch) for batch in batches] == [4, 3, 2]


def test_a_batch_that_nobody_can_help_stays_small_and_is_trained_on():
    atoms = np.array([3, 3, 3, 3, 1, 9])  # cut as 12, 10: all have enough
    assert sizes_of(pack(np.arange(6), atoms, BatchLimits(4, 6, 12)), atoms) == [12, 10]
    atoms = np.array([6, 5, 2, 6, 2])  # cut as 6, 7, 8: none can give without falling below the bound itself
    assert sizes_of(pack(np.arange(5), atoms, BatchLimits(3, 8, 10)), atoms) == [6, 7, 8]


def test_what_the_bounds_can_not_hold_is_said():
    order = EpochOrder([3] * 8 + [50], BatchLimits(2, 20, 40), seed=1)
    large, small = order.warnings()
    assert "1 of 9 structures have more than 40 atoms" in large and "50" in large
    assert "4 of 5 batches have fewer than 20 atoms" in small
    assert EpochOrder([3] * 8, BatchLimits(2, 6, 40), seed=1).warnings() == []


def test_packing_depends_on_seed_and_epoch_alone():
    atoms = np.random.default_rng(0).integers(1, 30, 50)

    def batches(epoch, seed=3):
        return [list(batch) for batch in EpochOrder(atoms, BatchLimits(8, 20, 60), seed).batches(epoch)]

    assert batches(5) == batches(5)
    assert batches(5) != batches(6)
    assert batches(5) != batches(5, seed=4)


def test_the_last_step_of_an_epoch_takes_the_batches_that_are_left():
    steps = EpochOrder([3] * 9, BatchLimits(2), seed=0, accumulate=2).steps(1)
    assert [[len(batch) for batch in step] for step in steps] == [[2, 2], [2, 2], [1]]


def test_validation_leaves_out_nothing_whatever_the_bound():
    atoms = [1, 100, 2, 3, 90]
    batches = list(in_order(atoms, 2, most_atoms=4))
    assert [list(batch) for batch in batches] == [[0], [1], [2], [3], [4]]
    assert [list(batch) for batch in in_order(atoms, 2, most_atoms=5)] == [[0], [1], [2, 3], [4]]


def test_batches_are_joined_once_one_has_given_something_away():
    atoms = np.array([6, 11, 1, 1])  # cut as 6, 11 + 1 and 1: the second gives its 1 to the first and has room again
    assert [list(batch) for batch in pack(np.arange(4), atoms, BatchLimits(2, 8, 15))] == [[0, 2], [1, 3]]
