"""Waters as extended xyz, and the options of a run on them."""

from pathlib import Path
from typing import Any

from mace_app.options import RunOptions, parse_options

WATER = [("O", 0.0, 0.0, 0.0), ("H", 0.96, 0.0, 0.0), ("H", -0.24, 0.93, 0.0)]


def water(energy: object = -2000.0, shift: float = 0.0, comment: str = "", forces: bool = True) -> str:
    """One frame of extended xyz; ``energy=None`` leaves the key out, ``shift`` moves one atom."""
    properties = "species:S:1:pos:R:3" + (":forces:R:3" if forces else "")
    given = "" if energy is None else f"energy={energy} "
    lines = ["3", f'Properties={properties} {given}pbc="F F F" {comment}']
    for number, (symbol, x, y, z) in enumerate(WATER):
        moved = x + shift * (number == 1)
        lines.append(f"{symbol} {moved} {y} {z}" + (f" {shift} 0.0 {0.1 * number}" if forces else ""))
    return "\n".join(lines) + "\n"


def waters(count: int, **kwargs: Any) -> list[str]:
    return [water(-2000.0 - 0.01 * number, 0.01 * number, **kwargs) for number in range(count)]


def options(path: Path | list[Any], targets: Any = None, **changes: Any) -> RunOptions:
    """A run on one file with ``r_max`` 3; ``changes`` are entries at the top, ``atomic_types`` and ``num_epochs``."""
    architecture: dict[str, Any] = {"name": "experimental.mace", "model": {"r_max": changes.pop("r_max", 3.0)}}
    if "atomic_types" in changes:
        architecture["atomic_types"] = changes.pop("atomic_types")
    architecture["training"] = {"num_epochs": changes.pop("num_epochs", 1), "batch_size": 1}
    systems = path if isinstance(path, list) else {"systems": str(path), "targets": targets or {"energy": {}}}
    return parse_options({"seed": 1, "architecture": architecture, "training_set": systems, **changes})
