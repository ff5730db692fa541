"""Processes that make chunks of blocks, in the order of the blocks.

They are programs of their own that read requests from their input until it ends, so none outlives whoever started it,
however that ends; and, unlike those of ``multiprocessing``, they never import the program that called us.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mace_app.data.blocks import Block
from mace_app.data.chunks import Chunk, ChunkMaker, Task
from mace_app.data.errors import DataError

WORTH_STARTING = (
    16 << 20
)  # bytes of extended xyz; one process takes two to five seconds for them, and half a one to start
MOST_PROCESSES = 8  # more would wait for the one that writes; each takes about 60 MB
_AHEAD = 2  # blocks for each process
Request = tuple[Block, Collection[int] | None]


def processes_for(paths: Collection[Path]) -> int:
    """How many processes are worth starting for files; 1 for none."""
    if sum(path.stat().st_size for path in paths if path.exists()) < WORTH_STARTING:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_PROCESSES)


class Crew:
    """``processes`` that work on one task; they end with the block of a ``with`` statement."""

    def __init__(self, task: Task, processes: int) -> None:
        self._path = Path(task.dataset.systems.read_from)
        self._all = [_start(task) for _ in range(processes)]
        self._free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for process in self._all:
            self._free.put(process)
        self._threads = ThreadPoolExecutor(processes, "chunks")

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._all:
            process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._all:
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                with suppress(OSError):  # a request may wait in the buffer of a process that is gone
                    stream.close()
            process.wait()

    def chunks(self, requests: Iterable[Request]) -> Iterator[tuple[Block, Chunk]]:
        """One for each block, with the block; raises what making it raised, in the order of the blocks.

        Nor does an error of ``requests`` come before those of the blocks before it.
        """
        waiting: deque[tuple[Block, Future[Chunk]]] = deque()
        source = iter(requests)
        fault: Exception | None = None
        ended = False
        while waiting or not ended:
            while not ended and len(waiting) < _AHEAD * len(self._all):
                try:
                    block, chosen = next(source)
                except StopIteration:
                    ended = True
                except Exception as error:  # noqa: BLE001 - raised below, in its turn
                    ended, fault = True, error
                else:
                    waiting.append((block, self._threads.submit(self._ask, block, chosen)))
            if waiting:
                block, future = waiting.popleft()
                yield block, future.result()
        if fault is not None:
            raise fault

    def _ask(self, block: Block, chosen: Collection[int] | None) -> Chunk:
        process = self._free.get()
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump((block, chosen), process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise DataError(
                f"{self._path}: the process that read the frames from {block.first} on ended unexpectedly (status "
                f"{process.wait()}), perhaps for want of memory. Start again; what was prepared is kept."
            ) from None
        finally:
            self._free.put(process)  # also one that is gone: who gets it learns so, and nobody waits for ever
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Chunk)
        return answer


def _start(task: Task) -> "subprocess.Popen[bytes]":
    package_parent = str(Path(__file__).resolve().parents[2])
    program = f"import sys; sys.path.insert(0, {package_parent!r}); from mace_app.data.crew import serve; serve()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    pickle.dump(task, process.stdin, pickle.HIGHEST_PROTOCOL)  # fits into the pipe, or waits until it is read
    process.stdin.flush()
    return process


def serve() -> None:
    """What a process of a crew does: a task from standard input, then a chunk for each request there until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nobody's print gets among the answers
    with suppress(BrokenPipeError, EOFError):
        maker = ChunkMaker(pickle.load(requests))
        while True:
            block, chosen = pickle.load(requests)
            answer = _answer(maker, block, chosen)
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
    os._exit(0)  # whoever asked is gone, and with it the pipe that is to be flushed


def _answer(maker: ChunkMaker, block: Block, chosen: Collection[int] | None) -> Any:
    try:
        return maker(block.read(), chosen)
    except Exception as error:  # noqa: BLE001 - raised where the answer is read
        return error
