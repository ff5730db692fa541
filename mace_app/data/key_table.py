"""Every key of a file: how often, what shape, what values. Memory does not grow with the file, except for numbers per
structure, of which one array is kept per key."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mace_app.data.errors import LARGEST, excerpt, is_number
from mace_app.data.frames import Frame
from mace_app.data.inspection import MOST_FRAMES
from mace_app.data.roles import Role, role_of

_FLUSH = 512
_MOST_TEXTS = 1000
_MOST_NORMS = 4_000_000
_RESULTS_PER_ATOM = {"forces", "charges", "magmoms", "energies", "stresses"}
_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool", "U": "text", "S": "text"}


@dataclass
class FrameList:
    """The first frames of a kind, and how many there are."""

    first: list[int] = field(default_factory=list)
    count: int = 0

    def add(self, frame: int) -> None:
        self.count += 1
        if len(self.first) < MOST_FRAMES:
            self.first.append(frame)


class KeyColumn:
    """What is known of one key in one place."""

    def __init__(self, name: str, place: str) -> None:
        self.name, self.place = name, place
        self.per_atom = place == "arrays" or (place == "results" and name in _RESULTS_PER_ATOM)
        self.kinds: Counter[str] = Counter()
        self.shapes: Counter[tuple[int, ...]] = Counter()
        self.texts: Counter[str] = Counter()
        self.count = self.isolated = self.nan = self.infinite = 0
        self.nan_frames, self.infinite_frames, self.missing = FrameList(), FrameList(), FrameList()
        self.minimum, self.maximum, self.sum, self.finite = np.inf, -np.inf, 0.0, 0
        self.scalar_frames, self.scalars = array("q"), array("d")
        self.norms: list[NDArray[np.float32]] = []
        self.norm_frames, self.norm_largest = array("q"), array("d")
        self.squares = 0.0
        self.norm_count = 0
        self._stride = 1
        self._next = 0
        self._waiting: list[tuple[int, NDArray[Any]]] = []

    @property
    def kind(self) -> str:
        if len(self.kinds) == 1:
            return next(iter(self.kinds))
        return "float" if set(self.kinds) <= {"float", "int"} else "mixed"

    @property
    def shape(self) -> tuple[int, ...] | None:
        return next(iter(self.shapes)) if len(self.shapes) == 1 else None

    @property
    def role(self) -> Role:
        if self.kind == "mixed":
            return Role("irregular", "numbers in some structures, text in others")
        width = int(np.prod(self.shape)) if self.shape is not None else 0
        return role_of(self.name, self.per_atom, self.kind, width)

    def add(self, frame: int, ordinal: int, value: Any) -> None:
        """``ordinal`` counts the structures that are not isolated atoms."""
        if ordinal > self._next:
            self._miss(ordinal)
        self._next = ordinal + 1
        self.count += 1
        values = value
        if not isinstance(value, np.ndarray | np.generic):
            try:
                values = np.asarray(value)
            except ValueError:
                values = np.asarray(None)
        kind = _KINDS.get(values.dtype.kind, "other")
        self.kinds[kind] += 1
        shape = values.shape[1:] if self.per_atom else values.shape
        if len(self.shapes) < 20 or shape in self.shapes:
            self.shapes[shape] += 1
        if kind in ("float", "int"):
            self._waiting.append((frame, values))
            if len(self._waiting) >= _FLUSH:
                self.flush()
        elif kind == "text" and not self.per_atom and (len(self.texts) < _MOST_TEXTS or str(value) in self.texts):
            self.texts[str(value)] += 1

    def add_isolated(self, value: Any) -> None:
        self.isolated += 1
        if isinstance(value, str):
            self.texts[value] += 1
            if not self.count:
                self.kinds["text"] = 0

    def finish(self, ordinals: int) -> None:
        self.flush()
        if not self.kinds:
            self.kinds["absent"] = 0
        self._miss(ordinals)

    def _miss(self, ordinal: int) -> None:
        """All structures up to this one lack the key."""
        for missed in range(self._next, min(ordinal, self._next + MOST_FRAMES)):
            self.missing.add(missed)
        self.missing.count += max(0, ordinal - self._next - MOST_FRAMES)

    def flush(self) -> None:
        if not self._waiting:
            return
        flat = np.concatenate([values.reshape(-1) for _, values in self._waiting]).astype(float)
        good = is_number(flat)
        if not good.all():
            self._not_finite(flat)
            flat = flat[good]
        if flat.size:
            self.minimum, self.maximum = min(self.minimum, float(flat.min())), max(self.maximum, float(flat.max()))
            self.sum += float(flat.sum())
            self.finite += flat.size
        if not self.per_atom:
            for frame, values in self._waiting:
                if values.size == 1:
                    self.scalar_frames.append(frame)
                    self.scalars.append(float(values.reshape(-1)[0]))
        elif self.shape == (3,) and self.role.name in ("forces", "gradient"):
            self._add_norms()
        self._waiting = []

    def _not_finite(self, flat: NDArray[np.float64]) -> None:
        self.nan += int(np.isnan(flat).sum())
        self.infinite += int((np.abs(flat) >= LARGEST).sum())
        for frame, values in self._waiting:
            if np.isnan(values).any():
                self.nan_frames.add(frame)
            if (np.abs(values) >= LARGEST).any():
                self.infinite_frames.add(frame)

    def _add_norms(self) -> None:
        vectors = np.concatenate([values for _, values in self._waiting]).astype(float)
        vectors[~is_number(vectors)] = np.nan
        norms = np.linalg.norm(vectors, axis=1)
        starts = np.cumsum([0, *(len(values) for _, values in self._waiting[:-1])])
        self.norm_frames.extend(frame for frame, _ in self._waiting)
        self.norm_largest.extend(np.fmax.reduceat(norms, starts))
        norms = norms[np.isfinite(norms)]
        self.squares += float((norms**2).sum())
        self.norm_count += len(norms)
        self.norms.append(np.minimum(norms[:: self._stride], 1e30).astype(np.float32))
        if sum(len(part) for part in self.norms) > _MOST_NORMS:
            self.norms = [np.concatenate(self.norms)[::2].copy()]
            self._stride *= 2

    def commonest(self, most: int = 12) -> dict[str, int]:
        return {excerpt(text, 60): count for text, count in self.texts.most_common(most)}


class KeyTable:
    """Takes frames one after the other."""

    def __init__(self) -> None:
        self.columns: dict[tuple[str, str], KeyColumn] = {}
        self.ordinals = 0
        self.frame_of_ordinal = array("q")

    def add(self, frame: Frame, number: int) -> None:
        """``number`` counts frames through all files."""
        for place, entries in (("info", frame.info), ("arrays", frame.arrays), ("results", frame.results)):
            for name, value in entries.items():
                column = self._column(name, place)
                column.add(number, self.ordinals, value)
        self.ordinals += 1
        self.frame_of_ordinal.append(number)

    def add_isolated(self, frame: Frame) -> None:
        """Isolated atoms count by themselves, or forces would seem to be missing."""
        for place, entries in (("info", frame.info), ("arrays", frame.arrays), ("results", frame.results)):
            for name, value in entries.items():
                self._column(name, place).add_isolated(value)

    def _column(self, name: str, place: str) -> KeyColumn:
        if (name, place) not in self.columns:
            self.columns[name, place] = KeyColumn(name, place)
        return self.columns[name, place]

    def finish(self) -> list[KeyColumn]:
        for column in self.columns.values():
            column.finish(self.ordinals)
        return list(self.columns.values())
