"""What a person wants to see of an analysis: label, component, split, unit; told apart by label."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from mace_app.analysis import Analysis, Label
from mace_app.analysis.errors import unit_of
from mace_app.ui import charts
from mace_app.ui.analysis_source import Opened
from mace_app.ui.analysis_units import units_for
from mace_app.ui.analysis_values import Values, View, errors_of, is_vector
from mace_app.ui.report_tables import SPLITS

VECTORS = "whole vectors"


@dataclass(frozen=True)
class Looked:
    """The values that are looked at, ``part`` in words (empty: all there is) and how a structure's error is measured:
    by its largest error or by the mean of its errors."""

    values: Values
    part: str
    largest: bool

    @property
    def view(self) -> View:
        return self.values.view

    @property
    def unit(self) -> str:
        return self.view.unit.text

    @property
    def title(self) -> str:
        return charts.title_of(self.view.label) + (f" · {self.part}" if self.part else "")

    @property
    def of_structures(self) -> np.ndarray:
        """The error of each structure ``[S]``."""
        return self.values.measure(self.largest)

    @property
    def measure(self) -> str:
        return "largest error" if self.largest else "mean absolute error"

    def with_unit(self, text: str) -> str:
        return f"{text} ({self.unit})" if self.unit else text


def look_controls(opened: Opened) -> Looked:
    """The controls, and the values they ask for."""
    analysis = opened.analysis
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="analysis-look"):
        name = st.selectbox(
            "Quantity", list(analysis.labels), format_func=charts.title_of, key="analysis-label", width=220
        )
        label = analysis.labels[name]
        part, vector = _part(analysis, label)
        split = _split(analysis)
        per_atom, without_baseline = _energy(label)
        own = View(
            name,
            charts.DisplayUnit(charts.readable(unit_of(label, per_atom)), 1.0),
            charts.ALL if vector else part,
            vector,
            per_atom,
            without_baseline,
            split,
        )
        values = _in_unit(opened, own)
        alone = not label.per_atom and (vector or int(np.prod(label.shape)) == 1 or part not in (charts.ALL, VECTORS))
        measure = (
            "largest"
            if alone
            else st.selectbox(
                "Error of a structure",
                ["largest", "mean"],
                format_func={"largest": "largest of its values", "mean": "mean of its values"}.__getitem__,
                key="analysis-measure",
                width=190,
                help="By this, structures are ranked and the map is coloured.",
            )
        )
    words = VECTORS if vector else "" if part == charts.ALL else part
    return Looked(values, words, measure != "mean")


def explained(analysis: Analysis, looked: Looked) -> str:
    """What one error is, as a sentence."""
    label, view = analysis.labels[looked.view.label], looked.view
    if view.by_vector:
        return "An error is the length of the difference between the predicted and the reference vector."
    if is_vector(label) and view.part == charts.ALL:
        return "An error is that of one component: every vector counts three times, as x, y and z."
    if view.part == "length" or view.part == "norm":
        return "An error is the difference of two lengths; the directions don't count."
    if int(np.prod(label.shape)) > 1 and view.part == charts.ALL:
        return "An error is that of one value; all values of a row count alike."
    if view.per_atom:
        without = ", without the energies of single atoms that the model adds" if view.without_baseline else ""
        return (
            f"Energies are divided by the number of atoms{without}."
            if label.baseline is not None
            else ("Values are divided by the number of atoms.")
        )
    return "An error is prediction minus reference."


def _part(analysis: Analysis, label: Label) -> tuple[str, bool]:
    parts = [part.title for part in charts.components(label.name, label.shape, analysis.info.targets)]
    if len(parts) == 1:
        return charts.ALL, False
    options = [*parts, VECTORS] if is_vector(label) else parts
    chosen = st.selectbox(
        "Component",
        options,
        format_func=lambda part: "all values" if part == charts.ALL else part,
        key=f"analysis-part-{_key(label.name)}",
        width=180,
    )
    return chosen, chosen == VECTORS


def _split(analysis: Analysis) -> str:
    present = [split for split in SPLITS if (analysis.structures.split == split).any()]
    if len(present) < 2:
        return ""
    return (
        st.selectbox(
            "Split",
            ["", *present],
            format_func=lambda split: SPLITS.get(split, "all"),
            key="analysis-split",
            width=140,
        )
        or ""
    )


def _energy(label: Label) -> tuple[bool, bool]:
    """Whether per atom, and whether without the baseline."""
    per_atom = without = False
    if not label.per_atom and (label.divide_by_atoms or label.baseline is not None):
        per_atom = (
            st.segmented_control(
                "Told",
                ["per atom", "in total"],
                default="per atom" if label.divide_by_atoms else "in total",
                required=True,
                key=f"analysis-per-atom-{_key(label.name)}",
            )
            == "per atom"
        )
    if label.baseline is not None:
        without = (
            st.segmented_control(
                "Baseline",
                ["removed", "kept"],
                default="removed",
                required=True,
                key=f"analysis-baseline-{_key(label.name)}",
                help="The sum of the energies of single atoms that the model adds. Errors are the same either way.",
            )
            == "removed"
        )
    return per_atom, without


def _in_unit(opened: Opened, own: View) -> Values:
    """The values in the chosen unit; at first in the one that reads well."""
    values = opened.values(own)
    units = {unit.text: unit for unit in units_for(own.unit.text)}
    if len(units) == 1:
        return values
    errors = errors_of(values)
    best = charts.display_unit(own.unit.text, [errors.mae] if errors else []).text
    chosen = st.selectbox(
        "Unit",
        list(units),
        index=list(units).index(best) if best in units else 0,
        key=f"analysis-unit-{_key(own.label)}-{own.per_atom}",
        width=150,
    )
    unit = units[chosen]
    return values if unit.factor == 1 else opened.scaled(values, unit)


def _key(label: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in label)
