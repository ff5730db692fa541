"""Tables of ``report.json`` and of options, made of text that is shown as it is."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from mace_app.options import Change
from mace_app.ui.charts import display_unit, r_squared, readable, three_digits, title_of
from mace_app.ui.text import code, markdown

SPLITS = {"training": "Training", "validation": "Validation", "test": "Test"}


def error_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row a split and label, in units that suit the numbers: the same one for a label on every split."""
    rows = []
    splits = {split: labels or {} for split, labels in (report.get("splits") or {}).items()}
    for split, labels in splits.items():
        for label, errors in labels.items():
            sizes = [other[label].get("mae") for other in splits.values() if label in other]
            unit = display_unit(str(errors.get("unit") or ""), sizes)

            def shown(key: str, errors: Mapping[str, Any] = errors, factor: float = unit.factor) -> str:
                value = errors.get(key)
                return three_digits(None if value is None else value * factor)

            r2, count = errors.get("r2"), errors.get("count")
            rows.append(
                {
                    "Split": SPLITS.get(split, markdown(split)),
                    "Quantity": markdown(title_of(label)),
                    "MAE": shown("mae"),
                    "RMSE": shown("rmse"),
                    "Largest": shown("max"),
                    "Unit": markdown(unit.text) or "–",
                    "R²": r_squared(r2),
                    "Values": "–" if count is None else f"{count:,}".replace(",", "\u202f"),
                }
            )
    return rows


def error_table(report: Mapping[str, Any]) -> None:
    rows = error_rows(report)
    if rows:
        st.table(rows, border="horizontal", hide_index=True, alt="Errors of the best weights on every split")
    else:
        st.caption("The report holds no errors: evaluation after training was turned off.")


def check_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row a quantity that the exported file was compared on."""
    rows = []
    for check in (report.get("export") or {}).get("checks") or []:
        difference, tolerance = check.get("max_difference"), check.get("tolerance")
        passed = difference is not None and tolerance is not None and difference <= tolerance
        rows.append(
            {
                "Quantity": markdown(title_of(str(check.get("label", "")))),
                "Largest difference": three_digits(difference),
                "Allowed": three_digits(tolerance),
                "Unit": markdown(readable(str(check.get("unit") or "–"))),
                "Structures": str(check.get("structures", "–")),
                "Result": ":green-badge[agrees]" if passed else ":red-badge[differs]",
            }
        )
    return rows


def check_table(report: Mapping[str, Any]) -> None:
    """How far the exported file, loaded in a process of its own, is from the model that was trained."""
    rows = check_rows(report)
    if rows:
        st.table(rows, border="horizontal", hide_index=True, alt="Checks of the exported file")
    else:
        st.caption("The report holds no checks of the exported file.")


def change_rows(changes: list[Change]) -> list[dict[str, str]]:
    """Options that differ from their defaults; what names the data is shown elsewhere."""
    data = ("training_set", "validation_set", "test_set")
    return [
        {
            "Option": option_name(change),
            "Value": option_text(change.value),
            "Default": option_text(change.default),
        }
        for change in changes
        if change.loc[0] not in data
    ]


def option_name(change: Change) -> str:
    return code(".".join(change.loc).removeprefix("architecture."))


def option_text(value: Any) -> str:
    """A value as YAML would have it, cut where it is long."""
    return code(_short(value))


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 120 else text[:117] + "…"
