"""Structures, labels and edges of many frames as a few flat ``.npy`` arrays, written as they come, read mapped."""

import math
import os
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from mace_app.data.frames import Frame
from mace_app.data.mapped import MappedFiles
from mace_app.files import read_json, write_json

_FLUSH_BYTES = 4 << 20
Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
Labels = Mapping[str, tuple[bool, tuple[int, ...]]]


class ArrayWriter:
    """A ``.npy`` file that grows along its first axis. numpy leaves room in the header for the final length.

    With ``length`` a file that was left unfinished goes on after so many rows; ValueError if it does not have them.
    """

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...] = (), length: int | None = None) -> None:
        self.dtype, self.shape, self.length = np.dtype(dtype), shape, length or 0
        self._waiting: list[NDArray[Any]] = []
        self._bytes = 0
        if length is not None:
            self._stream: IO[bytes] = path.open("r+b")
            try:
                self._go_on(path)
            except BaseException:
                self._stream.close()
                raise
            return
        path.unlink(missing_ok=True)  # never write into a file that somebody has mapped
        self._stream = path.open("wb")
        self._header()

    def _go_on(self, path: Path) -> None:
        np.lib.format.read_magic(self._stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(self._stream)
        row = self.dtype.itemsize * math.prod(self.shape)
        end = self._stream.tell() + self.length * row
        if dtype != self.dtype or shape[1:] != self.shape or path.stat().st_size < end:
            raise ValueError(f"{path} does not hold {self.length} rows")
        self._stream.truncate(end)
        self._stream.seek(end)

    def _header(self) -> None:
        self._stream.seek(0)
        np.lib.format.write_array_header_1_0(
            self._stream,
            {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length, *self.shape)},
        )

    def append(self, values: Any) -> None:
        """``values [k, *shape]``."""
        array = np.asarray(values, dtype=self.dtype)
        assert array.shape[1:] == self.shape, f"{array.shape} does not continue (n, {self.shape})"
        self._waiting.append(array)
        self._bytes += array.nbytes
        self.length += len(array)
        if self._bytes > _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._stream.write(np.concatenate(self._waiting).tobytes())
        self._waiting, self._bytes = [], 0

    def sync(self) -> int:
        """Put everything on disk; the number of rows there."""
        self._flush()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self.length

    def close(self) -> None:
        self._flush()
        self._header()
        # The manifest that says all is there is on disk at once; so must be what it speaks of.
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        self._stream.close()


def layout_of(labels: Labels) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Type and shape of a row of each array of a pack."""
    layout: dict[str, tuple[Any, tuple[int, ...]]] = {
        "numbers": (np.uint8, ()),
        "positions": (np.float64, (3,)),
        "cells": (np.float64, (3, 3)),
        "pbc": (np.bool_, (3,)),
        "structure_ids": (np.int64, (2,)),
        "weights": (np.float64, ()),
        "groups": (np.int32, ()),
        "atoms": (np.int64, ()),
        "edges": (np.int64, ()),
        "senders": (np.int32, ()),
        "receivers": (np.int32, ()),
        "shifts": (np.int16, (3,)),
    }
    for label, (_, shape) in labels.items():
        layout[_file("label", label)] = (np.float64, shape)
        layout[_file("present", label)] = (np.bool_, ())
    return layout


class Piece:
    """Some structures on their way into a pack. ``labels`` gives the shape of each label for a structure or an atom,
    and which of the two."""

    def __init__(self, labels: Labels) -> None:
        self.labels = dict(labels)
        self.length = 0
        self.group_names: dict[str, int] = {}
        self._rows: dict[str, list[Any]] = {key: [] for key in layout_of(labels)}

    def append(
        self,
        frame: Frame,
        structure_id: tuple[int, int],
        edges: Edges,
        labels: Mapping[str, NDArray[np.float64]],
        weight: float = 1.0,
    ) -> None:
        rows, n = self._rows, len(frame)
        self.length += 1
        rows["numbers"].append(frame.numbers)
        rows["positions"].append(frame.positions)
        rows["cells"].append(frame.cell)
        rows["pbc"].append(frame.pbc)
        rows["structure_ids"].append(structure_id)
        rows["weights"].append(weight)
        group = str(frame.info.get("config_type", ""))
        rows["groups"].append(self.group_names.setdefault(group, len(self.group_names)))
        rows["atoms"].append(n)
        rows["edges"].append(len(edges[0]))
        for key, values in zip(("senders", "receivers", "shifts"), edges, strict=True):
            rows[key].append(values)
        for label, (per_atom, shape) in self.labels.items():
            known = labels.get(label)
            rows[_file("present", label)].append(known is not None)
            if known is None:
                known = np.full((n, *shape) if per_atom else shape, np.nan)
            rows[_file("label", label)].append(known)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By the names of a pack's files; ``atoms`` and ``edges`` hold numbers of each structure instead of starts, and
        ``groups`` positions in ``group_names``."""
        joined = {"numbers", "positions", "senders", "receivers", "shifts"}
        joined |= {_file("label", label) for label, (per_atom, _) in self.labels.items() if per_atom}
        found = {}
        for key, (dtype, shape) in layout_of(self.labels).items():
            rows = self._rows[key]
            if not rows:
                found[key] = np.zeros((0, *shape), dtype)
            else:
                found[key] = (np.concatenate(rows) if key in joined else np.asarray(rows)).astype(dtype, copy=False)
        return found


