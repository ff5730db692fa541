"""A process that knows nothing of this program and answers for an exported file.

It is started before there is a file, since its imports take as long as the file takes to be made.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import torch

from mace_app.export.errors import ExportRefused

_TIMEOUT = 900


class FreshProcess:
    """Runs ``script`` of this package, which imports what it needs and waits to be asked once. Use it in a ``with``,
    whose end ends the process, asked or not.

    Of the threads that torch may use here it gets one half: two processes that both use all cores wait for each other.
    """

    def __init__(self, script: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="mace-studio-export-")
        self.folder = Path(self._directory.name)
        self._said: IO[str] = (self.folder / "said.txt").open("w+", encoding="utf-8", errors="replace")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["CUDA_VISIBLE_DEVICES"] = ""
        threads = torch.get_num_threads()
        environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(max(1, threads - threads // 2))
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name(script))],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            text=True,
            # A Ctrl-C or a stop asks the training to finish, not this check to die. It stays in a worker's session, so
            # that it is found and ended when the worker was killed.
            process_group=0,
        )

    def __enter__(self) -> "FreshProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._said.close()
        self._directory.cleanup()

    def answers(self) -> dict[str, np.ndarray]:
        """What the script says of ``request.json`` and ``structures.npz`` in ``folder``; ExportRefused, with its last
        words, if it says nothing."""
        try:
            self._process.communicate(input=f"{self.folder}\n", timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise ExportRefused(
                f"The exported file was loaded in a fresh process, which gave no answer within {_TIMEOUT} s."
            ) from error
        if self._process.returncode != 0:
            self._said.seek(0)
            lines = self._said.read().strip().splitlines() or [f"it ended with code {self._process.returncode}"]
            raise ExportRefused(f"The exported file could not be run in a fresh process: {lines[-1]}")
        with np.load(self.folder / "answers.npz") as found:
            return dict(found)


@contextmanager
def half_the_threads() -> Iterator[None]:
    """For our own answers, while a ``FreshProcess`` uses the other half."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
