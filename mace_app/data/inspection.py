"""What an inspection found: plain values, ready for JSON, small however large the file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 60
MOST_FRAMES = 50
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Histogram:
    """``counts [b]`` between ``edges [b+1]``; ``below`` and ``above`` count values outside the edges."""

    counts: list[int]
    edges: list[float]
    below: int = 0
    above: int = 0

    @classmethod
    def of(cls, values: ArrayLike, whole_numbers: bool = False) -> "Histogram | None":
        """Of all finite values; extreme ones (beyond the central 99.8 %) are only counted. None without values."""
        array = np.asarray(values, dtype=float)
        array = array[np.isfinite(array)]
        if not array.size:
            return None
        if whole_numbers:
            low, high = int(array.min()), int(array.max())
            width = -(-(high - low + 1) // BINS)
            edges = np.arange(low, high + width + 1, width) - 0.5
        else:
            low, high = np.percentile(array, [0.1, 99.9]) if array.size > 1000 else (array.min(), array.max())
            if high - low <= 1e-12 * max(abs(low), abs(high), 1e-3):
                middle, width = (low + high) / 2, max(abs(high), 1e-3) * 1e-3
                low, high = middle - width, middle + width
            edges = np.linspace(low, high, BINS + 1)
        counts = np.histogram(array, edges)[0]
        return cls(
            [int(count) for count in counts],
            [float(edge) for edge in edges],
            int((array < edges[0]).sum()),
            int((array > edges[-1]).sum()),
        )


@dataclass(frozen=True)
class FileSummary:
    """``first`` is the number its first structure has when structures of all files are counted through."""

    path: str
    bytes: int
    structures: int
    first: int


@dataclass(frozen=True)
class ElementCount:
    atoms: int
    structures: int


@dataclass(frozen=True)
class Composition:
    formula: str
    structures: int


@dataclass(frozen=True)
class CellSummary:
    """Of periodic structures. ``height`` is the smallest distance between opposite faces, in the unit of length."""

    structures: int
    height: float
    volume_per_atom: Histogram | None


@dataclass(frozen=True)
class KeySummary:
    """One entry of the file.

    ``place`` is ``info`` (values per structure), ``arrays`` (per atom) or ``results`` (of a calculator, read by ASE).
    ``count`` of ``structures`` have it, and ``isolated`` of the isolated atoms. ``shape`` is that of one structure or
    atom; ``shapes`` lists all where they differ. ``values`` counts the commonest texts. ``role`` is a guess with its
    reason: energy, forces, stress, virial, dipole, charges, config_type, weight, property, setting, geometry, text …
    """

    name: str
    place: str
    per_atom: bool
    kind: str
    shape: list[int] | None
    shapes: list[list[int]]
    count: int
    structures: int
    isolated: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    nan: int
    infinite: int
    values: dict[str, int]
    role: str
    role_reason: str
    unit: str
    unit_reason: str
    belongs_to: str | None = None

    @property
    def numeric(self) -> bool:
        return self.kind in ("float", "int")

    @property
    def width(self) -> int:
        """Numbers for each structure or atom; 0 where that differs or there are none."""
        return int(np.prod(self.shape)) if self.numeric and self.shape is not None else 0


@dataclass(frozen=True)
class IsolatedAtom:
    """``values`` are its numbers per structure by key."""

    frame: int
    element: int
    values: dict[str, float]


@dataclass(frozen=True)
class EnergySummary:
    """Energy per atom after the least-squares baseline (minimum norm); ``baseline[Z]`` is arbitrary in part if
    ``rank`` < number of elements. ``spread`` is the root mean square of what remains."""

    histogram: Histogram
    spread: float
    baseline: dict[int, float]
    rank: int
    unit: str


@dataclass(frozen=True)
class ForceSummary:
    """Lengths of the vectors; ``rms`` over components."""

    histogram: Histogram
    rms: float
    largest: float
    unit: str


@dataclass(frozen=True)
class Contact:
    """Two atoms nearer than half the sum of their covalent radii."""

    frame: int
    first: int
    second: int
    distance: float


@dataclass(frozen=True)
class Finding:
    """One thing a person should know. ``frames`` are the first of ``count`` structures, counted from 0."""

    severity: Severity
    message: str
    frames: list[int] = field(default_factory=list)
    count: int = 0


@dataclass(frozen=True)
class Inspection:
    """What is in the files. Frames are counted from 0 through all files; ``elements`` has atomic numbers as keys.

    ``isolated_atoms`` are the frames that serve the baseline and are not learnt from; ``structures`` counts them too.
    ``duplicates`` are pairs (earlier frame, later frame), the first of ``duplicate_count``.
    """

    files: list[FileSummary]
    structures: int
    atoms: int
    elements: dict[int, ElementCount]
    compositions: list[Composition]
    composition_count: int
    atoms_per_structure: Histogram | None
    periodicity: dict[str, int]
    cells: CellSummary | None
    keys: list[KeySummary]
    isolated_atoms: list[IsolatedAtom]
    energies: dict[str, EnergySummary]
    forces: dict[str, ForceSummary]
    shortest_distance: float | None
    duplicates: list[tuple[int, int]]
    duplicate_count: int
    close_contacts: list[Contact]
    close_contact_count: int
    findings: list[Finding]
    seconds: float = 0.0

    def key(self, name: str) -> KeySummary | None:
        return next((key for key in self.keys if key.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Strict JSON values: text keys, no NaN."""
        value = asdict(self)
        value["elements"] = {str(number): count for number, count in value["elements"].items()}
        value["duplicates"] = [list(pair) for pair in self.duplicates]
        for energy in value["energies"].values():
            energy["baseline"] = {str(number): entry for number, entry in energy["baseline"].items()}
        return {"format": 1, **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Inspection":
        """Raises KeyError, TypeError or ValueError for anything that ``to_json`` did not write."""
        entries = dict(value)
        if entries.pop("format", None) != 1:
            raise ValueError("unknown format of an inspection")
        lists = {
            "files": FileSummary,
            "compositions": Composition,
            "keys": KeySummary,
            "isolated_atoms": IsolatedAtom,
            "close_contacts": Contact,
            "findings": Finding,
        }
        for name, kind in lists.items():
            entries[name] = [kind(**entry) for entry in entries[name]]
        entries["elements"] = {int(number): ElementCount(**count) for number, count in entries["elements"].items()}
        entries["duplicates"] = [(first, other) for first, other in entries["duplicates"]]
        entries["atoms_per_structure"] = _histogram(entries["atoms_per_structure"])
        cells = entries["cells"]
        entries["cells"] = cells and CellSummary(**{**cells, "volume_per_atom": _histogram(cells["volume_per_atom"])})
        entries["energies"] = {
            key: EnergySummary(
                **{
                    **energy,
                    "histogram": Histogram(**energy["histogram"]),
                    "baseline": {int(number): entry for number, entry in energy["baseline"].items()},
                }
            )
            for key, energy in entries["energies"].items()
        }
        entries["forces"] = {
            key: ForceSummary(**{**force, "histogram": Histogram(**force["histogram"])})
            for key, force in entries["forces"].items()
        }
        return cls(**entries)


def _histogram(value: Mapping[str, Any] | None) -> Histogram | None:
    return None if value is None else Histogram(**value)


def finding(severity: Severity, message: str, frames: list[int] | NDArray[Any] | None = None) -> Finding:
    """Keeps the first frames only."""
    listed = [] if frames is None else [int(frame) for frame in frames]
    return Finding(severity, message, listed[:MOST_FRAMES], len(listed))
