"""The process that inspects one dataset: ``python -m mace_app.jobs.inspection DATASET_FOLDER``."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mace_app.jobs.dataset_folder import DatasetFolder
from mace_app.jobs.errors import WorkspaceError

INTERVAL_SECONDS = 0.5


class _Watch:
    """Writes progress and looks for a cancel request, each about twice a second however often it is called."""

    def __init__(self, dataset: DatasetFolder) -> None:
        self.dataset = dataset
        self._written = -INTERVAL_SECONDS
        self._looked = -INTERVAL_SECONDS
        self._cancelled = False

    def progress(self, done: float, total: float, message: str = "") -> None:
        now = time.monotonic()
        if now - self._written >= INTERVAL_SECONDS:
            self._written = now
            self.dataset.write_inspection_progress("running", min(1.0, done / total) if total else 0.0, message)

    def cancelled(self) -> bool:
        now = time.monotonic()
        if now - self._looked >= INTERVAL_SECONDS:
            self._looked = now
            self._cancelled = self.dataset.inspection_cancelled()
        return self._cancelled


def inspect(dataset: DatasetFolder) -> int:
    """Inspect and write the result, or the sentence why there is none. 0, 1 on failure, 2 when cancelled."""
    dataset.write_inspection_progress("running", 0.0, "Reading")
    from mace_app.data import Cancelled, DataError, inspect_files

    watch = _Watch(dataset)
    try:
        inspection = inspect_files([dataset.source_path], progress=watch.progress, cancelled=watch.cancelled)
    except Cancelled:
        dataset.end_cancelled_inspection()
        return 2
    except (DataError, WorkspaceError) as error:
        dataset.write_inspection_error(str(error))
        return 1
    except MemoryError:
        dataset.write_inspection_error(
            f"The file {dataset.info().path} needs more memory than this machine has free. Free some or split it."
        )
        return 1
    dataset.write_inspection(inspection)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mace_app.jobs.inspection", description="Inspect a dataset of a workspace.")
    parser.add_argument("folder", type=Path, help="folder of the dataset in the workspace")
    dataset = DatasetFolder(parser.parse_args(argv).folder)
    try:
        return inspect(dataset)
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
