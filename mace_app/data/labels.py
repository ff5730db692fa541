"""From what stands beside a structure to label arrays of fixed shape."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mace_app.data.errors import LARGEST, DataError, at, excerpt, numbered
from mace_app.data.frames import Frame
from mace_app.options import DatasetOptions, TargetInfo
from mace_app.options.datasets import paired_key
from mace_app.options.errors import suggestion

Kind = Literal["value", "forces", "stress", "virial"]
ZERO_VOLUME = 1e-9  # cubed unit of length
SYMMETRIC = 1e-4  # a part of the largest entry: programs print tensors with few digits


@dataclass(frozen=True)
class Label:
    """One label of one data set: where it stands in the file and its shape for one structure or one atom."""

    name: str
    target: str
    key: str
    kind: Kind
    per_atom: bool
    shape: tuple[int, ...]
    required: bool
    mask: str | None = None
    may_be_symmetric: bool = False


def labels_of(dataset: DatasetOptions) -> list[Label]:
    """The labels a data set asks for; those that are "used if found" are not required."""
    found = []
    for name, target in dataset.targets.items():
        info: TargetInfo = target.info(name)
        key = target.key or name
        undecided = info.rank == 2 and info.symmetric is None
        found.append(
            Label(name, name, key, "value", info.sample_kind == "atom", info.shape, True, may_be_symmetric=undecided)
        )
        if info.has_forces is not False:
            forces = (target.forces or None) and target.forces.key
            paired = forces or paired_key(key, "forces")
            found.append(Label(f"{name}.forces", name, paired, "forces", True, (3,), bool(info.has_forces)))
        if target.virial:
            virial = target.virial.key or paired_key(key, "virial")
            found.append(Label(f"{name}.stress", name, virial, "virial", False, (3, 3), True))
        elif info.has_stress is not False:
            stress = (target.stress or None) and target.stress.key
            paired = stress or paired_key(key, "stress")
            found.append(Label(f"{name}.stress", name, paired, "stress", False, (3, 3), bool(info.has_stress)))
    masks = dataset.masks()
    return [replace(label, mask=masks.get(label.name)) for label in found]


@dataclass
class Coverage:
    """How often a label was found in a data set."""

    present: int = 0
    written: int = 0  # the key is there, even if its value is NaN
    frames: int = 0
    nan_frames: list[int] = field(default_factory=list)
    zero_frames: list[int] = field(default_factory=list)
    masks: int = 0  # frames that had a mask
    masked_values: int = 0
    asymmetry: float = 0.0  # largest |T − Tᵀ|
    magnitude: float = 0.0  # largest |T|

    def add(self, other: "Coverage") -> None:
        """What was found in the structures after those of this one."""
        self.present += other.present
        self.written += other.written
        self.frames += other.frames
        self.nan_frames += other.nan_frames
        self.zero_frames += other.zero_frames
        self.masks += other.masks
        self.masked_values += other.masked_values
        self.asymmetry = max(self.asymmetry, other.asymmetry)
        self.magnitude = max(self.magnitude, other.magnitude)

    @property
    def is_symmetric(self) -> bool:
        """Up to the digits a file holds."""
        return self.asymmetry <= SYMMETRIC * self.magnitude


class LabelReader:
    """Reads the labels of one data set, frame after frame, and remembers coverage and known keys.

    A data set that ``may_lack`` labels or masks was not made for these targets: what it has none of is said, no error.
    """

    def __init__(self, dataset: DatasetOptions, may_lack: bool = False) -> None:
        self.path = Path(dataset.systems.read_from)
        self.may_lack = may_lack
        self.labels = labels_of(dataset)
        self.coverage = {label.name: Coverage() for label in self.labels}
        self.known_keys: set[str] = set()

    def read(self, frame: Frame) -> dict[str, NDArray[np.float64]]:
        """``[*shape]`` or ``[n, *shape]`` per label, only those that are present; stress instead of virial."""
        self.known_keys.update(frame.info, frame.arrays, frame.results)
        found = {}
        for label in self.labels:
            coverage = self.coverage[label.name]
            coverage.frames += 1
            values = self._values(label, frame)
            if values is None:
                continue
            coverage.written += 1
            if np.isnan(values).any() and not (label.kind in ("stress", "virial") and not frame.periodic):
                coverage.nan_frames.append(frame.index)
            if np.isnan(values).all():
                continue
            if label.kind in ("stress", "virial"):
                stress = self._stress(label, frame, values)
                if stress is None:
                    coverage.zero_frames.append(frame.index)
                    continue
                values = stress
            if label.mask is not None:
                values = self._masked(label, frame, values, coverage)
                if np.isnan(values).all():
                    continue
            if label.may_be_symmetric:
                difference = np.abs(values - np.swapaxes(values, -3, -2))
                coverage.asymmetry = max(coverage.asymmetry, float(np.nanmax(difference, initial=0.0)))
                coverage.magnitude = max(coverage.magnitude, float(np.nanmax(np.abs(values))))
            coverage.present += 1
            found[label.name] = values
        return found

    def add(self, coverage: Mapping[str, Coverage], known_keys: Collection[str]) -> None:
        """What another reader found in the structures that come next."""
        for name, found in coverage.items():
            self.coverage[name].add(found)
        self.known_keys.update(known_keys)

    def _values(self, label: Label, frame: Frame) -> NDArray[np.float64] | None:
        raw, from_results = _find(label, frame, self.path)
        if raw is None:
            return None
        place = at(self.path, frame.index)
        values = _numbers(raw, label, place)
        expected = (len(frame), *label.shape) if label.per_atom else label.shape
        if label.kind in ("stress", "virial") and values.shape == (6,):
            if not from_results:
                raise DataError(
                    f"{place}: `{label.key}` has six values. Their order differs between programs, so write the nine "
                    "values of the 3×3 matrix."
                )
            values = voigt_to_matrix(values)
        allowed = {expected}
        if label.kind == "value":
            flat = _flat(expected, label.per_atom)
            allowed |= {_squeezed(expected), flat, _squeezed(flat)}
        elif label.kind in ("stress", "virial"):
            allowed.add((9,))
        if values.shape not in allowed:
            what = f"one value for each of the {len(frame)} atoms" if label.per_atom else "one value for the structure"
            raise DataError(
                f"{place}: `{label.key}` has the shape {_shape(values.shape)}, but `{label.name}` needs "
                f"{_shape(_squeezed(expected) if label.kind == 'value' else expected)} ({what}). Check the key, and "
                "type, sample kind and number of values of the target."
            )
        if (np.abs(values) >= LARGEST).any():
            raise DataError(
                f"{place}: `{label.key}` is infinite, or nearly. Remove the structure, or write NaN where the value is "
                "unknown."
            )
        return values.reshape(expected)

    def _masked(
        self, label: Label, frame: Frame, values: NDArray[np.float64], coverage: Coverage
    ) -> NDArray[np.float64]:
        """The values with NaN wherever the mask is false; a structure without the mask keeps all."""
        assert label.mask is not None
        raw = next((p[label.mask] for p in (frame.arrays, frame.info) if label.mask in p), None)
        if raw is None:
            return values
        coverage.masks += 1
        place = at(self.path, frame.index)
        mask = np.asarray(raw)
        if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
            raise DataError(
                f"{place}: the mask `{label.mask}` must hold true or false (or 1 or 0), but it holds "
                f"`{excerpt(str(raw))}`. Correct the file or the key."
            )
        mask = mask.astype(bool)
        squeezed, flat = _squeezed(values.shape), _flat(values.shape, label.per_atom)
        if mask.shape in (values.shape, squeezed, flat):
            mask = mask.reshape(values.shape)
        elif mask.shape in ((), (1,)):
            mask = np.broadcast_to(mask.reshape(()), values.shape)
        elif label.per_atom and mask.shape == (len(frame),):
            mask = np.broadcast_to(mask.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
        else:
            raise DataError(
                f"{place}: the mask `{label.mask}` has the shape {_shape(mask.shape)}, but `{label.name}` has "
                f"{_shape(squeezed)}. Give one entry for each value, or one for each "
                f"{'atom' if label.per_atom else 'structure'}."
            )
        coverage.masked_values += int((~mask).sum())
        return np.where(mask, values, np.nan)

    def _stress(self, label: Label, frame: Frame, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """σ = −virial/V (docs/architecture.md); None for zeros written where there is no cell to have a stress."""
        volume = frame.volume
        if volume < ZERO_VOLUME:
            if not values.any():
                return None
            raise DataError(
                f"{at(self.path, frame.index)}: `{label.key}` is given, but the cell has no volume, so there can be no "
                "stress. Write the cell, or NaN for structures without one."
            )
        return -values / volume if label.kind == "virial" else values

    def check(self, warnings: list[str]) -> None:
        """After the last frame: DataError for what is missing everywhere; what is missing in part becomes a warning."""
        for label in self.labels:
            coverage = self.coverage[label.name]
            if not coverage.present:
                self._absent(label, coverage, warnings)
                continue
            if label.mask is not None and not coverage.masks:
                without = f"{self.path}: no structure has the key `{label.mask}`, the mask of `{label.name}`"
                if not self.may_lack:
                    raise DataError(f"{without}. Correct the key in `extra_data`, or remove the mask.")
                warnings.append(f"{without}, so all of its values count.")
            if coverage.present < coverage.frames:
                warnings.append(
                    f"{self.path}: `{label.name}` (key `{label.key}`) is known for {coverage.present} of "
                    f"{coverage.frames} structures; the others are learnt from without it."
                )
            if not label.required:
                warnings.append(f"{self.path}: `{label.name}` was found under the key `{label.key}` and is used.")
            if coverage.nan_frames:
                warnings.append(
                    f"{self.path}: `{label.key}` holds NaN in the frames {numbered(coverage.nan_frames)} (counted from "
                    "0); these values are treated as unknown."
                )
            if coverage.zero_frames:
                warnings.append(
                    f"{self.path}: `{label.key}` is zero in the frames {numbered(coverage.zero_frames)}, which have no "
                    "cell; it is treated as unknown there."
                )

    def _absent(self, label: Label, coverage: Coverage, warnings: list[str]) -> None:
        if not label.required:
            self._unused(label, warnings)
        elif self.may_lack:
            warnings.append(
                f"{self.path}: `{label.name}` (key `{label.key}`) is known for no structure, so no error of it can be "
                "shown."
            )
        else:
            raise self._missing(label, coverage)

    def _missing(self, label: Label, coverage: Coverage) -> DataError:
        if coverage.written:
            return DataError(
                f"{self.path}: `{label.key}` is NaN in every structure, so there is nothing to learn `{label.name}` "
                "from. Choose another key or correct the file."
            )
        keys = sorted(self.known_keys)
        there = f"The file has {_listed(keys)}." if keys else "The file has no keys besides the structures."
        return DataError(
            f"{self.path}: no structure has the key `{label.key}`, which `{label.name}` asks for. {there}"
            f"{suggestion(label.key, keys)} Correct the key of the target, or remove it."
        )

    def _unused(self, label: Label, warnings: list[str]) -> None:
        """A word where something that looks like forces or stress is left lying."""
        words = {"forces": ("force",), "stress": ("stress", "virial")}.get(label.kind, ())
        mapped = {other.key for other in self.labels}
        near = [key for key in sorted(self.known_keys - mapped) if any(word in key.lower() for word in words)]
        if near:
            warnings.append(
                f"{self.path}: `{label.name}` is not learnt, because there is no key `{label.key}`; the file has "
                f"{_listed(near)}. Name the key in the target to use it."
            )


def _find(label: Label, frame: Frame, path: Path) -> tuple[Any, bool]:
    """The raw value and whether it is a calculator's result; (None, False) where the key is absent."""
    places: tuple[Mapping[str, Any], ...] = (frame.arrays,) if label.per_atom else (frame.info,)
    for values in places:
        if label.key in values:
            return values[label.key], False
    if label.key in frame.results:
        return frame.results[label.key], True
    if label.key in (frame.info if label.per_atom else frame.arrays):
        is_kind, wanted = ("structure", "atom") if label.per_atom else ("atom", "structure")
        raise DataError(
            f"{at(path, frame.index)}: `{label.key}` holds one value per {is_kind}, but `{label.name}` is one per "
            f"{wanted}. Choose another key or change `sample_kind` of the target."
        )
    return None, False


def _numbers(raw: Any, label: Label, place: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(raw)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        what = "text" if array.dtype.kind in "US" else "true or false" if array.dtype.kind == "b" else "no plain number"
        raise DataError(
            f"{place}: `{label.key}` must hold numbers for `{label.name}`, but it is {what}: `{excerpt(str(raw))}`. "
            "Choose another key or correct the file."
        )
    return array.astype(np.float64)


def voigt_to_matrix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """ASE's order xx, yy, zz, yz, xz, xy to a symmetric ``[3,3]``."""
    xx, yy, zz, yz, xz, xy = values
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without the last axis when it is one value: the way a file holds a scalar."""
    return shape[:-1] if shape and shape[-1] == 1 else shape


def _flat(shape: tuple[int, ...], per_atom: bool) -> tuple[int, ...]:
    """All values of a sample in one row, components first, as in an extended xyz file."""
    return (shape[0], int(np.prod(shape[1:]))) if per_atom else (int(np.prod(shape)),)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) if shape else "of a single number"


def _listed(keys: list[str], most: int = 12) -> str:
    text = ", ".join(f"`{excerpt(key)}`" for key in keys[:most])
    return text if len(keys) <= most else f"{text} and {len(keys) - most} more"
