"""Batches prepared ahead of their use, in threads."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
MOST_AUTOMATIC = 2


def worker_count(asked: int | None, device: torch.device) -> int:
    """``asked``, or as many threads as there are cores that the training leaves free, at most two."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = torch.get_num_threads() if device.type == "cpu" else 1
    return max(0, min(MOST_AUTOMATIC, cores - busy))


def prepared_ahead(
    items: Iterable[Item], prepare: Callable[[Item], Prepared], workers: int
) -> Generator[Prepared, None, None]:
    """``prepare`` of each item, in order; with ``workers`` threads the next ones are prepared meanwhile.

    What ``prepare`` raises is raised here, when its turn comes. Close the generator to stop early: what is being
    prepared at that moment is waited for (one batch a thread), the rest is dropped.
    """
    if workers == 0:
        for item in items:
            yield prepare(item)
        return
    with_threads = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    try:
        waiting: deque[Future[Prepared]] = deque()
        for item in items:
            waiting.append(with_threads.submit(prepare, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        with_threads.shutdown(wait=True, cancel_futures=True)
