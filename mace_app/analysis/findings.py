"""What a person would notice in the errors, as sentences that name the structures.

Every finding is a comparison with the rest of the same data: medians and median deviations, which a few bad labels
can't move. Thresholds are wide, so that a set of good labels says little or nothing.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mace_app.analysis.errors import Integers, Look, by_structure, error_of_atoms, mean_of, pairs
from mace_app.analysis.finding import FAR, Finding, amount, members_of, names_of, number_of, robust_spread, shifted
from mace_app.analysis.store import Analysis, Floats
from mace_app.analysis.target_findings import far_values, reversed_signs, shifted_values

# eV per unit, by the names that data have.
EV = {"ev": 1.0, "mev": 1e-3, "kcal/mol": 0.04336410, "kj/mol": 0.01036427, "ha": 27.211386, "hartree": 27.211386,
      "ry": 13.605693, "rydberg": 13.605693}  # fmt: skip
MOST_SHOWN = 20  # of structures that hold an element


def findings(analysis: Analysis) -> list[Finding]:
    """What is likely a wrong label first, then where the model is weak."""
    checks: tuple[Callable[[Analysis, str], Iterator[Finding]], ...] = (
        _reference_level,
        _shifted_groups,
        _swapped_and_far,
        _duplicates,
        _slopes,
        _net_forces,
        _noisy_elements,
        _concentrated,
        _overfitted,
    )
    energies = [
        name
        for name, target in analysis.info.targets.items()
        if target.is_energy and name in analysis.labels and analysis.labels[name].shape == (1,)
    ]
    found = [finding for check in checks for energy in energies for finding in check(analysis, energy)]
    others = [name for name in analysis.labels if name.split(".")[0] not in energies and name not in energies]
    for check in (shifted_values, reversed_signs, far_values):
        found += [finding for name in others for finding in check(analysis, name)]
    return found


def _in_ev(analysis: Analysis, energy: str) -> float:
    """What 1 eV is in the unit of an energy, so that bounds mean the same in all of them."""
    return 1 / EV.get(analysis.labels[energy].unit.lower(), 1.0)


def _energy_errors(analysis: Analysis, energy: str) -> Floats:
    """Signed errors per atom ``[S]``, NaN where there is none."""
    return by_structure(analysis, pairs(analysis, Look(energy, per_atom=True)), mean_of)


def _reference_level(analysis: Analysis, energy: str) -> Iterator[Finding]:
    """All energies off by an amount for each element, as between methods or with another choice of E0s."""
    errors = _energy_errors(analysis, energy)
    known = np.flatnonzero(np.isfinite(errors))
    if len(known) < 8:
        return
    size = float(np.sqrt(np.mean(errors[known] ** 2)))
    if size < 0.02 * _in_ev(analysis, energy):
        return
    elements, of_atom = np.unique(analysis.numbers, return_inverse=True)
    counts = np.zeros((len(analysis), len(elements)))
    np.add.at(counts, (analysis.structure_of_atom, of_atom), 1)
    shares = counts[known] / counts[known].sum(axis=1, keepdims=True)
    if len(known) < 4 * len(elements):
        return
    levels, _, rank, _ = np.linalg.lstsq(shares, errors[known], rcond=1e-6)
    rest = float(np.sqrt(np.mean((errors[known] - shares @ levels) ** 2)))
    if rest > 0.1 * size:
        return
    unit = analysis.labels[energy].unit
    if rank == len(elements) and len(elements) <= 6:
        listed = ", ".join(
            f"{chemical_symbols[number]} {amount(-level, unit)}" for number, level in zip(elements, levels, strict=True)
        )
        what = f"an amount for each element ({listed})"
    else:
        low, high = np.sort(-(shares @ levels))[[0, -1]]
        what = f"{amount(low, unit)}/atom to {amount(high, unit)}/atom"
        if high - low < 0.01 * abs(low):
            what = f"about {amount((low + high) / 2, unit)}/atom"
    yield Finding(
        "level",
        f"All energies are shifted by {what} against the predictions: another reference level? Without it "
        f"{amount(rest, unit)}/atom would be left.",
        energy,
        known[np.argsort(-np.abs(errors[known]), kind="stable")],
    )


def _shifted_groups(analysis: Analysis, energy: str) -> Iterator[Finding]:
    unit = analysis.labels[energy].unit
    least = 1e-3 * _in_ev(analysis, energy)
    for kind, name, rows, shift in shifted(analysis, _energy_errors(analysis, energy), 3, least):
        # The label lies opposite to the error of the prediction.
        yield Finding(
            "shift",
            f"Energies of the {kind} {name} are shifted by {amount(-shift, unit)}/atom against the rest: another "
            "reference level?",
            energy,
            rows,
        )


def _far(analysis: Analysis, energy: str) -> Integers:
    """Structures whose energy is far from what others of their group have, farthest first."""
    errors = _energy_errors(analysis, energy)
    distance = np.zeros(len(errors))
    for _, members in members_of(analysis.structures.group, np.isfinite(errors), 8):
        middle, spread = robust_spread(errors[members])
        distance[members] = np.abs(errors[members] - middle) / max(spread, 1e-6 * _in_ev(analysis, energy))
    far = np.flatnonzero(distance > FAR)
    return far[np.argsort(-distance[far], kind="stable")]


def _swapped_and_far(analysis: Analysis, energy: str) -> Iterator[Finding]:
    far = _far(analysis, energy)
    errors = _energy_errors(analysis, energy)
    count = int(np.isfinite(errors).sum())
    if not len(far) or len(far) > max(5, 0.05 * count):
        return
    swapped = _swapped(analysis, energy, far[:60], errors)
    for one, two in swapped:
        yield Finding(
            "swapped",
            f"The energies of {names_of(analysis, [one, two])} look swapped: each fits the other's prediction.",
            energy,
            np.array([one, two]),
        )
    rest = np.array([place for place in far if place not in {n for pair in swapped for n in pair}], dtype=np.int64)
    if len(rest):
        yield Finding(
            "outlier",
            f"{number_of(len(rest), 'energy is', 'energies are')} far from all others: {names_of(analysis, rest)}. "
            "Wrong labels, or structures of another kind?",
            energy,
            rest,
        )


def _swapped(analysis: Analysis, energy: str, far: Integers, errors: Floats) -> list[tuple[int, int]]:
    label = analysis.labels[energy]
    reference, prediction = label.reference[:, 0], label.prediction[:, 0]
    good = np.setdiff1d(np.flatnonzero(np.isfinite(errors)), far)
    if len(good) < 8:
        return []
    middle, spread = robust_spread(errors[good])
    n_atoms = analysis.structures.n_atoms
    found: list[tuple[int, int]] = []
    for one, two in combinations(far.tolist(), 2):
        crossed = np.array([
            (prediction[one] - reference[two]) / n_atoms[one] - middle,
            (prediction[two] - reference[one]) / n_atoms[two] - middle,
        ])  # fmt: skip
        if np.abs(crossed).max() < 5 * max(spread, 1e-12) and not {one, two} & {n for pair in found for n in pair}:
            found.append((one, two))
    return found


def _duplicates(analysis: Analysis, energy: str) -> Iterator[Finding]:
    """The same structure twice, turned or moved, with different labels."""
    reference = analysis.labels[energy].reference[:, 0] / analysis.structures.n_atoms
    least = 1e-4 * _in_ev(analysis, energy)
    same: dict[bytes, list[int]] = {}
    for place in np.flatnonzero(np.isfinite(reference)):
        same.setdefault(_fingerprint(analysis, int(place)), []).append(int(place))
    conflicting = [
        (float(np.ptp(reference[places])), places) for places in same.values()
        if len(places) > 1 and np.ptp(reference[places]) > least
    ]  # fmt: skip
    for difference, places in sorted(conflicting, reverse=True)[:5]:
        unit = analysis.labels[energy].unit
        yield Finding(
            "duplicate",
            f"{names_of(analysis, places).capitalize()} are the same structure, but their energies differ by "
            f"{amount(difference, unit)}/atom.",
            energy,
            np.array(places),
        )


def _fingerprint(analysis: Analysis, structure: int) -> bytes:
    """Equal for structures that differ by a rotation and a shift; of periodic ones, by nothing but rounding."""
    first = analysis.first_atom
    rows = slice(first[structure], first[structure + 1])
    numbers, positions = analysis.numbers[rows], analysis.angstrom * analysis.positions[rows]
    if analysis.structures.pbc[structure].any():
        cell = analysis.angstrom * analysis.structures.cell[structure]
        kinds, shape = numbers, np.concatenate([cell.ravel(), (positions - positions[0]).ravel()])
    elif len(numbers) > 60:
        kinds, shape = _sorted(numbers, np.linalg.norm(positions - positions.mean(axis=0), axis=1))
    else:
        one, two = np.triu_indices(len(numbers), 1)
        pair = 1000 * np.minimum(numbers[one], numbers[two]) + np.maximum(numbers[one], numbers[two])
        kinds, shape = _sorted(pair, np.linalg.norm(positions[one] - positions[two], axis=1))
    digest = hashlib.blake2b(np.sort(numbers).tobytes(), digest_size=16)
    digest.update(kinds.tobytes())
    digest.update((np.round(shape, 3) + 0.0).tobytes())  # no negative zeros
    return digest.digest()


def _sorted(kinds: Integers, lengths: Floats) -> tuple[Integers, Floats]:
    """By kind, then by length."""
    order = np.lexsort((lengths, kinds))
    return kinds[order], lengths[order]


def _slopes(analysis: Analysis, energy: str) -> Iterator[Finding]:
    """Along a trajectory, E(t+1) − E(t) = −½ (F(t) + F(t+1))·Δx to third order; a label that breaks it is suspect."""
    forces = analysis.labels.get(f"{energy}.forces")
    if forces is None:
        return
    one, two, misfit = _steps(analysis, analysis.labels[energy].reference[:, 0], forces.reference)
    if len(misfit) < 20:
        return
    middle, spread = robust_spread(misfit)
    bad = np.abs(misfit - middle) > FAR * max(spread, 1e-9)
    if not bad.any() or bad.mean() > 0.1:
        return
    # A bad label spoils the step to it and the step from it.
    touched = np.bincount(np.concatenate([one[bad], two[bad]]), minlength=len(analysis))
    steps = np.bincount(np.concatenate([one, two]), minlength=len(analysis))
    suspect = np.flatnonzero((touched >= 2) | ((touched == 1) & (steps == 1)))
    if len(suspect):
        yield Finding(
            "slope",
            f"Labels look wrong: forces of {names_of(analysis, suspect)} do not match the slope of their neighbours' "
            "energies.",
            f"{energy}.forces",
            suspect,
        )


def _steps(analysis: Analysis, energies: Floats, forces: Floats) -> tuple[Integers, Integers, Floats]:
    """Neighbouring frames with small displacements, and by how much energy and forces disagree, per atom."""
    table, first = analysis.structures, analysis.first_atom
    order = np.lexsort((table.frame, table.dataset))
    one, two, misfit = [], [], []
    for before, after in pairwise(order):
        a, b = slice(first[before], first[before + 1]), slice(first[after], first[after + 1])
        if table.dataset[before] != table.dataset[after] or not np.array_equal(
            analysis.numbers[a], analysis.numbers[b]
        ):
            continue
        if table.frame[after] - table.frame[before] != 1 or not np.array_equal(table.cell[before], table.cell[after]):
            continue
        move = analysis.positions[b] - analysis.positions[a]
        if analysis.angstrom * np.abs(move).max() > 0.15:
            continue
        work = -0.5 * ((forces[a] + forces[b]).reshape(move.shape) * move).sum()
        difference = (energies[after] - energies[before] - work) / len(move)
        if np.isfinite(difference):
            one.append(before)
            two.append(after)
            misfit.append(difference)
    return np.array(one, np.int64), np.array(two, np.int64), np.array(misfit)


def _net_forces(analysis: Analysis, energy: str) -> Iterator[Finding]:
    forces = analysis.labels.get(f"{energy}.forces")
    if forces is None:
        return
    reference = forces.reference.reshape(len(forces.reference), -1)
    if reference.shape[1] != 3:
        return
    where = analysis.structure_of_atom
    total = np.stack([np.bincount(where, reference[:, axis], len(analysis)) for axis in range(3)], axis=1)
    size = np.linalg.norm(total, axis=1) / np.sqrt(analysis.structures.n_atoms)
    known = np.isfinite(size)
    least = 0.02 * _in_ev(analysis, energy) * analysis.angstrom
    if known.sum() < 3 or (size[known] > least).mean() > 0.5:  # then it is how the data were made
        return
    bad = np.flatnonzero(known & (size > max(least, FAR * float(np.median(size[known])))))
    if len(bad):
        bad = bad[np.argsort(-size[bad], kind="stable")]
        yield Finding(
            "net_force",
            f"The reference forces of {names_of(analysis, bad)} don't add up to zero: atoms held, or wrong labels?",
            f"{energy}.forces",
            bad,
        )


def _noisy_elements(analysis: Analysis, energy: str) -> Iterator[Finding]:
    name = f"{energy}.forces"
    if name not in analysis.labels:
        return
    errors = error_of_atoms(analysis, name)
    known = np.isfinite(errors)
    kinds = np.unique(analysis.numbers[known])
    if len(kinds) < 2:
        return
    unit = analysis.labels[name].unit
    middles = {kind: float(np.median(errors[known & (analysis.numbers == kind)])) for kind in kinds}
    for kind in kinds:
        mine = known & (analysis.numbers == kind)
        others = known & (analysis.numbers != kind)
        rest = float(np.median(errors[others])) if others.any() else 0.0
        if (
            mine.sum() < 20
            or others.sum() < 20
            or not rest > 0
            or middles[kind] < 1.8 * rest
            or middles[kind] < max(middles.values())
        ):
            continue
        order = np.argsort(-np.where(mine, errors, -1.0), kind="stable")[: 10 * MOST_SHOWN]
        where = analysis.structure_of_atom[order[mine[order]]]
        yield Finding(
            "element",
            f"Forces on {chemical_symbols[kind]} are off {middles[kind] / rest:.2g} times as much as those on the "
            f"other elements ({amount(middles[kind], unit)} against {amount(rest, unit)}).",
            name,
            where[np.sort(np.unique(where, return_index=True)[1])][:MOST_SHOWN],
        )


def _concentrated(analysis: Analysis, energy: str) -> Iterator[Finding]:
    name = f"{energy}.forces" if f"{energy}.forces" in analysis.labels else energy
    found = pairs(analysis, Look(name))
    if not len(found):
        return
    squares = np.bincount(found.structure, found.error**2, minlength=len(analysis))
    order = np.argsort(-squares, kind="stable")
    share = np.cumsum(squares[order]) / max(squares.sum(), 1e-300)
    few = int(np.searchsorted(share, 0.4)) + 1
    present = len(np.unique(found.structure))
    if present >= 20 and few <= max(1, 0.03 * present):
        what = "force" if name != energy else "energy"
        yield Finding(
            "concentrated",
            f"{number_of(few, 'structure carries', 'structures carry')} {100 * share[few - 1]:.0f} % of the squared "
            f"{what} error.",
            name,
            order[:few],
        )


def _overfitted(analysis: Analysis, energy: str) -> Iterator[Finding]:
    name = f"{energy}.forces" if f"{energy}.forces" in analysis.labels else energy
    split = analysis.structures.split
    errors = by_structure(analysis, pairs(analysis, Look(name)))
    learnt, held = (_known(errors, split == kind) for kind in ("training", "validation"))
    if len(learnt) < 10 or len(held) < 10:
        return
    one, two = float(np.median(learnt)), float(np.median(held))
    if one > 0 and two > 2 * one:
        yield Finding(
            "overfitted",
            f"On the validation set errors are {two / one:.2g} times those of the training set: more data, or a "
            "smaller model, would help.",
            name,
            np.flatnonzero((split == "validation") & (errors > two)),
        )


def _known(errors: Floats, chosen: NDArray[np.bool_]) -> Floats:
    return errors[chosen & np.isfinite(errors)]
