"""What a person would notice in the errors, as sentences that name the structures.

Every finding is a comparison with the rest of the same data: medians and median deviations, which a few bad labels
can't move. Thresholds are wide, so that a set of good labels says little or nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mace_app.analysis.errors import Integers, Look, by_structure, error_of_atoms, mean_of, pairs
from mace_app.analysis.store import Analysis, Floats

FAR = 8.0  # robust standard deviations
MOST_SHOWN = 20  # of structures that hold an element


@dataclass(frozen=True)
class Finding:
    """``text`` is a sentence without markup; ``structures`` are the rows it speaks of, the worst first; ``kind`` is
    ``shift``, ``swapped``, ``outlier``, ``duplicate``, ``slope``, ``net_force``, ``concentrated``, ``element`` or
    ``overfitted``."""

    kind: str
    text: str
    label: str
    structures: Integers


def findings(analysis: Analysis) -> list[Finding]:
    """What is likely a wrong label first, then where the model is weak."""
    checks: tuple[Callable[[Analysis, str], Iterator[Finding]], ...] = (
        _shifted_groups,
        _swapped_and_far,
        _duplicates,
        _slopes,
        _net_forces,
        _noisy_elements,
        _concentrated,
        _overfitted,
    )
    energies = [name for name, target in analysis.info.targets.items() if target.is_energy and name in analysis.labels]
    return [finding for check in checks for energy in energies for finding in check(analysis, energy)]


def robust_spread(values: Floats) -> tuple[float, float]:
    """Median, and the median deviation from it as a standard deviation."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _amount(value: float, unit: str) -> str:
    small = unit.startswith("eV") and abs(value) < 0.1
    return f"{value * 1000:.3g} m{unit}" if small else f"{value:.3g} {unit}"


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _energy_errors(analysis: Analysis, energy: str) -> Floats:
    """Signed errors per atom ``[S]``, NaN where there is none."""
    return by_structure(analysis, pairs(analysis, Look(energy, per_atom=True)), mean_of)


def _shifted_groups(analysis: Analysis, energy: str) -> Iterator[Finding]:
    errors = _energy_errors(analysis, energy)
    told: list[frozenset[int]] = []
    for kind, names in (("group", analysis.structures.group), ("file", analysis.structures.dataset)):
        if len(np.unique(names)) < 2:
            continue
        for name in np.unique(names):
            members = (names == name) & np.isfinite(errors)
            others = (names != name) & np.isfinite(errors)
            few, many = (frozenset(np.flatnonzero(chosen).tolist()) for chosen in (members, others))
            if len(few) < 3 or len(many) < len(few) or few in told or many in told:
                continue
            middle, spread = robust_spread(errors[others])
            own, own_spread = robust_spread(errors[members])
            shift = own - middle
            if abs(shift) > max(5 * max(spread, own_spread), 1e-3):
                told.append(few)
                # The label lies opposite to the error of the prediction.
                yield Finding(
                    "shift",
                    f"Energies of the {kind} {name or '(none)'} are shifted by "
                    f"{_amount(-shift, analysis.labels[energy].unit)}/atom against the rest: another reference level?",
                    energy,
                    np.flatnonzero(members),
                )


