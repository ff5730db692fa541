"""Which structures are learnt from, which choose the best epoch, which are kept for the end."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mace_app.data.errors import DataError, numbered
from mace_app.options import IndicesOptions

Share = float | IndicesOptions | None
"""A fraction, indices, or None for a set with files of its own."""


def fraction_size(count: int, fraction: float) -> int:
    """⌊n·f⌋, where a product that is a whole number but for rounding counts as that number (0.29 · 100 = 29)."""
    return math.floor(count * fraction + 1e-9)


def divide(
    frames: Sequence[Sequence[int]],
    total: int,
    validation: Share,
    test: Share,
    seed: int | None,
    isolated: frozenset[int] = frozenset(),
    needs_validation: bool = True,
    files: str = "The training data",
) -> tuple[dict[str, list[int]], list[str]]:
    """Positions in the training data for ``training``, ``validation`` and ``test``, and warnings.

    ``frames`` holds, for each data set, the positions of the structures that can be drawn (without isolated atoms);
    positions count all ``total`` frames of all files in turn. A fraction is drawn from every data set by itself, with
    ``numpy.random.default_rng(seed)``: one permutation a data set, its head for validation, the next part for test, so
    that the validation structures don't depend on the size of the test set.
    """
    warnings: list[str] = []
    count = sum(len(dataset) for dataset in frames)
    if count == 1 and any(share not in (None, 0.0) for share in (validation, test)):
        raise DataError(
            f"{files} hold one structure only, which can't be divided. Give a file of its own for validation, or more "
            "structures."
        )
    named = {
        name: _listed(name, share, frames, total, isolated, warnings)
        for name, share in (("validation", validation), ("test", test))
        if isinstance(share, IndicesOptions)
    }
    if len(named) == 2 and (common := sorted(set(named["validation"]) & set(named["test"]))):
        raise DataError(
            f"The structures {numbered(common)} are in the indices of both validation and test. Keep each in one only."
        )
    taken = {position for positions in named.values() for position in positions}
    parts: dict[str, list[int]] = {"validation": [], "test": [], **named}
    random = np.random.default_rng(seed)
    for dataset in frames:
        order = [int(dataset[k]) for k in random.permutation(len(dataset)) if dataset[k] not in taken]
        for name, share in (("validation", validation), ("test", test)):
            if isinstance(share, float):
                size = fraction_size(len(dataset), share)
                parts[name] += order[:size]
                order = order[size:]
    for name, share in (("validation", validation), ("test", test)):
        if isinstance(share, float) and share > 0 and not parts[name]:
            sentence = (
                f"A {name} share of {share:g} leaves no structure for it: {files[0].lower()}{files[1:]} hold {count}. "
                f"Use at least {_enough(frames):g}, or give files for {name}."
            )
            if name == "validation" and needs_validation:
                raise DataError(sentence)
            warnings.append(sentence)
    away = set(parts["validation"]) | set(parts["test"])
    training = [position for dataset in frames for position in dataset if position not in away]
    if not training:
        raise DataError(
            f"Validation and test take all {count} structures of the training data, so nothing is left to learn from. "
            "Choose smaller shares or give files for them."
        )
    return {"training": training, "validation": sorted(parts["validation"]), "test": sorted(parts["test"])}, warnings


def _enough(frames: Sequence[Sequence[int]]) -> float:
    """The smallest fraction that gives one structure, rounded up to two digits."""
    fraction = 1 / max(len(dataset) for dataset in frames)
    digits = 1 - math.floor(math.log10(fraction))
    return math.ceil(fraction * 10**digits - 1e-9) / 10**digits


def read_indices(source: list[int] | str, name: str) -> list[int]:
    """The list itself, or the whole numbers in a text file, one a line."""
    if not isinstance(source, str):
        return list(source)
    path = Path(source)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the indices of the {name} set can't be read ({error}). Check the file.") from error
    found = []
    for number, line in enumerate(lines, 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        if not text.isdecimal():
            raise DataError(
                f"{path}, line {number}: `{text[:40]}` is no position of a structure. Write one whole number from 0 up "
                "in each line."
            )
        found.append(int(text))
    if not found:
        raise DataError(f"{path}: there are no indices in the file. Write one position in each line.")
    twice = sorted({index for index in found if found.count(index) > 1}) if len(set(found)) < len(found) else []
    if twice:
        raise DataError(f"{path}: the positions {numbered(twice)} occur more than once. Name every structure once.")
    return found


def _listed(
    name: str,
    share: IndicesOptions,
    frames: Sequence[Sequence[int]],
    total: int,
    isolated: frozenset[int],
    warnings: list[str],
) -> list[int]:
    if len(frames) > 1:
        raise DataError(
            f"The {name} set is given by indices, but there are {len(frames)} training data sets, so it is unclear "
            "which one they count. Put the data into one file, or use a fraction or files."
        )
    found = read_indices(share.indices, name)
    beyond = [index for index in found if index >= total]
    if beyond:
        raise DataError(
            f"The indices of the {name} set name structure {numbered(beyond)}, but the training data have {total}, "
            f"counted from 0 to {total - 1}. Correct the indices."
        )
    atoms = [index for index in found if index in isolated]
    if atoms:
        warnings.append(
            f"The indices of the {name} set name {numbered(atoms)}, which are isolated atoms; these serve the baseline "
            "and are left out."
        )
    usable = {position for dataset in frames for position in dataset}
    kept = [index for index in found if index in usable]
    if not kept:
        raise DataError(f"The indices of the {name} set name isolated atoms only. Name other structures.")
    return kept


def check_chosen(chosen: frozenset[int] | None, count: int, path: Path) -> None:
    """Raise DataError if ``indices`` of a data set name a structure that its file of ``count`` does not have."""
    beyond = sorted(index for index in chosen or () if index >= count)
    if beyond:
        raise DataError(
            f"{path}: `indices` name structure {numbered(beyond)}, but the file has {count}, counted from 0 to "
            f"{count - 1}. Correct the indices."
        )
