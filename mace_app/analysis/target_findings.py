"""What stands out in targets other than energies: dipoles, charges, gaps, spectra."""

from collections.abc import Iterator

import numpy as np

from mace_app.analysis.errors import Integers, Look, by_structure, mean_of, pairs, unit_of, worst_of
from mace_app.analysis.finding import FAR, Finding, amount, names_of, robust_spread, shifted
from mace_app.analysis.store import Analysis

FEWEST = 20
GAP = 3.0  # between the smallest of the far errors and the largest of the others
OPPOSITE = -0.8  # cosine


def shifted_values(analysis: Analysis, name: str) -> Iterator[Finding]:
    """Groups and files in which one number of each structure is shifted against the others'."""
    label = analysis.labels[name]
    if label.per_atom or label.shape != (1,):
        return
    errors = by_structure(analysis, pairs(analysis, Look(name)), mean_of)
    for kind, group, rows, shift in shifted(analysis, errors, 5):
        yield Finding(
            "shift",
            f"Values of {name} in the {kind} {group} are shifted by {amount(-shift, unit_of(label))} against the rest: "
            "another convention or method?",
            name,
            rows,
        )


def reversed_signs(analysis: Analysis, name: str) -> Iterator[Finding]:
    """Structures whose vector, tensor or spectrum points where the prediction does not, by a convention of signs."""
    label = analysis.labels[name]
    found = pairs(analysis, Look(name))
    if label.shape == (1,) and not label.per_atom:
        return
    count = len(analysis)
    product, reference, prediction, error = (
        np.bincount(found.structure, values, count)
        for values in (
            found.reference * found.prediction,
            found.reference**2,
            found.prediction**2,
            found.error**2,
        )
    )
    sized = reference > 0
    cosine = np.full(count, np.nan)
    cosine[sized] = product[sized] / np.sqrt(reference[sized] * np.maximum(prediction[sized], 1e-300))
    # Of those that are large against what the model gets wrong where signs agree.
    agree = cosine > -OPPOSITE
    opposite = cosine < OPPOSITE
    if sized.sum() < FEWEST or not opposite.any():
        return
    if opposite.sum() > 0.9 * sized.sum():
        text = f"{_called(name)} has the opposite sign of the prediction in nearly all structures: another convention?"
        yield Finding("reversed", text, name, np.flatnonzero(opposite))
        return
    if agree.sum() < FEWEST or opposite.sum() > 0.5 * agree.sum():
        return
    noise = float(np.median(error[agree]))
    rows = np.flatnonzero(opposite & (np.minimum(reference, prediction) > 9 * noise))
    if len(rows):
        rows = rows[np.argsort(-reference[rows], kind="stable")]
        yield Finding(
            "reversed",
            f"{_called(name)} looks reversed in {names_of(analysis, rows)}: the prediction points the other way.",
            name,
            rows,
        )


def far_values(analysis: Analysis, name: str) -> Iterator[Finding]:
    """A few structures whose largest errors stand apart from all others by a gap."""
    label = analysis.labels[name]
    found = pairs(analysis, Look(name))
    errors = by_structure(analysis, found, worst_of)
    known: Integers = np.unique(found.structure)
    if len(known) < FEWEST:
        return
    order = known[np.argsort(-errors[known], kind="stable")]
    middle, spread = robust_spread(errors[known])
    falling = errors[order]
    most = max(3, round(0.03 * len(known)))
    gaps = [n for n in range(1, most + 1) if falling[n - 1] > GAP * falling[n]]
    if not gaps or falling[gaps[-1] - 1] < middle + FAR * spread:
        return
    few = order[: gaps[-1]]
    unit = unit_of(label)
    yield Finding(
        "outlier",
        f"{_called(name)} is far off in {names_of(analysis, few)}: {amount(float(falling[0]), unit)}, elsewhere "
        f"at most {amount(float(falling[gaps[-1]]), unit)}. Wrong labels, or structures of another kind?",
        name,
        few,
    )


def _called(name: str) -> str:
    """``mtt::bond_order`` as "Bond order"."""
    words = name.removeprefix("mtt::").replace("_", " ")
    return words[:1].upper() + words[1:]
