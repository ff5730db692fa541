"""Threads that prepare batches ahead."""

import threading
import time
from contextlib import closing

import pytest
import torch

from mace_app.training.loading import prepared_ahead, worker_count


def test_the_order_is_that_of_the_items_however_long_each_takes():
    def slow_if_even(number):
        time.sleep(0.01 * (number % 2 == 0))
        return number * number

    for workers in (0, 1, 3):
        assert list(prepared_ahead(range(9), slow_if_even, workers)) == [number**2 for number in range(9)]


def test_batches_are_prepared_ahead_in_other_threads_but_not_all_at_once():
    done, threads = [], set()

    def prepare(number):
        threads.add(threading.current_thread())
        done.append(number)
        return number

    with closing(prepared_ahead(range(50), prepare, 2)) as batches:
        next(batches)
        deadline = time.monotonic() + 10
        while len(done) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert 2 <= len(done) <= 3
    assert threading.main_thread() not in threads
    threads.clear()
    list(prepared_ahead(range(3), prepare, 0))
    assert threads == {threading.main_thread()}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_wrong_in_a_thread_is_raised_where_the_batch_is_used(workers):
    def prepare(number):
        if number == 3:
            raise ValueError("structure 3 is damaged")
        return number

    batches = prepared_ahead(range(50), prepare, workers)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="structure 3 is damaged"):
        next(batches)


def test_stopping_early_waits_for_no_more_than_what_is_being_prepared():
    started = []

    def slow(number):
        started.append(number)
        time.sleep(0.1)
        return number

    before = threading.active_count()
    batches = prepared_ahead(range(100), slow, 2)
    next(batches)
    start = time.monotonic()
    batches.close()
    assert time.monotonic() - start < 2
    assert len(started) <= 4
    assert threading.active_count() == before


def test_left_open_it_takes_only_cores_that_the_training_leaves_free(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert worker_count(None, torch.device("cpu")) == 0
    assert worker_count(None, torch.device("cuda")) == 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert worker_count(None, torch.device("cpu")) == 1
    assert worker_count(5, torch.device("cpu")) == 5
    assert worker_count(0, torch.device("cuda")) == 0
