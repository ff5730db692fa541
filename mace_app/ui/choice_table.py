"""A table whose lines are buttons; headings sort it in the browser. Texts are shown as they are, never as markup."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

_component = st.components.v2.component(
    "mace_choice_table",
    html='<div class="frame" tabindex="0"><table class="choices"><caption></caption><thead></thead><tbody></tbody>'
    "</table></div>",
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Line:
    """``cells`` as shown; ``sort`` are numbers or texts to sort by; ``chosen``: it stands out."""

    cells: tuple[str, ...]
    sort: tuple[float | str | None, ...]
    chosen: bool = False


def choice_table(
    columns: Sequence[str], lines: Sequence[Line], key: str, label: str, on_chosen: Callable[[int], None]
) -> None:
    """``on_chosen`` is called with the number of the line that was chosen, before the script runs again."""

    def chosen() -> None:
        number = (st.session_state.get(key) or {}).get("line")
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(lines):
            on_chosen(number)

    _component(
        key=key,
        data={"columns": list(columns), "lines": [asdict(line) for line in lines], "label": label},
        on_line_change=chosen,
    )
