"""The published files that can be downloaded, as text. No torch: a list is there at once."""

from mace_app.published import DOWNLOADABLE
from mace_app.tasks.tables import aligned


def catalogue() -> str:
    """The published files that can be downloaded, as a table."""
    header = ("name", "model", "elements", "level of theory", "trained on", "licence")
    rows = [
        (key, m.title, m.elements, m.theory, m.data, "ASL" if m.needs_consent else m.licence)
        for key, m in DOWNLOADABLE.items()
    ]
    asl = next(model.licence for model in DOWNLOADABLE.values() if model.needs_consent)
    return f"{aligned(header, rows, words=range(1, 5))}\n\nASL: {asl}."
