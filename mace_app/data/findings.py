"""Sentences about what an inspection met that a person should know before training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mace_app.data.errors import numbered
from mace_app.data.frames import is_marked_isolated
from mace_app.data.inspection import Finding, KeySummary, finding
from mace_app.data.key_summaries import DERIVATIVES, residuals
from mace_app.data.key_table import FrameList, KeyColumn

if TYPE_CHECKING:
    from mace_app.data.survey import Survey

_LABELS = ("energy", *DERIVATIVES, "dipole", "charges")
_FAR = 10.0  # robust standard deviations from the median
_ORDER = {"error": 0, "warning": 1, "info": 2}


def all_findings(columns: Sequence[KeyColumn], summaries: Sequence[KeySummary], survey: "Survey") -> list[Finding]:
    """Errors first. Frames are counted from 0 through all files."""
    by_name = {(key.name, key.place): key for key in summaries}
    found = [*_broken(survey), *_contacts(survey), *_duplicates(survey), *_isolated(survey), *_amount(survey)]
    for column in columns:
        found += _about_key(column, by_name[column.name, column.place], survey)
    found += _no_labels(summaries)
    return sorted(found, key=lambda entry: _ORDER[entry.severity])


def _listed(severity: str, message: str, frames: FrameList) -> Finding:
    return Finding(severity, message, list(frames.first), frames.count)  # type: ignore[arg-type]


def _broken(survey: "Survey") -> list[Finding]:
    if not survey.broken:
        return []
    more = f" {survey.broken_count - 1} more structures are wrong too." if survey.broken_count > 1 else ""
    frames = [number for number, _ in survey.broken]
    return [Finding("error", survey.broken[0][1] + more, frames, survey.broken_count)]


def _contacts(survey: "Survey") -> list[Finding]:
    if not survey.contact_frames.count:
        return []
    worst = min(survey.contacts, key=lambda contact: contact.distance)
    same = worst.distance < 1e-6
    return [
        _listed(
            "error" if same else "warning",
            f"{survey.contact_frames.count} structures have atoms nearer to each other than half the sum of their "
            f"covalent radii, for example {worst.distance:.3g} between atoms {worst.first} and {worst.second} of frame "
            f"{worst.frame}. "
            + (
                "Atoms at the same place can't be learnt from; remove the structure."
                if same
                else "Check that this is meant and that lengths are in Å."
            ),
            survey.contact_frames,
        )
    ]


def _duplicates(survey: "Survey") -> list[Finding]:
    if not survey.duplicate_frames.count:
        return []
    earlier, later = survey.duplicates[0]
    return [
        _listed(
            "warning",
            f"{survey.duplicate_frames.count} structures repeat an earlier one, for example frame {later} that of "
            f"frame {earlier}. If one copy lands in validation and the other in training, the error looks too small; "
            "remove the copies.",
            survey.duplicate_frames,
        )
    ]


def _isolated(survey: "Survey") -> list[Finding]:
    found = []
    if survey.isolated_count:
        atoms = sorted({int(frame.numbers[0]) for _, frame in survey.isolated})
        frames = [number for number, _ in survey.isolated]
        names = ", ".join(chemical_symbols[element] for element in atoms)
        marked = all(is_marked_isolated(frame) for _, frame in survey.isolated)
        how = "marked as such" if marked else "single atoms without periodicity"
        found.append(
            finding(
                "info",
                f"{survey.isolated_count} isolated atoms ({names}; {how}) give the energy of free atoms; they are not "
                "learnt from.",
                frames,
            )
        )
        lacking = [chemical_symbols[z] for z in sorted(survey.element_atoms) if z not in atoms]
        if lacking and marked:
            found.append(finding("warning", f"There is no isolated atom of {', '.join(lacking)}."))
    return found


def _amount(survey: "Survey") -> list[Finding]:
    structures = survey.table.ordinals
    if structures == 1:
        return [finding("warning", "There is only one structure, which can't be divided into training and validation.")]
    found = []
    rare = [z for z, count in survey.element_structures.items() if count < 3 and z in _used_elements(survey)]
    if rare and structures > 10:
        names = ", ".join(chemical_symbols[z] for z in sorted(rare))
        found.append(
            finding(
                "warning",
                f"{names} occurs in fewer than three structures; a random split may leave none for training, and "
                "little can be learnt about it.",
            )
        )
    return found


def _used_elements(survey: "Survey") -> set[int]:
    atoms = {int(frame.numbers[0]) for _, frame in survey.isolated}
    return {z for z in survey.element_structures if z not in atoms or survey.element_structures[z] > 1}


def _about_key(column: KeyColumn, key: KeySummary, survey: "Survey") -> list[Finding]:
    found = []
    label = key.role in _LABELS
    if label and key.role in ("stress", "virial") and 0 < key.count == survey.periodicity["TTT"] < key.structures:
        message = f"`{key.name}` is known for {key.count} of {key.structures} structures, as many as are periodic."
        found.append(finding("info", message))
    elif label and 0 < key.count < key.structures:
        frames = FrameList([survey.table.frame_of_ordinal[n] for n in column.missing.first], column.missing.count)
        found.append(
            _listed(
                "warning",
                f"`{key.name}` is known for {key.count} of {key.structures} structures; the others would be learnt "
                "from without it.",
                frames,
            )
        )
    if column.nan_frames.count and (label or key.role == "property"):
        count = column.nan_frames.count
        every = count == key.count and not column.finite
        text = "in every structure" if every else f"in {count} structures ({numbered(column.nan_frames.first)})"
        found.append(
            _listed("error" if label and every else "warning", f"`{key.name}` is NaN {text}.", column.nan_frames)
        )
    if column.infinite_frames.count and (label or key.role == "property"):
        frames = column.infinite_frames
        message = f"`{key.name}` is infinite, or nearly, in {frames.count} structures ({numbered(frames.first)})."
        found.append(_listed("error", message, frames))
    if key.role == "irregular":
        found.append(finding("info", f"`{key.name}` can't be a label: {key.role_reason}."))
    if key.role == "gradient":
        found.append(finding("warning", f"`{key.name}` looks like a gradient: {key.role_reason}."))
    if key.role == "forces" and column.minimum == column.maximum == 0.0:
        found.append(finding("warning", f"`{key.name}` is zero everywhere; such forces teach nothing."))
    elif key.role in ("forces", "gradient"):
        found += _large_forces(column)
    if key.role == "energy":
        found += _odd_energies(column, key, survey)
    return found


def _odd_energies(column: KeyColumn, key: KeySummary, survey: "Survey") -> list[Finding]:
    fit = residuals(column, survey)
    if fit is None:
        return []
    frames, rest, baseline, rank = fit
    found = []
    if rank < len(baseline) and survey.isolated_count == 0:
        names = ", ".join(chemical_symbols[z] for z in baseline)
        found.append(
            finding(
                "info",
                f"The compositions can't tell the energies of {names} apart (rank {rank} of {len(baseline)}), so the "
                f"baseline of `{key.name}` shares them out arbitrarily. Isolated atoms would settle it.",
            )
        )
    score = robust_score(rest)
    far = np.flatnonzero(np.abs(score) > _FAR)
    if far.size:
        far = far[np.argsort(-np.abs(score[far]))]
        unit = f" {key.unit}" if key.unit else ""
        who = "1 structure has" if far.size == 1 else f"{far.size} structures have"
        found.append(
            finding(
                "warning",
                f"{who} an unusual `{key.name}`, the most extreme {rest[far[0]]:+.3g}{unit} per "
                f"atom away from the baseline (frame {frames[far[0]]}; the typical spread is "
                f"{typical_spread(rest):.2g}{unit}). Look at them before training.",
                frames[far],
            )
        )
    found += _contradictions(frames, rest, survey, key)
    return found


def _contradictions(
    frames: NDArray[np.int64], rest: NDArray[np.float64], survey: "Survey", key: KeySummary
) -> list[Finding]:
    """The same structure twice with different energies."""
    if not survey.duplicates:
        return []
    value = dict(zip(frames.tolist(), rest.tolist(), strict=True))
    apart = [
        (later, abs(value[later] - value[earlier]))
        for earlier, later in survey.duplicates
        if earlier in value and later in value
    ]
    limit = max(1e-6, 0.01 * typical_spread(rest))
    wrong = [later for later, difference in apart if difference > limit]
    if not wrong:
        return []
    message = f"The same structure occurs with different `{key.name}` (frames {numbered(wrong)})."
    return [finding("warning", message, wrong)]


def _large_forces(column: KeyColumn) -> list[Finding]:
    frames, largest = np.array(column.norm_frames, dtype=np.int64), np.array(column.norm_largest)
    good = np.isfinite(largest) & (largest > 0)
    frames, largest = frames[good], largest[good]
    if len(largest) < 10:
        return []
    # On a logarithmic scale, because large forces are always rare and a few times the median is nothing strange.
    far = np.flatnonzero((robust_score(np.log(largest)) > 6) & (largest > 5 * np.median(largest)))
    if not far.size:
        return []
    far = far[np.argsort(-largest[far])]
    return [
        finding(
            "warning",
            f"{far.size} structures have unusually large `{column.name}`, up to {largest[far[0]]:.3g} (frame "
            f"{frames[far[0]]}), where {np.median(largest):.2g} is typical for the largest of a structure. Look at "
            "them before training.",
            frames[far],
        )
    ]


def _no_labels(summaries: Sequence[KeySummary]) -> list[Finding]:
    if any(key.role == "energy" and key.count for key in summaries):
        return []
    message = "No key looks like an energy. Say in the mapping which one it is, or what else to learn."
    return [finding("warning", message)]


def typical_spread(values: NDArray[np.float64]) -> float:
    """Standard deviation of a normal distribution with the same median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def robust_score(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in units of ``typical_spread``; zeros where more than half of the values are equal."""
    spread = typical_spread(values)
    return (values - np.median(values)) / spread if spread > 1e-12 else np.zeros_like(values)