class PackWriter:
    """Writes pieces one after the other. A pack that ``state`` tells of is continued where that was taken."""

    def __init__(self, folder: Path, name: str, labels: Labels, state: Mapping[str, Any] | None = None) -> None:
        lengths = {} if state is None else state["lengths"]
        self._writers: dict[str, ArrayWriter] = {}
        try:
            for key, entry in layout_of(labels).items():
                length = None if state is None else int(lengths[key])
                self._writers[key] = ArrayWriter(folder / f"{name}_{key}.npy", *entry, length=length)
        except BaseException:
            self.abandon()
            raise
        self._starts = {"atoms": 0, "edges": 0}
        self._groups: dict[str, int] = {}
        self._group_names = folder / f"{name}_groups.json"
        if state is None:
            for key in self._starts:
                self._writers[key].append([0])
        else:
            self._starts = dict(state["starts"])
            self._groups = {group: code for code, group in enumerate(state["groups"])}

    @property
    def length(self) -> int:
        return self._writers["structure_ids"].length

    def append(self, arrays: Mapping[str, NDArray[Any]], group_names: Collection[str]) -> None:
        """``arrays`` and ``group_names`` of a ``Piece``."""
        codes = np.array([self._groups.setdefault(group, len(self._groups)) for group in group_names], dtype=np.int32)
        for key, writer in self._writers.items():
            values = arrays[key]
            if key == "groups":
                values = codes[values]
            elif key in self._starts:
                values = self._starts[key] + np.cumsum(values)
                self._starts[key] = int(values[-1]) if len(values) else self._starts[key]
            writer.append(values)

    def state(self) -> dict[str, Any]:
        """From which writing can go on, in plain values; all it speaks of is on disk."""
        lengths = {key: writer.sync() for key, writer in self._writers.items()}
        return {"lengths": lengths, "starts": dict(self._starts), "groups": list(self._groups)}

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        write_json(self._group_names, list(self._groups))

    def abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()


class Pack:
    """The arrays of a ``PackWriter``, mapped from disk.

    For n structures, N atoms, E edges: ``numbers [N]``, ``positions [N,3]``, ``cells [n,3,3]``, ``pbc [n,3]``,
    ``structure_ids [n,2]`` (data set, frame), ``weights [n]`` (in the loss), ``groups [n]`` (positions in
    ``group_names``, the ``config_type`` or an empty text), ``atoms [n+1]`` and ``edges [n+1]`` (first row of each
    structure), ``senders [E]`` and ``receivers [E]`` (atoms counted within their structure), ``shifts [E,3]``;
    ``values[label] [n or N, *shape]`` and ``present[label] [n]``.
    """

    def __init__(self, folder: Path, name: str, labels: Labels) -> None:
        self._source = (folder, name, dict(labels))
        self.labels = dict(labels)
        self.files = MappedFiles()

        def load(key: str) -> NDArray[Any]:
            return self.files.load(folder / f"{name}_{key}.npy")

        self.numbers, self.positions = load("numbers"), load("positions")
        self.cells, self.pbc = load("cells"), load("pbc")
        self.structure_ids, self.weights = load("structure_ids"), load("weights")
        self.groups: NDArray[np.int32] = load("groups")
        self.group_names: list[str] = read_json(folder / f"{name}_groups.json")
        self.atoms, self.edges = load("atoms"), load("edges")
        self.senders, self.receivers, self.shifts = load("senders"), load("receivers"), load("shifts")
        self.values = {label: load(_file("label", label)) for label in self.labels}
        self.present = {label: load(_file("present", label)) for label in self.labels}

    def __len__(self) -> int:
        return len(self.atoms) - 1

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process maps the same files instead of carrying their content."""
        return (Pack, self._source)


@lru_cache(256)
def _file(kind: str, label: str) -> str:
    """Labels hold slashes and colons."""
    return f"{kind}_{quote(label, safe='')}"
