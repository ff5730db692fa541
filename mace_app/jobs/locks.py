"""Locks between processes, held by the operating system: whoever dies lets go."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileLock:
    """An exclusive lock on a file. The file stays; the lock is gone when the holder releases it or dies.

    Every holder opens the file anew, so two threads of one process exclude each other too. The descriptor is not
    inherited by started programs.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def acquire(self, patience: float = 0.0) -> bool:
        """Try for ``patience`` seconds; False when another one holds the lock."""
        deadline = time.monotonic() + patience
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.02)
            except BaseException:
                os.close(descriptor)
                raise
            else:
                if _is_at(descriptor, self.path):
                    self._descriptor = descriptor
                    return True
                os.close(descriptor)  # the file was removed while we waited: what we hold excludes nobody

    def held(self) -> bool:
        """False also when somebody removed the file, so that another one may hold a lock of its name."""
        return self._descriptor is not None and _is_at(self._descriptor, self.path)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` for the block; waits as long as it takes (holders are brief)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
