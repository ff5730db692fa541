"""What a published MACE file holds, for pages and people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from mace_app.model.foundation import Foundation, open_foundation
from mace_app.options.irreps import format_irreps
from mace_app.published import published_as


def inspect_foundation(path: Path, as_json: bool = False) -> str:
    """What a ``.model`` file holds, as text."""
    facts = foundation_facts(open_foundation(path)) | {"bytes": path.stat().st_size}
    return json.dumps(facts, indent=1, allow_nan=False) if as_json else _text(facts)


def foundation_facts(foundation: Foundation) -> dict[str, Any]:
    """For pages and people; plain values."""
    architecture = foundation.architecture
    published = published_as(foundation.file)
    layers = architecture.layer_irreps
    facts: dict[str, Any] = {
        "format": 1,
        "file": foundation.file,
        "kind": foundation.kind,
        "heads": foundation.heads,
        "dtype": str(foundation.dtype).removeprefix("torch."),
        "parameters": foundation.parameters,
        "elements": [chemical_symbols[z] for z in architecture.atomic_numbers],
        "title": published.title if published else None,
        "licence": published.licence if published else None,
        "reference": published.reference if published else None,
        "interaction_range": architecture.num_interactions * architecture.r_max,
        "scale": foundation.scale.tolist(),
        "shift": foundation.shift.tolist(),
        "atomic_energies": foundation.atomic_energies.tolist(),
    }
    facts["layer_irreps"] = [format_irreps(layer) for layer in layers]
    facts["feature_kinds"] = sorted({irrep.kind for layer in layers for irrep in layer})
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
