"""Pickles and archives as an attacker, or an accident, would write them."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Call:
    """Pickles as a call of ``function`` with ``arguments``, which an ordinary unpickler would make."""

    def __init__(self, function: Callable[..., Any] | str, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def archive(description: bytes, storages: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """What ``torch.save`` would have made of a pickle and its storages."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as file:
        file.writestr("archive/data.pkl", description)
        file.writestr("archive/byteorder", b"little")
        for key, data in (storages or {}).items():
            file.writestr(f"archive/data/{key}", data)
        file.writestr("archive/version", b"3\n")
    return stream.getvalue()


def changed_description(model: Path, change: Callable[[bytes], bytes]) -> bytes:
    """An archive like ``model`` with another pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, change(data) if info.filename.endswith("data.pkl") else data)
    return stream.getvalue()


def global_call(module: str, name: str, argument: str) -> bytes:
    """``module.name(argument)`` written out, in protocol 4."""
    parts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    text = argument.encode()
    return b"\x80\x04" + parts + b"\x93X" + struct.pack("<I", len(text)) + text + b"\x85R."


def tensor(storage: str, offset: int, size: tuple, stride: tuple, kind: str = "DoubleStorage", numel: int = 4) -> bytes:
    """The instructions for one tensor over a storage of the archive."""

    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values: tuple) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    place = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(storage) + text("cpu") + number(numel) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + place
        + number(offset)
        + numbers(size)
        + numbers(stride)
        + (b"\x89" + hooks + b"tR")
    )


def module(kind: str, buffers: dict[str, bytes]) -> bytes:
    """A module of mace-torch that holds only ``buffers``."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    inside = b"".join(text(name) + value for name, value in buffers.items())
    state = b"}(" + text("_buffers") + b"}(" + inside + b"u" + text("_modules") + b"}" + text("_parameters") + b"}u"
    return b"\x80\x02cmace.modules.models\n" + kind.encode() + b"\n)\x81" + state + b"b."


def pickled(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)
