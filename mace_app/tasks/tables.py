"""Tables as text. No torch: the command line shows some without it."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mace_app.training import Errors


def error_table(errors: "Mapping[str, Errors]") -> str:
    """One line a label: MAE, RMSE and the largest error in its unit, R², and how many values were compared."""
    header = ("label", "MAE", "RMSE", "largest", "R²", "values", "unit")
    rows = [
        (
            label,
            f"{value.mae:.5g}",
            f"{value.rmse:.5g}",
            f"{value.max:.5g}",
            "–" if value.r2 is None else f"{value.r2:.6f}",
            str(value.count),
            value.unit,
        )
        for label, value in errors.items()
    ]
    return aligned(header, rows)


def aligned(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], words: Collection[int] = ()) -> str:
    """Columns of equal width; the first, the last and those of ``words`` to the left, numbers to the right."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    last = len(header) - 1
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if column in (0, last, *words) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
