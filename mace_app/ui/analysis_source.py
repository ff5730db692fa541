"""The analyses of a workspace, and opening one of them."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from mace_app.analysis import Analysis, AnalysisError, AnalysisInfo, read_analysis, read_info
from mace_app.analysis.store import INFO
from mace_app.jobs import JobsError, RunFolder, Workspace
from mace_app.options import OptionsError
from mace_app.ui.analysis_values import Kept, Values, View, compute, scaled
from mace_app.ui.charts import DisplayUnit
from mace_app.ui.run_reader import signature
from mace_app.ui.times import clock

PLACES = ("runs/*/analyses/*/result", "foundations/*/analyses/*/result", "analyses/*/result")
MOST_OPEN = 4
NEWEST = "newest-"


@dataclass(frozen=True)
class Stored:
    """A finished analysis; ``id`` is the name of its folder, which no other one has."""

    id: str
    path: Path
    info: AnalysisInfo
    run: RunFolder | None = None  # whose newest validation it is, see `newest`

    @property
    def title(self) -> str:
        model = self.info.model
        name = str(model.get("name") or model.get("id") or "Model")
        which = str(model.get("which") or "")
        data = ", ".join(str(entry.get("name") or entry.get("path") or "") for entry in self.info.data)
        words = [name + (f" ({which})" if which else ""), data, clock(self.info.created)]
        return " · ".join(word for word in words if word)


@dataclass(frozen=True)
class Opened:
    """An analysis in memory; ``key`` changes with its files."""

    stored: Stored
    analysis: Analysis
    key: Hashable

    def values(self, view: View) -> Values:
        return _kept().get((self.key, view), partial(compute, self.analysis, view))

    def scaled(self, values: Values, unit: DisplayUnit) -> Values:
        view = replace(values.view, unit=unit)
        return _kept().get((self.key, view), partial(scaled, values, unit))


def stored_analyses(space: Workspace) -> tuple[list[Stored], list[str]]:
    """The newest first, and a sentence for each that can't be read."""
    found, problems = [], []
    for place in PLACES:
        for path in space.root.glob(f"{place}/{INFO}"):
            try:
                found.append(Stored(path.parent.parent.name, path.parent, read_info(path.parent)))
            except AnalysisError as error:
                problems.append(str(error))
    return sorted(found, key=lambda stored: (stored.info.created, stored.id), reverse=True), sorted(problems)


def newest(space: Workspace, identifier: str | None) -> Stored | None:
    """The newest validation of a run, under the id ``newest-<run>``; None for another id, or before there is one."""
    if identifier is None or not identifier.startswith(NEWEST):
        return None
    try:
        run = space.run(identifier.removeprefix(NEWEST))
        found = _newest(str(run.path), signature(run.parity_file))
    except (JobsError, OptionsError, OSError):
        return None
    return None if found is None else Stored(identifier, run.path, found.info, run)


def open_stored(stored: Stored) -> Opened:
    """AnalysisError if a file is missing or damaged."""
    if stored.run is not None:
        key = (stored.id, signature(stored.run.parity_file))
        found = _newest(str(stored.run.path), key[1])
        if found is None:
            raise AnalysisError("The newest predictions are being written; look again in a moment.")
        return Opened(stored, found, key)
    key = (str(stored.path), signature(stored.path / INFO))
    return Opened(stored, _read(str(stored.path), key), key)


def counterparts(first: Analysis, second: Analysis) -> NDArray[np.int64]:
    """For each structure of ``first`` the row of the same one in ``second``, −1 where there is none: the same frame of
    the same file with as many atoms."""
    rows = {key: row for row, key in enumerate(_keys(second))}
    found = np.array([rows.get(key, -1) for key in _keys(first)], dtype=np.int64)
    return found if len(found) else np.empty(0, dtype=np.int64)


def same_data(first: AnalysisInfo, second: AnalysisInfo) -> bool:
    """Whether a file was read for both."""
    return bool(
        {str(entry.get("sha256")) for entry in first.data} & {str(entry.get("sha256")) for entry in second.data}
    )


def _keys(analysis: Analysis) -> list[tuple[str, int, int]]:
    files = {str(entry.get("path")): str(entry.get("sha256")) for entry in analysis.info.data}
    table = analysis.structures
    names = [files.get(name, name) for name in table.dataset.tolist()]
    return list(zip(names, table.frame.tolist(), table.n_atoms.tolist(), strict=True))


@st.cache_resource(show_spinner=False, max_entries=MOST_OPEN)
def _read(path: str, key: Hashable) -> Analysis:
    return read_analysis(Path(path))


@st.cache_resource(show_spinner=False, max_entries=MOST_OPEN)
def _newest(path: str, key: Hashable) -> Analysis | None:
    from mace_app.jobs.newest import newest_analysis  # readers of structures, which other pages need not wait for

    return newest_analysis(RunFolder(path))


@st.cache_resource(show_spinner=False)
def _kept() -> Kept:
    """One for all sessions of a server."""
    return Kept()
