"""The structure that is looked at: where it comes from, its picture, its curves, and the way to the next one."""

from functools import partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from mace_app.analysis import Analysis, Label
from mace_app.jobs import Workspace
from mace_app.ui import charts
from mace_app.ui.analysis_charts import Shown
from mace_app.ui.analysis_controls import Looked
from mace_app.ui.analysis_groups import file_name
from mace_app.ui.analysis_next import go_on_with
from mace_app.ui.analysis_source import Opened
from mace_app.ui.analysis_values import is_vector
from mace_app.ui.charts.analysis_spread import curves_figure
from mace_app.ui.live_plotly import live_plotly
from mace_app.ui.report_tables import SPLITS
from mace_app.ui.structure_view import scene, structure_view
from mace_app.ui.text import code, count, markdown

FEWEST_VALUES = 8
HEIGHT = 400


def structure_panel(
    space: Workspace, opened: Opened, shown: Shown, ghost: tuple[Opened, NDArray[np.int64]] | None
) -> None:
    """The chosen structure, or, as long as none is chosen, the one with the largest error."""
    analysis, looked, selection = opened.analysis, shown.looked, shown.selection
    row = selection.current
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="analysis-steps"):
        if row is None:
            row = worst_structure(looked)
            st.markdown("Nothing is chosen; this is the structure with the largest error.")
        else:
            several = len(selection.rows) > 1
            st.button(
                "Previous", icon=":material/chevron_left:", on_click=partial(selection.step, -1),
                disabled=not several, key="analysis-previous", help="The structure before, with a larger error.",
            )  # fmt: skip
            st.button(
                "Next", icon=":material/chevron_right:", on_click=partial(selection.step, 1),
                disabled=not several, key="analysis-next", help="The next structure, with a smaller error.",
            )  # fmt: skip
            st.markdown(f"**{selection.place + 1}** of {count(len(selection.rows), 'chosen', 'chosen')}")
            st.button("Choose none", icon=":material/close:", on_click=selection.clear, key="analysis-none")
            go_on_with(space, opened, selection)
    if row is None:
        st.caption("No structure has labels for this.")
        return
    st.markdown(_about(analysis, row))
    st.caption(_errors(analysis, looked, row))
    with st.container(key="analysis-structure"):
        shown_scene = scene_of(analysis, looked, row, selection.atom if selection.current is not None else None)
        name = f"structure-{int(analysis.structures.frame[row])}"
        structure_view(shown_scene, "analysis-scene", name, shown.picture, HEIGHT)
    if is_curve(analysis.labels[looked.view.label]):
        _curves(opened, looked, row, selection.atom, ghost)


def worst_structure(looked: Looked) -> int | None:
    errors = looked.of_structures
    return int(np.nanargmax(errors)) if np.isfinite(errors).any() else None


def is_curve(label: Label) -> bool:
    """Whether a row is many values of one kind."""
    return len(label.shape) == 1 and label.shape[0] >= FEWEST_VALUES


def scene_of(analysis: Analysis, looked: Looked, row: int, atom: int | None = None) -> dict[str, object]:
    """Arrows of the label that is looked at, if that is a vector of atoms, otherwise of the first forces there are."""
    label = analysis.labels[looked.view.label]
    arrows = label if label.per_atom and is_vector(label) else _forces(analysis)
    told = label if label.per_atom else arrows
    reference = prediction = errors = None
    unit = ""
    if arrows is not None:
        rows = analysis.rows(arrows.name, row)
        reference, prediction = (v[rows].reshape(-1, 3) for v in (arrows.reference, arrows.prediction))
    if told is not None:
        rows = analysis.rows(told.name, row)
        difference = (told.prediction[rows] - told.reference[rows]).reshape(rows.stop - rows.start, -1)
        errors = np.linalg.norm(difference, axis=1) if is_vector(told) else np.abs(difference).mean(axis=1)
        unit = charts.readable(told.unit)
        if told is label:
            unit, errors = looked.unit, errors * looked.view.unit.factor
    formula, frame = analysis.structures.formula[row], int(analysis.structures.frame[row])
    return scene(
        analysis.atoms(row), f"Structure {frame}, {formula}", str(row), reference, prediction, errors, unit, focus=atom
    )


def _forces(analysis: Analysis) -> Label | None:
    return next((label for label in analysis.labels.values() if label.per_atom and is_vector(label)), None)


def _about(analysis: Analysis, row: int) -> str:
    table = analysis.structures
    facts = [
        f"**Structure {int(table.frame[row])}** of {code(file_name(table.dataset[row]))}",
        markdown(table.formula[row]),
        count(int(table.n_atoms[row]), "atom"),
    ]
    if table.group[row]:
        facts.append(markdown(table.group[row]))
    if table.split[row]:
        facts.append(SPLITS.get(str(table.split[row]), markdown(table.split[row])).lower())
    return " · ".join(facts)


def _errors(analysis: Analysis, looked: Looked, row: int) -> str:
    values = looked.values
    unit = f" {markdown(looked.unit)}" if looked.unit else ""
    own = values.of(np.array([row]))
    if not len(own):
        return f"{markdown(looked.title)}: no label here"
    if len(own) == 1:
        reference, prediction = values.reference[own[0]], values.prediction[own[0]]
        return (
            f"{markdown(looked.title)}: reference {reference:.6g}, predicted {prediction:.6g}, "
            f"error **{charts.three_digits(float(values.error[own[0]]))}**{unit}"
        )
    words = (
        f"{markdown(looked.title)}: largest error **{charts.three_digits(float(values.largest[row]))}**, "
        f"mean absolute error {charts.three_digits(float(values.mean[row]))}{unit}"
    )
    energy = next((label for label in analysis.labels.values() if label.baseline is not None), None)
    if energy is not None and energy.name != looked.view.label and np.isfinite(energy.reference[row]).all():
        error = float((energy.prediction[row] - energy.reference[row])[0] / analysis.structures.n_atoms[row])
        shown = charts.display_unit(f"{energy.unit}/atom", [error])
        name = markdown(charts.title_of(energy.name).lower())
        words += f" · {name} off by {charts.three_digits(error * shown.factor)} {shown.text}"
    return words


def _curves(
    opened: Opened, looked: Looked, row: int, atom: int | None, ghost: tuple[Opened, NDArray[np.int64]] | None
) -> None:
    """Reference and prediction of a target of many values."""
    analysis = opened.analysis
    label = analysis.labels[looked.view.label]
    rows = analysis.rows(label.name, row)
    place = rows.start
    title = f"{charts.title_of(label.name)} of structure {int(analysis.structures.frame[row])}"
    offset = 0
    if label.per_atom:
        difference = np.abs(label.prediction[rows] - label.reference[rows]).mean(axis=1)
        worst = int(np.argmax(np.nan_to_num(difference, nan=-1.0)))
        offset = atom if atom is not None and atom < len(difference) else worst
        title += f", atom {offset}" + ("" if atom is not None else ", which has the largest error")
    curves = {"Reference": label.reference[place + offset], "Prediction": label.prediction[place + offset]}
    if ghost is not None and label.name in ghost[0].analysis.labels and ghost[1][row] >= 0:
        other = ghost[0].analysis
        start = other.rows(label.name, int(ghost[1][row])).start
        if other.labels[label.name].shape == label.shape:
            curves["The other model"] = other.labels[label.name].prediction[start + offset]
    unit = charts.readable(label.unit)
    y_title = charts.title_of(label.name) + (f" ({unit})" if unit else "")
    live_plotly(curves_figure(curves, y_title, title), "analysis-curves", title)
