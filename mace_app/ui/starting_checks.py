"""What can't work with a foundation file, found from its facts before anything is trained. Nothing here draws."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mace_app.options import Problem, TargetInfo
from mace_app.ui.draft import DATA_KEYS, Draft
from mace_app.ui.draft_data import entries, read_from
from mace_app.ui.elements import numbers, symbols
from mace_app.ui.starting_files import StartingFile
from mace_app.ui.starting_point import HEAD, MORE_HEADS, main_energy, own_energies


def starting_problems(
    draft: Draft,
    file: StartingFile,
    targets: Mapping[str, TargetInfo],
    elements: Mapping[str, Collection[int]],
) -> list[Problem]:
    """Problems at the places where they can be solved. ``elements`` are the atomic numbers in files, by path, as far as
    these were inspected; nothing is said of a file that has not been read."""
    if file.facts is None:
        return []
    return [
        *_head_problems(draft, file),
        *_element_problems(draft, file, file.facts, elements),
        *_feature_problems(draft, file, file.facts, targets),
    ]


def _head_problems(draft: Draft, file: StartingFile) -> list[Problem]:
    heads, chosen = file.heads, draft.get(HEAD)
    found = []
    if chosen is not None and chosen not in heads and len(heads) > 1:
        found.append(Problem(HEAD, f"`{file.title}` has no head `{chosen}`; its heads are {_listed(heads)}."))
    more = draft.get(MORE_HEADS)
    named: Mapping[str, Any] = more if isinstance(more, Mapping) else {}
    if chosen is None and len(heads) > 1:
        found.append(
            Problem(
                HEAD,
                f"`{file.title}` has {len(heads)} heads, {_listed(heads)}: choose the one that `{main_energy(draft)}` "
                "starts from.",
            )
        )
    for name, head in named.items():
        if head is not None and head not in heads:
            found.append(
                Problem((*MORE_HEADS, name), f"`{file.title}` has no head `{head}`; its heads are {_listed(heads)}.")
            )
    return found


def _element_problems(
    draft: Draft, file: StartingFile, facts: Mapping[str, Any], elements: Mapping[str, Collection[int]]
) -> list[Problem]:
    found = []
    for key in DATA_KEYS:
        for number, entry in enumerate(entries(draft, key)):
            missing = missing_elements(facts, elements.get(read_from(entry), ()))
            if missing:
                found.append(
                    Problem(
                        (key, str(number), "systems"),
                        f"`{PurePath(read_from(entry)).name}` contains {symbols(missing)}, which `{file.title}` does "
                        "not know, and a file can't learn further elements. Leave these structures out, or start from "
                        "another file or from scratch.",
                    )
                )
    return found


def missing_elements(facts: Mapping[str, Any], there: Iterable[int]) -> list[int]:
    """Atomic numbers of ``there`` that the file lacks."""
    return sorted(set(there) - set(numbers(facts["elements"])))


def _feature_problems(
    draft: Draft, file: StartingFile, facts: Mapping[str, Any], targets: Mapping[str, TargetInfo]
) -> list[Problem]:
    """Targets with a symmetry that no feature of the file has; MACE's own readouts are served in any case."""
    kinds = [str(kind) for kind in facts["feature_kinds"]]
    own = own_energies(draft)
    found = []
    for number, entry in enumerate(entries(draft, "training_set")):
        for name in entry.get("targets") or {}:
            if name not in targets or name in own:
                continue
            missing = list(dict.fromkeys(i.kind for i in targets[name].irreps if i.kind not in kinds))
            if missing:
                found.append(
                    Problem(
                        ("training_set", str(number), "targets", name, "type"),
                        f"`{name}` needs features of kind {_listed(missing)}, and those of `{file.title}` are "
                        f"{_listed(kinds)} only. Leave this target out, or start from another file or from scratch.",
                    )
                )
    return found


def hints(draft: Draft, facts: Mapping[str, Any]) -> list[str]:
    """What works and may not be meant."""
    if facts["dtype"] == "float32" and draft.get(("base_precision",), 64) == 64:
        return ["The file holds numbers of 32 bit. Training in 64 bit is exact, but slower and of little use on a GPU."]
    return []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
