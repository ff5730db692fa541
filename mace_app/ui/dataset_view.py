"""What the inspection found, drawn: findings, keys and their meaning, composition, distributions."""

from collections import Counter
from collections.abc import Mapping

import streamlit as st

from mace_app.data import suggest_mapping
from mace_app.data.inspection import Finding, Inspection, KeySummary
from mace_app.jobs import DatasetFolder, JobsError, Workspace
from mace_app.ui.charts.dataset import compositions_figure, elements_figure, histogram_figure
from mace_app.ui.charts.style import three_digits
from mace_app.ui.elements import symbol, symbols
from mace_app.ui.live_plotly import live_plotly
from mace_app.ui.mapping import Key
from mace_app.ui.mapping_editor import mapping_editor
from mace_app.ui.state import failure
from mace_app.ui.text import code, count, markdown, sentence_markdown

MOST_FRAMES = 8
# Entries that describe the structure itself and are no labels.
NO_LABELS = ("geometry", "irregular", "setting")
_PERIODIC = (
    "without periodicity",
    "periodic in one direction",
    "periodic in two directions",
    "periodic in all directions",
)
_SEVERITY = {
    "error": (":material/error:", "red"),
    "warning": (":material/warning:", "orange"),
    "info": (":material/info:", "blue"),
}


def dataset_view(space: Workspace, folder: DatasetFolder) -> None:
    """Everything about one dataset below its header."""
    state = folder.inspection_state()
    if state == "failed":
        st.error(
            sentence_markdown(folder.inspection_error() or "The inspection failed."),
            title="The file can't be used as it is",
            icon=":material/error:",
        )
        return
    if state != "done":
        st.info("Inspect the data to see what they hold.", icon=":material/search:")
        return
    try:
        inspection = folder.inspection()
        if inspection is None:
            return
        _contents(inspection)
        _findings(inspection.findings)
        keys = label_keys(inspection)
        mapping_editor(folder, keys, suggest_mapping(inspection))
    except JobsError as error:
        failure("This dataset can't be shown", error)
        return
    _key_table(inspection)
    _distributions(folder.id, inspection)


def label_keys(inspection: Inspection) -> dict[str, Key]:
    """The entries that can be learnt, by name; where two places share a name, the file's own come first."""
    order = {"info": 0, "arrays": 1, "results": 2}
    found: dict[str, Key] = {}
    for key in sorted(inspection.keys, key=lambda key: order.get(key.place, 3)):
        if key.numeric and key.width > 0 and key.role not in NO_LABELS and key.name not in found:
            found[key.name] = Key(key.name, key.per_atom, key.width)
    return found


def _contents(inspection: Inspection) -> None:
    isolated = len(inspection.isolated_atoms)
    cards = (
        ("Structures", f"{inspection.structures - isolated:,}".replace(",", "\u202f")),
        ("Atoms", f"{inspection.atoms:,}".replace(",", "\u202f")),
        ("Elements", symbols(inspection.elements) if len(inspection.elements) <= 4 else str(len(inspection.elements))),
        ("Isolated atoms", str(isolated)),
    )
    with st.grid(4, min_column_width=130, gap="small") as grid:
        for title, value in cards:
            grid.metric(title, value, border=True)
    directions = Counter[int]()
    for kind, number in inspection.periodicity.items():
        directions[kind.count("T")] += number
    words = [f"{count(number, 'structure')} {_PERIODIC[n]}" for n, number in sorted(directions.items()) if number]
    st.caption(", ".join(words).capitalize() + ".")


def _findings(findings: list[Finding]) -> None:
    if not findings:
        st.success("Nothing unusual was found.", icon=":material/check_circle:")
        return
    serious = sum(finding.severity == "error" for finding in findings)
    label = f"Findings ({len(findings)})" + (f" · {count(serious, 'error')}" if serious else "")
    with st.expander(label, icon=":material/fact_check:", expanded=any(f.severity != "info" for f in findings)):
        order = list(_SEVERITY)
        for finding in sorted(findings, key=lambda finding: order.index(finding.severity)):
            icon, colour = _SEVERITY[finding.severity]
            frames = ""
            if finding.frames:
                shown = ", ".join(str(frame) for frame in finding.frames[:MOST_FRAMES])
                more = finding.count - min(len(finding.frames), MOST_FRAMES)
                frames = f" Structure{'s' if finding.count > 1 else ''} {shown}" + (
                    f" and {more} more." if more > 0 else "."
                )
            st.markdown(f":{colour}-badge[{icon} {finding.severity}] {sentence_markdown(finding.message)}{frames}")


