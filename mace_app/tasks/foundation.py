"""A published MACE file in, a metatomic file out; and what such a file holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mace_app.data import iter_frames
from mace_app.export import ExportMetadata, ExportReport, export_metatomic
from mace_app.export.check import Original
from mace_app.files import sha256_of
from mace_app.model.foundation import (
    AtomsGraphs,
    Foundation,
    FoundationError,
    Judge,
    foundation_model,
    open_foundation,
    probe_structures,
    rebuild,
)
from mace_app.published import published_as
from mace_app.tasks.errors import TaskError

SUFFIX = ".model"
TARGET = "energy"
_MOST_OF_THE_USER = 8


@dataclass(frozen=True)
class FoundationExport:
    """The report of the export, the head that was used, and the licence where the file's name tells it."""

    report: ExportReport
    head: str
    licence: str | None


def export_foundation(
    path: Path, output: Path, head: str | None = None, structures: Path | None = None
) -> FoundationExport:
    """Write ``output`` from a ``.model`` file. Accepted only after a fresh process that runs it agreed with
    mace-torch's own model in energies, forces and stress of structures made of the file's elements, and of some of
    ``structures``, evenly chosen."""
    foundation = open_foundation(path)
    index = foundation.head_index(head)
    probes = probe_structures(foundation.architecture.atomic_numbers)
    if structures is not None:
        probes += _of_user(structures, foundation)
    model = foundation_model(foundation, head)
    judge = Judge(rebuild(foundation), foundation.architecture, index)
    published = published_as(path.name)
    metadata = ExportMetadata(
        name=published.title if published else path.stem,
        description=_description(foundation, index, published.licence if published else None, sha256_of(path)),
        references={"model": [published.reference]} if published else {},
        length_unit="angstrom",
    )
    graphs = AtomsGraphs(probes, model.config.cutoff)
    report = export_metatomic(model, output, metadata, graphs, len(graphs), _labelled(judge))
    return FoundationExport(report, foundation.heads[index], published.licence if published else None)


def _labelled(judge: Judge) -> Original:
    names = {"energy": TARGET, "forces": f"{TARGET}.forces", "stress": f"{TARGET}.stress"}

    def original(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {names[label]: values for label, values in judge(arrays).items()}

    return original


def _of_user(path: Path, foundation: Foundation) -> list[Atoms]:
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
    return [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in (frames[index] for index in chosen)]


def _description(foundation: Foundation, head: int, licence: str | None, sha256: str) -> str:
    parts = [f"Converted by MACE Studio from `{foundation.file}` (SHA-256 {sha256})"]
    if len(foundation.heads) > 1:
        parts.append(f"head `{foundation.heads[head]}`")
    if licence:
        parts.append(f"licence: {licence}")
    return ", ".join(parts)


def inspect_foundation(path: Path, as_json: bool = False) -> str:
    """What a ``.model`` file holds, as text."""
    facts = foundation_facts(open_foundation(path)) | {"file": path.name, "bytes": path.stat().st_size}
    return json.dumps(facts, indent=1, allow_nan=False) if as_json else _text(facts)


def foundation_facts(foundation: Foundation) -> dict[str, Any]:
    """For pages and people; plain values."""
    architecture = foundation.architecture
    published = published_as(foundation.file)
    facts: dict[str, Any] = {
        "kind": foundation.kind,
        "heads": foundation.heads,
        "dtype": str(foundation.dtype).removeprefix("torch."),
        "parameters": foundation.parameters,
        "elements": [chemical_symbols[z] for z in architecture.atomic_numbers],
        "title": published.title if published else None,
        "licence": published.licence if published else None,
        "interaction_range": architecture.num_interactions * architecture.r_max,
        "scale": foundation.scale.tolist(),
        "shift": foundation.shift.tolist(),
        "atomic_energies": foundation.atomic_energies.tolist(),
    }
    described = architecture.to_json()
    for name in ("basis", "atomic_numbers"):
        del described[name]
    return facts | {"architecture": described}


def _text(facts: Mapping[str, Any]) -> str:
    architecture = facts["architecture"]
    title = f" ({facts['title']})" if facts["title"] else ""
    lines = [
        f"{facts['file']}{title}: {facts['kind']}, {facts['parameters']:,} parameters, {facts['dtype']}",
        f"Licence: {facts['licence'] or 'not known from the name of the file'}",
        f"Heads: {', '.join(facts['heads'])}",
        f"Elements ({len(facts['elements'])}): {' '.join(facts['elements'])}",
        f"Reach: {architecture['num_interactions']} layers of {architecture['r_max']:g} Å, "
        f"{facts['interaction_range']:g} Å together",
        "",
    ]
    names = [name for name in architecture if name not in ("num_interactions", "r_max")]
    width = max(map(len, names))
    lines += [f"{name.ljust(width)}  {_shown(architecture[name])}" for name in names]
    for index, head in enumerate(facts["heads"]):
        energies = zip(facts["elements"], facts["atomic_energies"][index], strict=True)
        lines += [
            "",
            f"Head {head}: scale {facts['scale'][index]:.8g}, shift {facts['shift'][index]:.8g} eV",
            "Atomic energies, eV: " + ", ".join(f"{symbol} {energy:.6g}" for symbol, energy in energies),
        ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(f"{item:.6g}" if isinstance(item, float) else str(item) for item in value)
    return str(value)


__all__ = ["SUFFIX", "FoundationError", "export_foundation", "foundation_facts", "inspect_foundation"]
