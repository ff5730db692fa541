"""From collected columns to the table of keys, and to energies and forces in detail."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mace_app.data.errors import is_number
from mace_app.data.inspection import EnergySummary, ForceSummary, Histogram, KeySummary
from mace_app.data.key_table import KeyColumn
from mace_app.data.roles import Role, energy_unit, hydrogen_unit, likely_first, stem, total_energy_unit

if TYPE_CHECKING:
    from mace_app.data.survey import Survey

_MOST_ENERGIES = 8
DERIVATIVES = ("forces", "gradient", "stress", "virial")


def key_summaries(columns: Sequence[KeyColumn], survey: "Survey") -> list[KeySummary]:
    """Guessed roles and units included; keys that may be labels first."""
    found = [_summary(column, survey) for column in columns]
    energies = [key for key in found if key.role == "energy" and key.count]
    order = likely_first([key.name for key in energies], set())
    stems = {stem(name): name for name in reversed(order)}
    units = {key.name: key.unit for key in energies}
    paired = []
    for key in found:
        if key.role in DERIVATIVES and energies:
            alone = len(order) == 1 or not stem(key.name)
            owner = stems.get(stem(key.name), order[0] if alone else None)
            key = _with_owner(key, owner, units.get(owner or "", ""))
        paired.append(key)
    return sorted(paired, key=lambda key: _rank(key.role))


def _rank(role: str) -> int:
    order = ("energy", *DERIVATIVES, "dipole", "polarizability", "charges", "property", "config_type")
    return order.index(role) if role in order else len(order)


def _summary(column: KeyColumn, survey: "Survey") -> KeySummary:
    role, fitted = column.role, None
    constant = column.count > 1 and column.minimum == column.maximum
    if role.name in ("energy", "property") and column.kind == "float" and not column.per_atom and not constant:
        fitted = _fitted_unit(column, survey)
        if role.name == "property" and fitted is not None:
            role = Role("energy", f"its values are those of total energies in {fitted}")
    if role.name in ("energy", "property") and constant and not column.per_atom and column.shape in ((), (1,)):
        role = Role("setting", "the same number in every structure")
    unit, unit_reason = "", ""
    if role.name == "energy":
        unit, unit_reason = energy_unit(column.name, column.place, fitted, _hydrogen_unit(column.name, survey))
    elif role.name == "dipole":
        unit, unit_reason = "e*Angstrom", "usual beside eV and Å; the values can't tell it from Debye"
    elif role.name == "charges":
        unit, unit_reason = "e", "partial charges are given in elementary charges"
    return KeySummary(
        name=column.name,
        place=column.place,
        per_atom=column.per_atom,
        kind=column.kind,
        shape=None if column.shape is None else list(column.shape),
        shapes=[list(shape) for shape, _ in column.shapes.most_common(8)],
        count=column.count,
        structures=survey.table.ordinals,
        isolated=column.isolated,
        minimum=_finite(column.minimum),
        maximum=_finite(column.maximum),
        mean=_finite(column.sum / column.finite) if column.finite else None,
        nan=column.nan,
        infinite=column.infinite,
        values=column.commonest(),
        role=role.name,
        role_reason=role.reason,
        unit=unit,
        unit_reason=unit_reason,
    )


def _with_owner(key: KeySummary, owner: str | None, energy: str) -> KeySummary:
    if not energy:
        return replace(key, belongs_to=owner)
    unit = {"stress": f"{energy}/Å³", "virial": energy}.get(key.role, f"{energy}/Å")
    reason = f"follows from the unit of `{owner}`, which may be wrong"
    if key.place == "results":
        reason = "ASE gives calculators' results in eV and Å"
    return replace(key, belongs_to=owner, unit=unit, unit_reason=reason)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def scalars(column: KeyColumn) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frames and finite values of a number per structure."""
    frames, values = np.array(column.scalar_frames, dtype=np.int64), np.array(column.scalars)
    good = is_number(values)
    return frames[good], values[good]


def _hydrogen_unit(key: str, survey: "Survey") -> str | None:
    for _, frame in survey.isolated:
        energy = frame.info.get(key)
        if frame.numbers[0] == 1 and isinstance(energy, float | np.floating):
            return hydrogen_unit(float(energy))
    return None


def _fitted_unit(column: KeyColumn, survey: "Survey") -> str | None:
    frames, values = scalars(column)
    if not len(frames):
        return None
    some = slice(None, None, max(1, len(frames) // 500))
    elements = sorted(survey.element_atoms)
    return total_energy_unit(values[some], survey.counts(frames[some], elements), elements)


def residuals(
    column: KeyColumn, survey: "Survey"
) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[int, float], int] | None:
    """Frames, energy per atom without the least-squares baseline, the baseline and its rank; None without values."""
    frames, values = scalars(column)
    if not len(frames):
        return None
    elements = sorted(survey.element_atoms)
    counts = survey.counts(frames, elements)
    present = np.asarray(counts.any(axis=0))
    counts = counts[:, present]
    elements = [element for element, there in zip(elements, present.tolist(), strict=True) if there]
    atoms = counts.sum(axis=1)
    # Rows are weighted with 1/N, so that energies per atom are fitted; minimum norm where elements can't be told apart.
    weights, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], values / atoms, rcond=None)
    rest = (values - counts @ weights) / atoms
    return frames, rest, {z: float(w) for z, w in zip(elements, weights, strict=True)}, int(rank)


def energies_and_forces(
    columns: Sequence[KeyColumn], summaries: Sequence[KeySummary], survey: "Survey"
) -> tuple[dict[str, EnergySummary], dict[str, ForceSummary]]:
    by_name = {(key.name, key.place): key for key in summaries}
    energies: dict[str, EnergySummary] = {}
    forces: dict[str, ForceSummary] = {}
    for column in columns:
        key = by_name[column.name, column.place]
        if key.role == "energy" and len(energies) < _MOST_ENERGIES:
            fit = residuals(column, survey)
            if fit is not None:
                _, rest, baseline, rank = fit
                histogram = Histogram.of(rest)
                assert histogram is not None
                spread = float(np.sqrt((rest**2).mean()))
                energies[key.name] = EnergySummary(histogram, spread, baseline, rank, key.unit)
        elif key.role in ("forces", "gradient") and column.norm_count:
            histogram = Histogram.of(np.concatenate(column.norms))
            assert histogram is not None
            rms = float(np.sqrt(column.squares / (3 * column.norm_count)))
            forces[key.name] = ForceSummary(histogram, rms, float(np.nanmax(column.norm_largest)), key.unit)
    return energies, forces