def _far(analysis: Analysis, energy: str) -> Integers:
    """Structures whose energy is far from what others of their group have, farthest first."""
    errors = _energy_errors(analysis, energy)
    distance = np.zeros(len(errors))
    for name in np.unique(analysis.structures.group):
        members = np.flatnonzero((analysis.structures.group == name) & np.isfinite(errors))
        if len(members) >= 8:
            middle, spread = robust_spread(errors[members])
            distance[members] = np.abs(errors[members] - middle) / max(spread, 1e-12)
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
            f"The energies of {_names(analysis, [one, two])} look swapped: each fits the other's prediction.",
            energy,
            np.array([one, two]),
        )
    rest = np.array([place for place in far if place not in {n for pair in swapped for n in pair}], dtype=np.int64)
    if len(rest):
        yield Finding(
            "outlier",
            f"{_number(len(rest), 'energy is', 'energies are')} far from all others: {_names(analysis, rest)}. "
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


def _names(analysis: Analysis, structures: "list[int] | Integers", most: int = 4) -> str:
    """``frames 3 and 17``, with the file where there are several."""
    table = analysis.structures
    files = len(np.unique(table.dataset)) > 1
    names = [f"{table.frame[n]}" + (f" of {table.dataset[n]}" if files else "") for n in structures[:most]]
    more = len(structures) - len(names)
    text = ", ".join(names) if more else " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"frame{'s' if len(structures) > 1 else ''} {text}" + (f" and {more} more" if more else "")


def _duplicates(analysis: Analysis, energy: str) -> Iterator[Finding]:
    """The same structure twice, turned or moved, with different labels."""
    reference = analysis.labels[energy].reference[:, 0] / analysis.structures.n_atoms
    same: dict[tuple[object, ...], list[int]] = {}
    for place in np.flatnonzero(np.isfinite(reference)):
        same.setdefault(_fingerprint(analysis, int(place)), []).append(int(place))
    conflicting = [
        (float(np.ptp(reference[places])), places) for places in same.values()
        if len(places) > 1 and np.ptp(reference[places]) > 1e-4
    ]  # fmt: skip
    for difference, places in sorted(conflicting, reverse=True)[:5]:
        unit = analysis.labels[energy].unit
        yield Finding(
            "duplicate",
            f"{_names(analysis, places).capitalize()} are the same structure, but their energies differ by "
            f"{_amount(difference, unit)}/atom.",
            energy,
            np.array(places),
        )


def _fingerprint(analysis: Analysis, structure: int) -> tuple[object, ...]:
    """Equal for structures that differ by a rotation and a shift; of periodic ones, by nothing but rounding."""
    first = analysis.first_atom
    rows = slice(first[structure], first[structure + 1])
    numbers, positions = analysis.numbers[rows], analysis.positions[rows]
    if analysis.structures.pbc[structure].any():
        shape = np.concatenate([analysis.structures.cell[structure].ravel(), (positions - positions[0]).ravel()])
    else:
        centre = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
        shape = np.sort(centre) if len(numbers) > 60 else _distances(positions)
    return numbers.tobytes(), np.round(shape, 3).tobytes()


def _distances(positions: Floats) -> Floats:
    """Of all pairs, sorted."""
    one, two = np.triu_indices(len(positions), 1)
    return np.sort(np.linalg.norm(positions[one] - positions[two], axis=1))


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
            f"Labels look wrong: forces of {_names(analysis, suspect)} do not match the slope of their neighbours' "
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
        if np.abs(move).max() > 0.15:
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
    if known.sum() < 3 or (size[known] > 0.02).mean() > 0.5:  # then it is how the data were made
        return
    bad = np.flatnonzero(known & (size > max(0.02, FAR * float(np.median(size[known])))))
    if len(bad):
        bad = bad[np.argsort(-size[bad], kind="stable")]
        yield Finding(
            "net_force",
            f"The reference forces of {_names(analysis, bad)} don't add up to zero: atoms held, or wrong labels?",
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
        rest = float(np.median(errors[others]))
        if mine.sum() < 20 or others.sum() < 20 or middles[kind] < 1.8 * rest or middles[kind] < max(middles.values()):
            continue
        order = np.argsort(-np.where(mine, errors, -1.0), kind="stable")[: 10 * MOST_SHOWN]
        where = analysis.structure_of_atom[order[mine[order]]]
        yield Finding(
            "element",
            f"Forces on {chemical_symbols[kind]} are off {middles[kind] / rest:.2g} times as much as those on the "
            f"other elements ({_amount(middles[kind], unit)} against {_amount(rest, unit)}).",
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
            f"{_number(few, 'structure carries', 'structures carry')} {100 * share[few - 1]:.0f} % of the squared "
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
    if two > 2 * one:
        yield Finding(
            "overfitted",
            f"On the validation set errors are {two / one:.2g} times those of the training set: more data, or a "
            "smaller model, would help.",
            name,
            np.flatnonzero((split == "validation") & (errors > two)),
        )


def _known(errors: Floats, chosen: NDArray[np.bool_]) -> Floats:
    return errors[chosen & np.isfinite(errors)]
