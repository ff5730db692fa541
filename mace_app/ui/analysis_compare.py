"""A second analysis of the same structures: as a ghost in the charts, and which of the two is better where."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from mace_app.analysis import AnalysisError, Label
from mace_app.ui.analysis_charts import HEIGHT, Shown, overlay_of
from mace_app.ui.analysis_controls import Looked
from mace_app.ui.analysis_groups import KINDS, kinds_of
from mace_app.ui.analysis_source import Opened, Stored, counterparts, open_stored, same_data
from mace_app.ui.analysis_values import Values
from mace_app.ui.charts import three_digits
from mace_app.ui.charts.analysis_points import Cloud, points_figure
from mace_app.ui.charts.style import plain_text
from mace_app.ui.choice_table import Line, choice_table
from mace_app.ui.live_plotly import Pointed, live_marks, region_plotly
from mace_app.ui.state import failure
from mace_app.ui.text import count, markdown

MOST_LINES = 100


@dataclass(frozen=True)
class Other:
    """Values of the other analysis, of all its structures that are looked at."""

    values: Values


def ghost_choice(found: Sequence[Stored], opened: Opened) -> tuple[Opened, NDArray[np.int64]] | None:
    """Another analysis with structures of the same files, if a person wants one beside; with the row in it of each
    structure."""
    others = {s.id: s for s in found if s.id != opened.stored.id and same_data(s.info, opened.stored.info)}
    if not others:
        return None
    chosen = st.selectbox(
        "Compare with",
        [None, *others],
        format_func=lambda identifier: others[identifier].title if identifier else "no other model",
        key=f"analysis-ghost-{opened.stored.id}",
        help="Another model on the same structures: pale in the charts, and told which of the two is better where.",
    )
    if chosen is None:
        return None
    try:
        other = open_stored(others[chosen])
    except AnalysisError as error:
        failure("The other analysis can't be shown", error)
        return None
    rows = _rows(opened.key, other.key, opened, other)
    if not (rows >= 0).any():
        st.warning("These two have no structure in common.", icon=":material/warning:")
        return None
    return other, rows


def ghost_values(other: Opened, looked: Looked, mine: Label) -> Other | None:
    """What is looked at, of the other model; None, with a sentence, where it has no such label as ``mine``."""
    view = looked.view
    label = other.analysis.labels.get(view.label)
    if label is None:
        st.info("The other model has no such target.", icon=":material/info:")
        return None
    if (label.shape, label.unit, label.per_atom) != (mine.shape, mine.unit, mine.per_atom):
        st.info("The other model has this target in another form or unit.", icon=":material/info:")
        return None
    split = view.split if (other.analysis.structures.split == view.split).any() else ""
    baseline = view.without_baseline and label.baseline is not None
    if baseline != view.without_baseline:
        st.info("The other model has no energies of single atoms to take away; keep them.", icon=":material/info:")
        return None
    return Other(other.values(replace(view, split=split)))


def comparison(opened: Opened, ghost: tuple[Opened, NDArray[np.int64]], shown: Shown, other: Other) -> None:
    """Chart and tables of the differences, structure by structure."""
    looked, selection = shown.looked, shown.selection
    mine = looked.of_structures
    rows = ghost[1]
    theirs = np.full(len(mine), np.nan)
    theirs[rows >= 0] = other.values.measure(looked.largest)[rows[rows >= 0]]
    both = np.flatnonzero(np.isfinite(mine) & np.isfinite(theirs))
    st.header("Which of the two is better", anchor=False)
    if not len(both):
        st.caption("No structure has this label in both.")
        return
    better = int((mine[both] < theirs[both]).sum())
    st.markdown(
        f"**{markdown(opened.stored.title)}** has the smaller error on {better} of {count(len(both), 'structure')}, "
        f"**{markdown(ghost[0].stored.title)}** on {int((theirs[both] < mine[both]).sum())}."
    )
    cloud = Cloud(mine[both], theirs[both], both.astype(np.int32), np.full(len(both), -1, np.int32),
                  np.abs(theirs[both] - mine[both]), log_x=True, log_y=True)  # fmt: skip

    def pointed(what: Pointed) -> None:
        if what.region is not None:
            inside = what.region.inside(cloud.x, cloud.y, True, True)
            selection.choose(cloud.structure[inside], mine, what.how)
        elif what.points and isinstance(what.points[0], list) and isinstance(what.points[0][0], int):
            selection.look_at(int(np.clip(what.points[0][0], 0, len(mine) - 1)), mine, what.how)
        else:
            selection.clear()

    with st.grid(2, min_column_width=340, gap="medium", key="analysis-better") as grid:
        with grid.cell():
            unit = f" {plain_text(looked.unit)}" if looked.unit else ""
            figure = points_figure(
                cloud, shown.names, looked.with_unit(f"{looked.measure.capitalize()}, this model"),
                looked.with_unit("The other model"), "Above the line this model is better",
                line="diagonal", hover=f"<br>this %{{x:.3~g}}, other %{{y:.3~g}}{unit}", height=HEIGHT + 60,
            )  # fmt: skip
            overlay = overlay_of(f"difference {ghost[0].stored.id} {looked.largest}", cloud, shown)
            live_marks({"analysis-difference": overlay}, selection.changes, "analysis-difference-marks")
            region_plotly(figure, "analysis-difference", "Errors of both models", pointed, shown.picture)
        with grid.cell():
            _table(opened, shown, mine, theirs, both)


def _table(
    opened: Opened, shown: Shown, mine: NDArray[np.float64], theirs: NDArray[np.float64], both: NDArray[np.int64]
) -> None:
    table, looked, selection = opened.analysis.structures, shown.looked, shown.selection
    kinds = [
        kind for kind in shown.looked.values.derived("kinds", lambda: kinds_of(opened.analysis)) if kind != "element"
    ]
    by = st.segmented_control(
        "Differences by", ["structure", *kinds], default="structure", required=True, key="analysis-better-by",
        format_func=lambda kind: KINDS.get(kind, "Structure"),
    )  # fmt: skip
    lines: list[Line] = []
    chosen: list[NDArray[np.int64]] = []
    if by in kinds:
        names, code = np.unique(getattr(table, by)[both], return_inverse=True)
        for number, name in enumerate(names.tolist()):
            own = both[code == number]
            lines.append(_line(name or "(none)", float(mine[own].mean()), float(theirs[own].mean())))
            chosen.append(own)
            if len(lines) == MOST_LINES:
                break
    else:
        order = both[np.argsort(-np.abs(mine[both] - theirs[both]), kind="stable")][:MOST_LINES]
        for row in order.tolist():
            name = f"{int(table.frame[row])}, {table.formula[row]}"
            lines.append(_line(name, float(mine[row]), float(theirs[row]), row == selection.current))
            chosen.append(np.array([row]))
    columns = [KINDS.get(str(by), "Structure"), looked.with_unit("This model"), "The other", "Difference"]
    choice_table(
        columns, lines, f"analysis-better-{by}", "Errors of both models", partial(_choose, shown, chosen, mine)
    )


def _choose(shown: Shown, chosen: Sequence[NDArray[np.int64]], errors: NDArray[np.float64], number: int) -> None:
    shown.selection.choose(chosen[number], errors)


def _line(name: str, mine: float, theirs: float, current: bool = False) -> Line:
    difference = mine - theirs
    signed = ("+" if difference > 0 else "−" if difference < 0 else "") + three_digits(abs(difference))
    return Line((name, three_digits(mine), three_digits(theirs), signed), (name, mine, theirs, difference), current)


@st.cache_resource(show_spinner=False, max_entries=8)
def _rows(key: object, other_key: object, _opened: Opened, _other: Opened) -> NDArray[np.int64]:
    return counterparts(_opened.analysis, _other.analysis)
