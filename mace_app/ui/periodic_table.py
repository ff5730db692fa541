"""The elements of a model in a small periodic table."""

import html
from collections.abc import Iterable

import streamlit as st

from mace_app.ui.elements import symbol, symbols

_COLUMNS, _LAST = 18, 118
# Of more than these a table says more than a list.
FEW = 12
_FIRST_LANTHANIDE, _FIRST_ACTINIDE = 57, 89
_NOBLE = (2, 10, 18, 36, 54, 86, 118)

_STYLE = """<style>
.elements { display: grid; grid-template-columns: repeat(18, minmax(0, 1fr)); gap: 2px; max-width: 40rem; }
.elements span { text-align: center; font-size: clamp(0.55rem, 2.6cqi, 0.78rem); line-height: 1.85; border-radius: 3px;
  color: light-dark(#5a6479, #8b94a6); background: light-dark(#f3f5f9, #1c212c); }
.elements span.known { color: light-dark(#12418f, #dbe6ff); background: light-dark(#d3e0fb, #2b4272);
  font-weight: 550; }
.elements-frame { container-type: inline-size; }
</style>"""


def place(z: int) -> tuple[int, int]:
    """Row and column from 1 of an element; lanthanides and actinides stand in rows 8 and 9, below the others."""
    if _FIRST_LANTHANIDE <= z < _FIRST_LANTHANIDE + 15:
        return 8, z - _FIRST_LANTHANIDE + 3
    if _FIRST_ACTINIDE <= z < _FIRST_ACTINIDE + 15:
        return 9, z - _FIRST_ACTINIDE + 3
    period = next(row for row, last in enumerate(_NOBLE, start=1) if z <= last)
    first = _NOBLE[period - 2] + 1 if period > 1 else 1
    offset = z - first
    left = 1 if period == 1 else 2
    if offset < left:
        return period, offset + 1
    return period, _COLUMNS - (_NOBLE[period - 1] - z)


def periodic_table(elements: Iterable[int]) -> None:
    """All elements, those of the model in colour. ``elements`` are atomic numbers."""
    known = sorted(set(elements))
    cells = []
    for z in range(1, _LAST + 1):
        row, column = place(z)
        shown = "known" if z in known else ""
        cells.append(f'<span class="{shown}" style="grid-area: {row} / {column}">{html.escape(symbol(z))}</span>')
    spoken = html.escape(f"Periodic table with {len(known)} elements: {symbols(known)}", quote=True)
    st.html(
        f'{_STYLE}<div class="elements-frame"><div class="elements" role="img" aria-label="{spoken}">'
        + "".join(cells)
        + "</div></div>"
    )
