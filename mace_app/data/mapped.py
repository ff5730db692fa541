"""Arrays mapped from files, of which only so much stays in memory."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pages that have been read count as memory of the process until they are given back, which is done where they are more
# than so many bytes; they then still lie in the system's cache.
MOST_BYTES = 128 * 2**20
_STATM = Path("/proc/self/statm")


class MappedFiles:
    """Maps arrays, and gives their pages back from time to time, which changes no value, whatever thread reads."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []
        self._others = _of_files()  # mostly the libraries of the process

    def load(self, path: Path) -> NDArray[Any]:
        """The array of a ``.npy`` file; one without rows can't be mapped and is read."""
        if not _has_rows(path):
            return np.asarray(np.load(path, allow_pickle=False))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._maps.append(array._mmap)
        return np.asarray(array.view(np.ndarray))  # slicing a memmap costs several times as much

    def read(self) -> None:
        """To be called after a part of the arrays was read."""
        if _of_files() - self._others > MOST_BYTES:
            self.give_back()
            self._others = _of_files()

    def give_back(self) -> None:
        """The arrays stay as they are; what is read next comes from the system's cache or the disk."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)


def _of_files() -> int:
    """Bytes of mapped files in the memory of this process; 0 where the system doesn't tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[2]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0


def _has_rows(path: Path) -> bool:
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    return bool(shape[0] > 0)
