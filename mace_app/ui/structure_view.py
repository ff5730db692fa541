"""A structure in three dimensions with its cell, bonds, periodic images and the forces on its atoms."""

from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import NDArray

from mace_app.ui.live_plotly import Picture

MOST_BONDED = 3000
BOND = 1.15  # times the sum of covalent radii
LONGEST_ARROW = 1.8  # Å
HEIGHT = 420

_HTML = """<div class="structure">
<div class="tools" role="toolbar" aria-label="What is shown of the structure">
<label class="needs-reference"><input type="checkbox" name="reference" checked>
<span class="key reference-key"></span>Reference</label>
<label class="needs-prediction"><input type="checkbox" name="prediction" checked>
<span class="key prediction-key"></span>Predicted</label>
<label class="needs-reference">Arrows <input type="range" name="length" min="0.2" max="4" step="0.1" value="1"
aria-label="Length of the arrows"></label>
<label class="needs-errors">Colour <select name="colour"><option value="element">element</option>
<option value="error">error</option></select></label>
<label><input type="checkbox" name="bonds" checked>Bonds</label>
<label class="needs-cell"><input type="checkbox" name="cell" checked>Cell</label>
<label class="needs-images">Cells <select name="images"><option>1</option><option>2</option><option>3</option></select>
</label>
<span class="buttons"><button type="button" name="closer" aria-label="Closer">+</button>
<button type="button" name="farther" aria-label="Farther">−</button>
<button type="button" name="reset">Reset view</button><button type="button" name="svg" aria-label="Download as SVG"
>SVG</button><button type="button" name="png" aria-label="Download as PNG">PNG</button></span>
</div>
<canvas tabindex="0" role="img"></canvas>
<p class="said" role="status"></p>
</div>"""

_component = st.components.v2.component(
    "mace_structure_view",
    html=_HTML,
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


def scene(
    atoms: Atoms,
    title: str,
    identity: str,
    reference: NDArray[np.float64] | None = None,
    prediction: NDArray[np.float64] | None = None,
    errors: NDArray[np.float64] | None = None,
    error_unit: str = "",
    error_scale: float | None = None,
    focus: int | None = None,
) -> dict[str, Any]:
    """What the browser draws: ``reference`` and ``prediction [N, 3]`` as arrows, the longest of them ``LONGEST_ARROW``;
    atoms coloured by ``errors [N]`` up to ``error_scale``. The view starts anew where ``identity`` changes."""
    numbers = np.clip(atoms.numbers, 0, len(chemical_symbols) - 1)
    vectors = [values for values in (reference, prediction) if values is not None]
    longest = max((_largest(np.linalg.norm(v, axis=1)) for v in vectors), default=0.0)
    largest = _largest(errors) if errors is not None else 0.0
    cell = np.asarray(atoms.cell)
    return {
        "id": identity,
        "title": title,
        "positions": np.round(atoms.positions, 4).tolist(),
        "symbols": [chemical_symbols[z] for z in numbers],
        "radii": [float(min(max(covalent_radii[z], 0.35), 2.2)) for z in numbers],
        "colours": ["#" + "".join(f"{round(255 * part):02x}" for part in jmol_colors[z]) for z in numbers],
        # Files of molecules may carry a box that means nothing, many times their size.
        "cell": np.round(cell, 4).tolist() if atoms.pbc.any() and abs(np.linalg.det(cell)) > 1e-6 else None,
        "pbc": [bool(periodic) for periodic in atoms.pbc],
        "bonds": bonds(atoms),
        "reference": _rows(reference),
        "prediction": _rows(prediction),
        "arrow_scale": LONGEST_ARROW / longest if longest > 0 else 1.0,
        "errors": None if errors is None else [round(float(e), 6) if np.isfinite(e) else None for e in errors],
        "error_unit": error_unit,
        "error_scale": error_scale or largest or 1.0,
        "focus": focus,
    }


def _largest(values: NDArray[np.float64]) -> float:
    """Of those that are finite; 0 without any."""
    return float(np.max(values[np.isfinite(values)], initial=0.0))


def bonds(atoms: Atoms) -> list[list[int]]:
    """``[i, j, cells along a, b, c]`` of atoms nearer than ``BOND`` times the sum of their radii, both ways; none of
    very large structures, where they would hide what is to be seen."""
    if not 1 < len(atoms) <= MOST_BONDED:
        return []
    from matscipy.neighbours import neighbour_list

    radii = covalent_radii[np.clip(atoms.numbers, 0, len(covalent_radii) - 1)] * BOND
    box = atoms.copy()
    if not box.pbc.all() or abs(box.cell.volume) < 1e-6:
        box = _boxed(box)
    i, j, cells, distance = neighbour_list("ijSd", box, float(2 * radii.max()))
    near = distance < radii[i] + radii[j]
    return np.column_stack([i, j, cells])[near].astype(int).tolist()


def structure_view(shown: dict[str, Any], key: str, name: str, picture: Picture, height: int = HEIGHT) -> None:
    """Draw a ``scene``; ``name`` is that of the files it is saved to."""
    _component(key=key, data={**shown, "name": name, "picture": vars(picture)}, height="content")


def _boxed(atoms: Atoms) -> Atoms:
    """With room enough along directions that are not periodic; the search for neighbours wants a cell."""
    periodic = atoms.pbc.copy()
    atoms.center(vacuum=5.0, axis=tuple(np.flatnonzero(~periodic)))
    if abs(atoms.cell.volume) < 1e-6:
        atoms.pbc = False
        atoms.center(vacuum=5.0)
    return atoms


def _rows(vectors: NDArray[np.float64] | None) -> list[list[float | None]] | None:
    if vectors is None:
        return None
    return [[round(float(value), 6) if np.isfinite(value) else None for value in row] for row in vectors]
