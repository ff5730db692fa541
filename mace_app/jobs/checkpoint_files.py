"""The header of a checkpoint, read without tensors, and what it says checked against the size of the file.

A safetensors file begins with the length of a JSON header (8 bytes, little endian); the header gives each tensor's
type, shape and place in the rest of the file, which the tensors fill without gaps.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from mace_app.files import atomic_open

LARGEST_HEADER = 100_000_000  # what the format allows
KEY = "mace_studio"
_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1,
    "U8": 1, "BOOL": 1,
}  # fmt: skip


class NoCheckpoint(ValueError):
    """Why a file is none of our checkpoints, in a few words."""


def checkpoint_header(path: Path) -> dict[str, Any]:
    """What our JSON in the header says; NoCheckpoint where the file is damaged or foreign."""
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
            raise NoCheckpoint("it is no safetensors file")
        block = stream.read(length)
    try:
        header = json.loads(block)
        own = json.loads(header["__metadata__"][KEY])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoCheckpoint("it is no checkpoint of MACE Studio") from None
    if not isinstance(own, dict) or not isinstance(own.get("epoch"), int):
        raise NoCheckpoint("it is no checkpoint of MACE Studio")
    _check_tensors({name: entry for name, entry in header.items() if name != "__metadata__"}, size - 8 - length)
    return own


def _check_tensors(entries: dict[str, Any], size: int) -> None:
    """Types, shapes and places fit each other and the file."""
    places = []
    for name, entry in entries.items():
        try:
            kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            whole = all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end))
            fits = whole and end - begin == math.prod(shape) * _BYTES[kind]
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise NoCheckpoint(f"its tensor {name!r} is not described as it lies there")
        places.append((begin, end))
    position = 0
    for begin, end in sorted(places):
        if begin != position:
            raise NoCheckpoint("its tensors overlap or leave gaps")
        position = end
    if position != size:
        raise NoCheckpoint("it was cut short, or is longer than it says")


def change_batches(path: Path, values: dict[str, Any]) -> None:
    """Let a checkpoint be gone on from with other batches: NoCheckpoint unless it was made at the end of an epoch.

    Within an epoch the steps done would not be the first ones of the new order. The tensors stay, byte for byte.
    """
    own = checkpoint_header(path)
    if own.get("step") != 0 or not all(name in own for name in values):
        raise NoCheckpoint("it was made in the middle of an epoch")
    with open(path, "rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        header["__metadata__"][KEY] = json.dumps({**own, **values}, allow_nan=False)
        block = json.dumps(header, separators=(",", ":")).encode()
        block += b" " * (-len(block) % 8)  # the format wants the tensors aligned
        with atomic_open(path) as target:
            target.write(len(block).to_bytes(8, "little") + block)
            shutil.copyfileobj(stream, target, 1 << 20)
