"""The list of runs as a table of links; on a narrow window as cards."""

from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

COLUMNS = ("State", "Run", "Progress", "Epoch", "Best errors", "Time", "Left")

_component = st.components.v2.component(
    "mace_run_table",
    html='<div class="frame"><table class="runs"><thead></thead><tbody></tbody></table></div>',
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class RunRow:
    """What one line shows, ready to read; ``fraction`` between 0 and 1, None without a bar."""

    id: str
    name: str
    state: str
    colour: str
    created: str
    phase: str = ""
    fraction: float | None = None
    epoch: str = ""
    best: str = ""
    elapsed: str = ""
    left: str = ""


def run_table(rows: list[RunRow], key: str) -> str | None:
    """Show the rows; returns the id of the run that was just clicked."""
    result = _component(
        key=key,
        data={"columns": list(COLUMNS), "rows": [asdict(row) for row in rows]},
        on_opened_change=lambda: None,
    )
    opened = result.opened
    return opened if isinstance(opened, str) else None