def _key_table(inspection: Inspection) -> None:
    st.header("Everything in the file", anchor=False)
    if not inspection.keys:
        st.caption("The file holds positions only.")
        return
    st.table([_key_row(key) for key in inspection.keys], alt="Keys of the file", hide_index=True)


def _key_row(key: KeySummary) -> dict[str, str]:
    place = "each atom" if key.per_atom else "each structure"
    shape = " or ".join(_shape(shape) for shape in key.shapes[:3]) + (" …" if len(key.shapes) > 3 else "")
    values = ""
    if key.numeric and key.minimum is not None:
        values = f"{three_digits(key.minimum)} to {three_digits(key.maximum)}"
    elif key.values:
        values = ", ".join(f"{code(text)} {amount}×" for text, amount in list(key.values.items())[:4])
    odd = [f"{amount} {words}" for amount, words in ((key.nan, "NaN"), (key.infinite, "infinite")) if amount]
    unit = f" ({markdown(key.unit)})" if key.unit else ""
    return {
        "Key": code(key.name),
        "For": place,
        "Coverage": f"{key.count} of {key.structures}" + (f" + {key.isolated} atoms" if key.isolated else ""),
        "Shape": shape or key.kind,
        "Values": values + (f" · {', '.join(odd)}" if odd else ""),
        "Probably": f"{markdown(key.role)}{unit}",
        "Because": markdown(key.role_reason),
    }


def _shape(shape: list[int]) -> str:
    return "×".join(str(length) for length in shape) if shape else "1"


def _distributions(identifier: str, inspection: Inspection) -> None:
    st.header("Composition and distributions", anchor=False)
    with st.grid(2, min_column_width=320, gap="medium") as grid:
        if len(inspection.elements) > 0:
            with grid.cell():
                st.markdown("**Elements**")
                live_plotly(
                    elements_figure(inspection.elements), f"data-{identifier}-elements", "Atoms of each element"
                )
        with grid.cell():
            st.markdown("**Compositions**" + _of(len(inspection.compositions), inspection.composition_count))
            live_plotly(
                compositions_figure(inspection.compositions), f"data-{identifier}-formulas", "Structures by composition"
            )
        if inspection.atoms_per_structure is not None:
            with grid.cell():
                st.markdown("**Sizes**")
                figure = histogram_figure(inspection.atoms_per_structure, "Atoms in a structure", "Structures")
                live_plotly(figure, f"data-{identifier}-sizes", "Structures by number of atoms")
        for name, energy in inspection.energies.items():
            with grid.cell():
                st.markdown(f"**Energy per atom without baseline**, {code(name)}")
                figure = histogram_figure(energy.histogram, f"Energy ({energy.unit}/atom)", "Structures")
                live_plotly(figure, f"data-{identifier}-energy-{name}", "Energies per atom, baseline removed")
                st.caption(_baseline_words(energy.baseline, energy.rank, energy.unit, energy.spread))
        for name, force in inspection.forces.items():
            with grid.cell():
                st.markdown(f"**Force sizes**, {code(name)}")
                figure = histogram_figure(force.histogram, f"Length ({force.unit})", "Atoms", logarithmic=True)
                live_plotly(figure, f"data-{identifier}-forces-{name}", "Lengths of forces")
                st.caption(f"RMS of a component {three_digits(force.rms)}, largest {three_digits(force.largest)}.")


def _baseline_words(baseline: Mapping[int, float], rank: int, unit: str, spread: float) -> str:
    parts = ", ".join(f"{symbol(z)} {value:.4f}" for z, value in sorted(baseline.items())[:8])
    words = markdown(unit)
    text = f"Spread {three_digits(spread)} {words}/atom around a least-squares baseline ({parts} {words})."
    if rank < len(baseline):
        text += " The compositions don't tell the elements apart, so single entries of the baseline mean little."
    return text


def _of(shown: int, total: int) -> str:
    return f" · the {shown} commonest of {total}" if total > shown else ""
