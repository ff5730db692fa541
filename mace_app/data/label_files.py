"""Labels that stand in a file of their own, put beside the structures they belong to, frame by frame."""

from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from mace_app.data.errors import DataError, at
from mace_app.data.frames import Frame
from mace_app.data.reading import read_frames
from mace_app.options import DatasetOptions
from mace_app.options.datasets import DERIVATIVES


def label_paths(dataset: DatasetOptions) -> list[Path]:
    """The files of labels besides the file of structures, each once."""
    return [Path(file) for file in dict.fromkeys(dataset.label_files().values())]


def beside(dataset: DatasetOptions) -> DatasetOptions:
    """The data set as its labels are found in ``read_structures``: under keys that name their file."""
    files = [str(path) for path in label_paths(dataset)]
    if not files:
        return dataset
    targets = {}
    for name, target in dataset.targets.items():
        own = target.read_from
        changes: dict[str, Any] = {"key": _key(target.key or name, files, own), "read_from": None}
        for kind in DERIVATIVES:
            gradient = getattr(target, kind)
            if gradient:
                key = _key(gradient.key or kind, files, gradient.read_from or own)
                changes[kind] = gradient.model_copy(update={"key": key, "read_from": None})
        targets[name] = target.model_copy(update=changes)
    return dataset.model_copy(update={"targets": targets})


def read_structures(dataset: DatasetOptions, watch: Callable[[Path], Callable[[int], None]]) -> Iterator[Frame]:
    """The frames of the file of structures; what stands in label files is added to each.

    ``watch(path)`` gives what is told the bytes of that file read so far. Raises DataError where a label file has
    another number of frames, or where a frame has other atoms.
    """
    path = Path(dataset.systems.read_from)
    others = label_paths(dataset)
    frames = read_frames(path, watch(path))
    if not others:
        yield from frames
        return
    for frame, *labels in zip_longest(frames, *(read_frames(other, watch(other)) for other in others)):
        for number, (other, label) in enumerate(zip(others, labels, strict=True)):
            if frame is None or label is None:
                longer, shorter = (other, path) if frame is None else (path, other)
                raise DataError(
                    f"{shorter}: the file ends where {longer} still has structures. A file of labels must have one "
                    "frame for each structure, in the same order."
                )
            if not np.array_equal(frame.numbers, label.numbers):
                raise DataError(
                    f"{at(other, label.index)}: the atoms differ from those of the same frame of {path}. A file of "
                    "labels must list the same atoms in the same order."
                )
            for place in ("info", "arrays", "results"):
                found = getattr(label, place)
                getattr(frame, place).update({_marked(key, number): value for key, value in found.items()})
        yield frame


def _key(key: str, files: list[str], file: str | None) -> str:
    return key if file is None else _marked(key, files.index(file))


def _marked(key: str, number: int) -> str:
    return f"{key} (label file {number + 1})"
