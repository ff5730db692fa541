"""Tables of the analysis page. A line that is clicked chooses its structures."""

import numpy as np
import streamlit as st

from mace_app.analysis import Analysis
from mace_app.ui.analysis_charts import Shown
from mace_app.ui.analysis_groups import KINDS, Group, file_name, groups_of, kinds_of
from mace_app.ui.charts import r_squared, three_digits
from mace_app.ui.charts.analysis_spread import group_bars_figure
from mace_app.ui.choice_table import Line, choice_table
from mace_app.ui.live_plotly import live_plotly
from mace_app.ui.report_tables import SPLITS
from mace_app.ui.text import count, markdown

MOST_LINES = 100
MOST_BARS = 30
NONE = "(none)"


def structures_table(analysis: Analysis, shown: Shown) -> None:
    """The chosen structures, or all as long as none is chosen, the largest error first."""
    looked, selection, table = shown.looked, shown.selection, analysis.structures
    errors = looked.of_structures
    chosen = len(selection.rows) > 0
    rows = selection.rows if chosen else np.argsort(np.where(np.isfinite(errors), -errors, np.inf), kind="stable")
    known = int(np.isfinite(errors).sum())
    rows = rows if chosen else rows[:known]
    told = count(len(rows), "structure")
    words = f"{told} chosen" if chosen else f"All of {told}"
    more = f"; the first {MOST_LINES} are listed" if len(rows) > MOST_LINES else ""
    st.caption(f"{words}, the largest error first{more}. Ranked by the {looked.measure} of {markdown(looked.title)}.")
    start = 0
    if chosen and len(rows) > MOST_LINES:
        start = max(0, min(selection.place - MOST_LINES // 2, len(rows) - MOST_LINES))
    listed = rows[start : start + MOST_LINES]
    several = looked.values.derived("files", lambda: len(np.unique(table.dataset)) > 1)
    columns = ["Structure", looked.with_unit("Largest error"), "Mean error", "Formula", "config_type", "Split", "Atoms"]
    lines = []
    for row in listed.tolist():
        frame, atoms = int(table.frame[row]), int(table.n_atoms[row])
        where = str(frame) + (f" of {file_name(table.dataset[row])}" if several else "")
        texts = (str(table.formula[row]), str(table.group[row]), _split(str(table.split[row])))
        errors_here = [float(looked.values.largest[row]), float(looked.values.mean[row])]
        lines.append(
            Line(
                (where, *map(three_digits, errors_here), *texts, str(atoms)),
                (frame, *map(_known, errors_here), *texts, atoms),
                row == selection.current,
            )
        )

    def look(number: int) -> None:
        selection.look_at(int(listed[number]), errors)

    choice_table(columns, lines, "analysis-worst", "Structures with the largest errors", look)


def groups_table(analysis: Analysis, shown: Shown) -> None:
    """Errors by what tells structures apart."""
    looked, selection = shown.looked, shown.selection
    kinds = looked.values.derived("kinds", lambda: kinds_of(analysis))
    kind = (
        st.segmented_control(
            "Groups by", kinds, format_func=KINDS.__getitem__, default=kinds[0], required=True, key="analysis-kind"
        )
        or kinds[0]
    )
    found: list[Group] = looked.values.derived(f"groups {kind}", lambda: groups_of(analysis, looked.values, kind))
    shown_groups = found[:MOST_LINES]
    if len(found) > MOST_LINES:
        st.caption(f"The {MOST_LINES} groups with the largest errors of {len(found)}.")
    columns = [KINDS[kind], looked.with_unit("MAE"), "RMSE", "Largest", "R²", "Relative (%)", "Structures", "Values"]
    lines = []
    chosen = set(selection.rows.tolist())
    for group in shown_groups:
        name, errors, rows = _name(kind, group.name), group.errors, group.structures
        sizes = (errors.mae, errors.rmse, errors.max)
        relative = None if errors.relative is None else 100 * errors.relative
        lines.append(
            Line(
                (
                    name,
                    *map(three_digits, sizes),
                    r_squared(errors.r2),
                    three_digits(relative),
                    _thousands(len(rows)),
                    _thousands(errors.count),
                ),
                (name, *sizes, errors.r2, relative, len(rows), errors.count),
                len(chosen) == len(rows) > 0 and chosen.issuperset(rows.tolist()),
            )
        )

    def choose(number: int) -> None:
        selection.choose(shown_groups[number].structures, looked.of_structures)

    with st.grid(2, min_column_width=340, gap="medium", key="analysis-groups") as grid:
        with grid.cell():
            choice_table(columns, lines, f"analysis-groups-{kind}", f"Errors by {KINDS[kind]}", choose)
        with grid.cell():
            bars = [(_name(kind, g.name), g.errors.mae, g.errors.rmse) for g in shown_groups[:MOST_BARS]]
            title = f"{looked.title} by {KINDS[kind].lower() if kind != 'group' else KINDS[kind]}"
            live_plotly(group_bars_figure(bars, looked.unit, title), "analysis-bars", title)


def _split(name: str) -> str:
    return SPLITS.get(name, name)


def _name(kind: str, name: str) -> str:
    if kind == "split":
        return _split(name) or NONE
    return (file_name(name) if kind == "dataset" else name) or NONE


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _thousands(amount: int) -> str:
    return f"{amount:,}".replace(",", "\u202f")
