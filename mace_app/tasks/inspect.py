"""What files of structures hold, as text."""

import json
from collections.abc import Sequence
from pathlib import Path

from ase.data import chemical_symbols

from mace_app.data import Inspection, KeySummary, inspect_files
from mace_app.tasks.tables import aligned

SEVERITIES = {"error": "Error", "warning": "Warning", "info": "Note"}


def inspect_structures(paths: Sequence[Path], as_json: bool = False) -> str:
    inspection = inspect_files(list(paths))
    return json.dumps(inspection.to_json(), indent=1, allow_nan=False) if as_json else inspection_text(inspection)


def inspection_text(inspection: Inspection) -> str:
    lines = [f"{file.path}: {file.structures} structures" for file in inspection.files]
    lines.append(f"{inspection.structures} structures, {inspection.atoms} atoms")
    elements = ", ".join(
        f"{chemical_symbols[number]} ({count.atoms} atoms in {count.structures} structures)"
        for number, count in sorted(inspection.elements.items())
    )
    lines.append(f"Elements: {elements}")
    lines.append("Periodic: " + ", ".join(f"{kind} ({count})" for kind, count in inspection.periodicity.items()))
    if inspection.isolated_atoms:
        lines.append(f"Isolated atoms, for the baseline: {len(inspection.isolated_atoms)}")
    if inspection.shortest_distance is not None:
        lines.append(f"Shortest distance: {inspection.shortest_distance:.4g}")
    header = ("key", "place", "known for", "shape", "lowest", "highest", "looks like", "unit")
    lines += ["", aligned(header, [_row(key) for key in inspection.keys])]
    if inspection.findings:
        lines.append("")
    lines += [f"{SEVERITIES[finding.severity]}: {finding.message}" for finding in inspection.findings]
    return "\n".join(lines)


def _row(key: KeySummary) -> tuple[str, ...]:
    shape = "varies" if key.shape is None else "×".join(str(length) for length in key.shape) or "1"
    return (
        key.name,
        "atom" if key.per_atom else "structure",
        f"{key.count}/{key.structures}",
        shape if key.numeric else key.kind,
        "" if key.minimum is None else f"{key.minimum:.6g}",
        "" if key.maximum is None else f"{key.maximum:.6g}",
        key.role,
        key.unit,
    )
