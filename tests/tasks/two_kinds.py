"""Files of two kinds of structures, groups and files, for analyses."""

from pathlib import Path
from typing import Any

from small_data import frame, waters


def write_kinds(folder: Path) -> list[Path]:
    """``a.xyz``: waters of the groups warm and cold in turn; ``b.xyz``: hydroxyl pairs without a group. The first frame
    of ``a.xyz`` is an isolated atom, which is in no split."""
    first, second = folder / "a.xyz", folder / "b.xyz"
    texts = ['1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-9.5 pbc="F F F"\nO 0 0 0 0 0 0\n']
    for number, atoms in enumerate(waters(12, seed=1)):
        texts.append(frame(atoms).replace("energy=", f"config_type={('warm', 'cold')[number % 2]} energy="))
    first.write_text("".join(texts))
    second.write_text("".join(frame(atoms[:2]) for atoms in waters(8, seed=2)))
    return [first, second]


def options_of_kinds(files: list[Path], options: dict[str, Any]) -> dict[str, Any]:
    """``options`` with both files to train on; a third of them to validate."""
    targets = options["training_set"]["targets"]
    sets = [{"systems": str(path), "targets": targets} for path in files]
    return {**options, "training_set": sets, "validation_set": 0.3}
