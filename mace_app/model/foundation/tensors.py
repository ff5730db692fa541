"""Tensors and numbers from shells, with every bound checked before memory is touched."""

import math
from typing import Any

import numpy as np
import torch

from mace_app.model.foundation.archive import Archive
from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.shells import Shell, Stored, maker_name

_STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_UNTYPED = "torch.storage.UntypedStorage"
_DTYPES = {str(dtype): dtype for dtype in _STORAGES.values()}
_PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")
_MOST_AXES = 16
# Tensors may share numbers, but a model that consists of the same ones a thousand times only costs time.
_TIMES_THE_FILE = 8


def is_tensor(value: Any) -> bool:
    return maker_name(value) in _TENSORS + _PARAMETERS


class Tensors:
    """Makes tensors from the storages of one file, on the CPU wherever they were saved. Tensors that share a storage in
    the file share it here."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._bytes: dict[str, bytearray] = {}
        self._truths: dict[str, torch.Tensor] = {}
        self._left = _TIMES_THE_FILE * archive.size

    def read(self, value: Any, where: str) -> torch.Tensor:
        """The tensor that a shell describes; FoundationError, naming it by ``where``, if it is none or impossible."""
        for _ in range(4):  # a parameter around a tensor
            if maker_name(value) not in _PARAMETERS:
                break
            value = self._argument(value, 0, where)
        name = maker_name(value)
        if name not in _TENSORS:
            raise self._refused(where, f"is made by `{name or type(value).__name__}`, which is no tensor")
        storage = self._argument(value, 0, where)
        offset, sizes, strides = (self._argument(value, index, where) for index in (1, 2, 3))
        dtype = str(self._argument(value, 6, where)) if name.endswith("v3") else None
        return self._view(storage, offset, sizes, strides, dtype, where)

    def _argument(self, shell: Shell, index: int, where: str) -> Any:
        if not isinstance(shell.arguments, tuple) or len(shell.arguments) <= index:
            raise self._refused(where, "lacks a part of its description")
        return shell.arguments[index]

    def _view(self, storage: Any, offset: Any, sizes: Any, strides: Any, dtype: str | None, where: str) -> torch.Tensor:
        shape, steps = _lengths(sizes), _lengths(strides)
        if shape is None or steps is None or len(shape) != len(steps) or not _is_length(offset):
            raise self._refused(where, "has an impossible shape")
        data, kind = self._storage(storage, dtype, where)
        available = len(data) // kind.itemsize
        numel = math.prod(shape)
        last = offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True)) if numel else offset
        if last >= available + (numel == 0) or numel > max(available, 1):
            raise self._refused(where, f"reaches beyond the {available} numbers that the file holds for it")
        self._left -= numel * kind.itemsize
        if self._left < 0:
            raise self._refused(where, "is one more of its parts that are made of the same numbers")
        if numel == 0:
            return torch.empty(shape, dtype=kind)
        key = storage.key[2]
        if kind == torch.bool:
            if key not in self._truths:
                self._truths[key] = torch.frombuffer(data, dtype=torch.uint8) != 0
            flat = self._truths[key]
        else:
            flat = torch.frombuffer(data, dtype=kind, count=available)
        return torch.as_strided(flat, shape, steps, offset)

    def _storage(self, storage: Any, dtype: str | None, where: str) -> tuple[bytearray, torch.dtype]:
        key = storage.key if isinstance(storage, Stored) else None
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage" or not isinstance(key[2], str):
            raise self._refused(where, "names no part of the file")
        name, number = str(key[1]), key[4]
        kind = _DTYPES.get(dtype or "") if name == _UNTYPED else _STORAGES.get(name)
        if kind is None:
            raise self._refused(where, f"is of a kind that models of MACE don't hold (`{name[:60]}`)")
        wanted = number if name == _UNTYPED else number * kind.itemsize if _is_length(number) else None
        if wanted is None or not _is_length(wanted) or self._archive.size_of(key[2]) != wanted:
            raise self._refused(where, "claims another amount of numbers than the file holds for it")
        if key[2] not in self._bytes:
            self._bytes[key[2]] = bytearray(self._archive.storage(key[2]))
        return self._bytes[key[2]], kind

    def _refused(self, where: str, what: str) -> FoundationError:
        return FoundationError(
            f"`{self._archive.name}` is damaged or no model: `{where[:120]}` {what}. Download or copy it again."
        )


def number(value: Any) -> float | int | None:
    """A number of Python or a scalar of numpy; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if maker_name(value) not in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"):
        return None
    arguments = value.arguments
    if not isinstance(arguments, tuple) or len(arguments) != 2 or maker_name(arguments[0]) != "numpy.dtype":
        return None
    data = as_bytes(arguments[1])
    description = arguments[0].arguments
    kind = description[0] if isinstance(description, tuple) and description else None
    if data is None or kind not in ("f8", "f4", "i8", "i4") or len(data) != int(kind[1]):
        return None
    scalar: float | int = np.frombuffer(data, dtype=f"<{kind}")[0].item()
    return scalar


def as_bytes(value: Any) -> bytes | None:
    """Bytes, also as protocol 2 writes them: a text to be encoded as latin1."""
    if isinstance(value, bytes):
        return value
    if maker_name(value) != "_codecs.encode" or not isinstance(value.arguments, tuple):
        return None
    if len(value.arguments) != 2 or value.arguments[1] != "latin1" or not isinstance(value.arguments[0], str):
        return None
    try:
        return value.arguments[0].encode("latin1")
    except UnicodeEncodeError:
        return None


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _lengths(value: Any) -> tuple[int, ...] | None:
    """A shape: a tuple of numbers, or a ``torch.Size`` of one."""
    if maker_name(value) == "torch.Size" and isinstance(value.arguments, tuple) and len(value.arguments) == 1:
        value = value.arguments[0]
    if not isinstance(value, tuple | list) or len(value) > _MOST_AXES or not all(_is_length(item) for item in value):
        return None
    if math.prod(max(item, 1) for item in value) >= 2**62:
        return None
    return tuple(value)
