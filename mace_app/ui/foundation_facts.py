"""What a foundation file holds, as its reader wrote it down: plain values, drawn as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from mace_app.ui.elements import numbers, symbols
from mace_app.ui.periodic_table import FEW, periodic_table
from mace_app.ui.text import code, count, markdown, number
from mace_app.ui.times import file_size

ROWS_BEFORE_SCROLLING = 12
SCROLLING_HEIGHT = 440
# mace-torch's names of arguments, with what they are in words; the order is that of a model from its input on.
_ARCHITECTURE = {
    "radial_type": "Radial basis",
    "num_bessel": "Radial functions",
    "num_polynomial_cutoff": "Order of the envelope",
    "apply_cutoff": "Envelope on the basis",
    "distance_transform": "Distance transform",
    "pair_repulsion": "Repulsion of pairs (ZBL)",
    "radial_MLP": "Radial network",
    "max_ell": "Spherical harmonics up to",
    "interaction_first": "First interaction",
    "interaction": "Other interactions",
    "edge_irreps": "Irreps along edges",
    "hidden_irreps": "Irreps of the features",
    "correlation": "Correlation",
    "avg_num_neighbors": "Average number of neighbours",
    "readout": "Last readout",
    "MLP_irreps": "Irreps of the last readout",
    "gate": "Gate",
    "use_so3": "Harmonics of even parity only",
    "keep_last_layer_irreps": "All irreps in the last layer",
    "use_edge_irreps_first": "Irreps along edges in the first layer",
    "use_agnostic_product": "Products shared by all elements",
    "use_last_readout_only": "Energy from the last readout only",
}


def facts_grid(facts: Mapping[str, Any]) -> None:
    """The facts a person asks for first, and the elements."""
    architecture = facts["architecture"]
    layers, cutoff = int(architecture["num_interactions"]), float(architecture["r_max"])
    reach = f", {count(layers, 'layer')} reach {number(layers * cutoff)} Å"
    elements = numbers(facts["elements"])
    rows = [
        ("Kind", code(facts["kind"])),
        ("Size", f"{count(facts['parameters'], 'parameter')} in {file_size(facts['bytes'])}"),
        ("Precision", f"{str(facts['dtype']).removeprefix('float')} bit"),
        ("Cutoff", f"{number(cutoff)} Å{reach}"),
        ("Features", code(architecture["hidden_irreps"])),
        ("Radial basis", _radial(architecture)),
        (count(len(facts["heads"]), "head"), ", ".join(code(head) for head in facts["heads"])),
        ("SHA-256", code(facts["sha256"])),
    ]
    if len(elements) <= FEW:
        rows.insert(0, (count(len(elements), "element"), markdown(symbols(elements))))
    with st.grid(3, min_column_width=230, gap="small") as grid:
        for title, text in rows:
            with grid.cell(column_span=2 if title == "SHA-256" else 1), st.container(gap=None):
                st.caption(markdown(title))
                st.markdown(text)
    if len(elements) > FEW:
        st.caption(count(len(elements), "element"))
        periodic_table(elements)


def _radial(architecture: Mapping[str, Any]) -> str:
    """``8 bessel functions, Agnesi transform, ZBL repulsion``."""
    parts = [f"{architecture['num_bessel']} {markdown(str(architecture['radial_type']).capitalize())} functions"]
    if architecture["distance_transform"]:
        parts.append(f"{markdown(architecture['distance_transform'])} transform")
    if architecture["pair_repulsion"]:
        parts.append("ZBL repulsion")
    return ", ".join(parts)


def facts_details(facts: Mapping[str, Any], key: str) -> None:
    """Every argument of the architecture, and what each head adds to the energy; both closed at first."""
    with st.expander("Architecture", icon=":material/schema:", key=f"{key}:architecture"):
        st.table(architecture_rows(facts["architecture"]), border="horizontal", hide_index=True, alt="Architecture")
    with st.expander("Atomic energies, scale and shift", icon=":material/tune:", key=f"{key}:energies"):
        st.caption("Energy of an atom = scale × network + shift + atomic energy. The export keeps these values.")
        st.table(scale_rows(facts), border="horizontal", hide_index=True, alt="Scale and shift of each head")
        rows = energy_rows(facts)
        st.table(
            rows,
            border="horizontal",
            hide_index=True,
            alt="Atomic energies of each head in eV",
            height=SCROLLING_HEIGHT if len(rows) > ROWS_BEFORE_SCROLLING else "content",
        )


def architecture_rows(architecture: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row an argument, those without words of ours at the end."""
    named = [name for name in _ARCHITECTURE if name in architecture]
    others = [name for name in architecture if name not in _ARCHITECTURE and name not in ("r_max", "num_interactions")]
    return [
        {
            "What": _ARCHITECTURE.get(name, ""),
            "Value": _shown(architecture[name]),
            "In mace-torch": code(name),
        }
        for name in (*named, *others)
    ]


def scale_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    digits = _digits(facts)
    return [
        {"Head": code(head), "Scale": f"{scale:.{digits}g}", "Shift (eV)": _signed(f"{shift:.{digits}g}")}
        for head, scale, shift in zip(facts["heads"], facts["scale"], facts["shift"], strict=True)
    ]


def energy_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row an element, one column a head, eV."""
    digits = _digits(facts)
    columns: Sequence[Sequence[float]] = facts["atomic_energies"]
    return [
        {"Element": symbol_}
        | {
            f"{markdown(head)} (eV)": _signed(f"{energies[row]:.{digits}g}")
            for head, energies in zip(facts["heads"], columns, strict=True)
        }
        for row, symbol_ in enumerate(facts["elements"])
    ]


def _digits(facts: Mapping[str, Any]) -> int:
    """As many as a number of the file has, up to eight."""
    return 7 if facts["dtype"] == "float32" else 8


def _signed(text: str) -> str:
    """With a minus sign that is as wide as a digit."""
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(f"{item:.6g}" if isinstance(item, float) else code(item) for item in value) or "none"
    if isinstance(value, int | float):
        return number(value)
    return code(value)
