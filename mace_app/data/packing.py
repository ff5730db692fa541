"""Structures, labels and edges of many frames as a few flat ``.npy`` arrays, written as they come, read mapped."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from mace_app.data.frames import Frame
from mace_app.files import read_json, write_json

_FLUSH_BYTES = 4 << 20
Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class ArrayWriter:
    """A ``.npy`` file that grows along its first axis. numpy leaves room in the header for the final length."""

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self.dtype, self.shape, self.length = np.dtype(dtype), shape, 0
        path.unlink(missing_ok=True)  # never write into a file that somebody has mapped
        self._stream = path.open("wb")
        self._waiting: list[NDArray[Any]] = []
        self._bytes = 0
        self._header()

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

    def close(self) -> None:
        self._flush()
        self._header()
        # The manifest that says all is there is on disk at once; so must be what it speaks of.
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        self._stream.close()


class PackWriter:
    """Appends frames. ``labels`` gives the shape of each label for a structure or an atom, and which of the two."""

    def __init__(self, folder: Path, name: str, labels: Mapping[str, tuple[bool, tuple[int, ...]]]) -> None:
        self.labels = dict(labels)
        self.length = 0
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
        for label, (_, shape) in self.labels.items():
            layout[_file("label", label)] = (np.float64, shape)
            layout[_file("present", label)] = (np.bool_, ())
        self._writers = {key: ArrayWriter(folder / f"{name}_{key}.npy", *entry) for key, entry in layout.items()}
        self._writers["atoms"].append([0])
        self._writers["edges"].append([0])
        self._atoms = self._edges = 0
        self._groups: dict[str, int] = {}
        self._group_names = folder / f"{name}_groups.json"

    def append(
        self,
        frame: Frame,
        structure_id: tuple[int, int],
        edges: Edges,
        labels: Mapping[str, NDArray[np.float64]],
        weight: float = 1.0,
    ) -> None:
        writers, n = self._writers, len(frame)
        senders, receivers, shifts = edges
        self._atoms += n
        self._edges += len(senders)
        self.length += 1
        writers["numbers"].append(frame.numbers)
        writers["positions"].append(frame.positions)
        writers["cells"].append(frame.cell[None])
        writers["pbc"].append(frame.pbc[None])
        writers["structure_ids"].append([structure_id])
        writers["weights"].append([weight])
        group = str(frame.info.get("config_type", ""))
        writers["groups"].append([self._groups.setdefault(group, len(self._groups))])
        writers["atoms"].append([self._atoms])
        writers["edges"].append([self._edges])
        writers["senders"].append(senders)
        writers["receivers"].append(receivers)
        writers["shifts"].append(shifts)
        for label, (per_atom, shape) in self.labels.items():
            values = labels.get(label)
            writers[_file("present", label)].append([values is not None])
            if values is None:
                values = np.full((n, *shape) if per_atom else shape, np.nan)
            writers[_file("label", label)].append(values if per_atom else values[None])

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

    def __init__(self, folder: Path, name: str, labels: Mapping[str, tuple[bool, tuple[int, ...]]]) -> None:
        self._source = (folder, name, dict(labels))
        self.labels = dict(labels)

        def load(key: str) -> NDArray[Any]:
            path = folder / f"{name}_{key}.npy"
            array = np.load(path, mmap_mode="r", allow_pickle=False) if _has_rows(path) else np.load(path)
            return array.view(np.ndarray)  # slicing a memmap costs several times as much

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


def _file(kind: str, label: str) -> str:
    """Labels hold slashes and colons."""
    return f"{kind}_{quote(label, safe='')}"


def _has_rows(path: Path) -> bool:
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    return shape[0] > 0
