"""A published MACE file in, a metatomic file out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from mace_app.data import iter_frames
from mace_app.export import ExportCheck, ExportMetadata, ExportRefused, ExportReport, export_metatomic
from mace_app.export.check import Original
from mace_app.files import sha256_of
from mace_app.model.foundation import (
    AtomsGraphs,
    Foundation,
    Judge,
    foundation_model,
    open_foundation,
    probe_structures,
    rebuild,
)
from mace_app.published import published_as
from mace_app.tasks.errors import TaskError
from mace_app.tasks.phases import Phases

SUFFIX = ".model"
TARGET = "energy"
_MOST_OF_THE_USER = 8
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Compared:
    """One structure of the comparison: ``source`` is empty for one made of the file's elements, ``differences`` the
    largest ones by label; NaN for an answer that is no number."""

    atoms: Atoms
    source: str
    differences: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        finite = {label: value if np.isfinite(value) else None for label, value in self.differences.items()}
        return {
            "formula": self.atoms.get_chemical_formula(),
            "atoms": len(self.atoms),
            "periodic": bool(self.atoms.pbc.all()),
            "source": self.source,
            "differences": finite,
        }


@dataclass(frozen=True)
class ExportedHead:
    """The report of the export, the head that was used, the licence where the file's name tells it, and what was
    compared, structure by structure."""

    report: ExportReport
    head: str
    licence: str | None
    structures: list[Compared]
    seconds: float


class HeadRefused(ExportRefused):
    """An export that disagreed, with what was compared."""

    def __init__(self, refused: ExportRefused, structures: list[Compared]) -> None:
        super().__init__(refused.message, refused.checks)
        self.structures = structures


class FoundationExports:
    """One file, read and rebuilt once, of which any number of heads is exported."""

    def __init__(self, path: Path, phases: Phases, opened: Foundation | None = None, sha256: str | None = None) -> None:
        self.path = path
        self.phases = phases
        if opened is None:
            phases.begin("reading", f"Reading {path.name}")
        self.foundation = open_foundation(path) if opened is None else opened
        self.sha256 = sha256 or sha256_of(path)
        self._native: Any = None
        self._own: list[tuple[Atoms, str]] = [
            (atoms, "") for atoms in probe_structures(self.foundation.architecture.atomic_numbers)
        ]

    def head(
        self,
        name: str | None,
        output: Path,
        structures: Path | None = None,
        precision: str | None = None,
    ) -> ExportedHead:
        """Write ``output``. Accepted only after a fresh process that runs it agreed with mace-torch's own model in
        energies, forces and stress of structures made of the file's elements, and of some of ``structures``, evenly
        chosen. ``precision``: float32, float64, or that of the file."""
        began = time.monotonic()
        index = self.foundation.head_index(name)
        head = self.foundation.heads[index]
        chosen = self._own + ([] if structures is None else structures_of_user(structures, self.foundation))
        if self._native is None:
            self.phases.begin("rebuilding", "Building MACE's own model")
            self._native = rebuild(self.foundation)
        self.phases.begin("building", "Building the model to export", head)
        model = foundation_model(self.foundation, name, dtype=_precision(precision))
        graphs = AtomsGraphs([atoms for atoms, _ in chosen], model.config.cutoff)
        judge = Judge(self._native, self.foundation.architecture, index)
        self.phases.begin("saving", "Writing the metatomic file", head)
        try:
            report = export_metatomic(
                model, output, self._metadata(index), graphs, len(graphs), self._labelled(judge, head, len(graphs))
            )
        except ExportRefused as refused:
            raise HeadRefused(refused, _compared(chosen, refused.checks)) from refused
        published = published_as(self.path.name)
        return ExportedHead(
            report,
            head,
            published.licence if published else None,
            _compared(chosen, report.checks),
            time.monotonic() - began,
        )

    def _labelled(self, judge: Judge, head: str, count: int) -> Original:
        names = {"energy": TARGET, "forces": f"{TARGET}.forces", "stress": f"{TARGET}.stress"}
        asked = 0

        def original(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            nonlocal asked
            if asked == 0:
                self.phases.begin("comparing", "Comparing with MACE in a fresh process", head, total=count)
            answer = {names[label]: values for label, values in judge(arrays).items()}
            asked += 1
            self.phases.count(asked)
            return answer

        return original

    def _metadata(self, index: int) -> ExportMetadata:
        published = published_as(self.path.name)
        return ExportMetadata(
            name=published.title if published else self.path.stem,
            description=_description(self.foundation, index, published.licence if published else None, self.sha256),
            references={"model": [published.reference]} if published else {},
            length_unit="angstrom",
        )


def export_foundation(
    path: Path,
    output: Path,
    head: str | None = None,
    structures: Path | None = None,
    precision: str | None = None,
    phases: Phases | None = None,
) -> ExportedHead:
    """One head of a file, see ``FoundationExports.head``."""
    return FoundationExports(path, phases or Phases()).head(head, output, structures, precision)


def _precision(name: str | None) -> torch.dtype | None:
    if name is not None and name not in _PRECISIONS:
        raise TaskError(f"A precision is {' or '.join(_PRECISIONS)}, not `{name}`.")
    return None if name is None else _PRECISIONS[name]


def _compared(chosen: Sequence[tuple[Atoms, str]], checks: Sequence[ExportCheck]) -> list[Compared]:
    return [
        Compared(atoms, source, {check.label: check.by_structure[i] for check in checks if i in check.by_structure})
        for i, (atoms, source) in enumerate(chosen)
        if any(i in check.by_structure for check in checks)
    ]


def structures_of_user(path: Path, foundation: Foundation) -> list[tuple[Atoms, str]]:
    """Up to eight structures, evenly chosen, each with the name of its place."""
    frames = list(iter_frames(path))
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_OF_THE_USER)).round().astype(int))
    known = set(foundation.architecture.atomic_numbers)
    for index in chosen:
        foreign = sorted(set(frames[index].numbers.tolist()) - known)
        if foreign:
            raise TaskError(
                f"{path}, structure {index}: `{foundation.file}` does not know {chemical_symbols[foreign[0]]}. Leave "
                "such structures out."
            )
    return [
        (Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc), f"{path.name}, structure {index}")
        for index, a in ((index, frames[index]) for index in chosen)
    ]


def _description(foundation: Foundation, head: int, licence: str | None, sha256: str) -> str:
    parts = [f"Converted by MACE Studio from `{foundation.file}` (SHA-256 {sha256})"]
    if len(foundation.heads) > 1:
        parts.append(f"head `{foundation.heads[head]}`")
    if licence:
        parts.append(f"licence: {licence}")
    return ", ".join(parts)
