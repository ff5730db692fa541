"""An exported file gets its name only after a fresh process agreed with the model."""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mace_app.export.check import ExportCheck
from mace_app.export.errors import ExportRefused
from mace_app.model import GraphSource


def usable_path(path: Path | str, ending: str, what: str, structures: GraphSource) -> Path:
    """``path`` if it has the ``ending`` of ``what`` and there is something to compare on; ExportRefused otherwise."""
    path = Path(path)
    if path.suffix != ending:
        raise ExportRefused(f"`{path.name}` can't be the name of a {what}; let it end in `{ending}`.")
    if len(structures) == 0:
        raise ExportRefused("There are no structures to compare the exported file with; give at least one.")
    return path


def keep_if_it_agrees(
    path: Path, save: Callable[[Path], object], compare: Callable[[Path], list[ExportCheck]], refusal: str
) -> list[ExportCheck]:
    """``save`` under another name beside ``path``, ``compare``, and rename; gives the checks that were passed.

    Where a check fails, ExportRefused is raised with ``refusal``, whose ``{labels}`` are those that differ; then there
    is no new file, and an old one at ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates TorchScript, which is metatomic's format
            save(temporary)
        checks = compare(temporary)
        failed = [check for check in checks if not check.passed]
        if failed:
            labels = ", ".join(check.label for check in failed)
            raise ExportRefused(refusal.format(labels=labels), checks)
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return checks
