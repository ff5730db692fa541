"""The structures that are chosen on the analysis page: one choice for all its charts, tables and the list."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from numpy.typing import NDArray

Rows = NDArray[np.int64]
NONE: Rows = np.empty(0, dtype=np.int64)


@dataclass
class Selection:
    """``rows`` of structures, those with the largest errors first; ``place`` of the one that is looked at among them;
    ``atom`` of it that was pointed at. ``changes`` counts what was asked of it, also where nothing came of it."""

    rows: Rows = field(default_factory=lambda: NONE)
    place: int = 0
    atom: int | None = None
    ranked_by: Hashable = None
    changes: int = 0

    @property
    def current(self) -> int | None:
        return int(self.rows[self.place]) if len(self.rows) else None

    def choose(
        self, rows: NDArray[np.integer], errors: NDArray[np.float64], how: str = "replace", atom: int | None = None
    ) -> None:
        """Other structures instead, besides, or not any more; ``errors [S]`` give their order."""
        self.changes += 1
        rows = np.flatnonzero(np.bincount(rows, minlength=1))
        if how == "add":
            new = np.union1d(self.rows, rows)
        elif how == "remove":
            new = np.setdiff1d(self.rows, rows)
        else:
            new = rows
        looked_at = int(rows[0]) if len(rows) == 1 and how != "remove" else self.current if how != "replace" else None
        size = np.where(np.isfinite(errors[new]), errors[new], -1.0)
        self.rows = new[np.argsort(-size, kind="stable")]
        at = np.flatnonzero(self.rows == looked_at) if looked_at is not None else NONE
        self.place = int(at[0]) if len(at) else 0
        self.atom = atom

    def rank(self, errors: NDArray[np.float64], by: Hashable) -> None:
        """Once for each ``by``, of which ``errors [S]`` are: the order is theirs from now on. What is looked at stays,
        unless nobody has stepped to it."""
        if by == self.ranked_by:
            return
        self.ranked_by = by
        if len(self.rows):
            looked_at = self.current if self.place else None
            self.choose(self.rows, errors)
            at = np.flatnonzero(self.rows == looked_at) if looked_at is not None else NONE
            self.place = int(at[0]) if len(at) else 0

    def look_at(self, row: int, errors: NDArray[np.float64], how: str = "replace", atom: int | None = None) -> None:
        """One structure: among the chosen ones if it is one of them, otherwise it is the choice."""
        at = np.flatnonzero(self.rows == row)
        if len(at) and how == "replace":
            self.changes += 1
            self.place, self.atom = int(at[0]), atom
        else:
            self.choose(np.array([row]), errors, how, atom)

    def step(self, by: int) -> None:
        """To the next or the one before, around the ends."""
        self.changes += 1
        if len(self.rows):
            self.place, self.atom = (self.place + by) % len(self.rows), None

    def clear(self) -> None:
        self.changes += 1
        self.rows, self.place, self.atom = NONE, 0, None


def selection_of(identifier: str, structures: int) -> Selection:
    """This session's choice in an analysis; a choice of rows that are not there any more is dropped."""
    kept: dict[str, Selection] = st.session_state.setdefault("analysis_selections", {})
    selection = kept.setdefault(identifier, Selection())
    if len(selection.rows) and selection.rows.max() >= structures:
        selection.clear()
    return selection
