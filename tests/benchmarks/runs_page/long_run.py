"""How long the server takes for the page of a run with many epochs and metrics: to open it, and for each live update.

An update is what the page does every second or two of a run at work, here always with a new epoch and new predictions.
Browser and network are not part of it.

    python tests/benchmarks/runs_page/long_run.py
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[3]), str(HERE.parents[2])]


def fill(root: Path, epochs: int, labels: int) -> str:
    """One run at work, with so many epochs and labels, each of which has four errors; its id."""
    import numpy as np
    from run_samples import LABELS, UNITS, add_epochs, make_run, pose_as_worker

    from mace_app.jobs import Workspace

    run = make_run(Workspace(root), "long", "running")
    pose_as_worker(run)
    add_epochs(run, 0, 1, of=epochs)
    more = [f"mtt::more_{number}" for number in range(labels - len(LABELS))]
    header, *_, last = run.metrics_file.read_text().splitlines()
    first = json.loads(header)
    first["header"]["labels"] += more
    first["header"]["units"] = UNITS | dict.fromkeys(more, "eV")
    record: dict[str, Any] = json.loads(last)
    keys = [
        f"{split}/{label}/{kind}" for label in more for split in ("train", "validation") for kind in ("mae", "rmse")
    ]
    random = np.random.default_rng(0)
    with run.metrics_file.open("w") as stream:
        stream.write(json.dumps(first) + "\n")
        for epoch in range(epochs):
            noise = (0.5 + random.random(len(keys))) / (1 + epoch / 100)
            changed = {"epoch": epoch, "best": epoch % 1000 == 1, **dict(zip(keys, noise.tolist(), strict=True))}
            stream.write(json.dumps(record | changed) + "\n")
    return run.id


@contextmanager
def timed(spent: list[float]) -> Iterator[None]:
    """Adds up what the moving parts of the page take."""
    from mace_app.ui import run_live

    kept = {name: getattr(run_live, name) for name in ("_status", "_charts")}

    def measured(make: Any) -> Any:
        def run(*given: Any) -> None:
            begun = time.perf_counter()
            make(*given)
            spent[-1] += time.perf_counter() - begun

        return run

    for name, make in kept.items():
        setattr(run_live, name, measured(make))
    try:
        yield
    finally:
        for name, make in kept.items():
            setattr(run_live, name, make)


def drawings(root: Path, identifier: str, updates: int = 5) -> tuple[float, list[float]]:
    """Seconds to open the page, and those of each live update after it."""
    from run_samples import add_epochs
    from streamlit.testing.v1 import AppTest

    from mace_app.jobs import Workspace

    os.environ["MACE_APP_WORKSPACE"] = str(root)
    run = Workspace(root).run(identifier)
    app = AppTest.from_file(str(HERE.parents[3] / "mace_app" / "ui" / "shell.py"), default_timeout=120)
    app.run()
    app.query_params["run"] = identifier
    app.switch_page("../../pages/runs.py")
    begun = time.perf_counter()
    app.run()
    opened = time.perf_counter() - begun
    assert not app.exception, app.exception
    spent: list[float] = []
    epochs = run.metrics().count
    with timed(spent):
        for number in range(updates):
            add_epochs(run, epochs + number, epochs + number, of=10 * epochs)
            spent.append(0.0)
            app.run()
            assert not app.exception, app.exception
    return opened, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100_000)
    parser.add_argument("--labels", type=int, nargs="*", default=[3, 10], help="each has four errors and a chart")
    arguments = parser.parse_args()
    for labels in arguments.labels:
        with tempfile.TemporaryDirectory() as folder:
            identifier = fill(Path(folder), arguments.epochs, labels)
            opened, updates = drawings(Path(folder), identifier)
        print(
            f"{arguments.epochs} epochs, {labels} labels: open {opened:.2f} s, "
            f"live update {1000 * median(updates):.0f} ms (from {', '.join(f'{1000 * u:.0f}' for u in updates)})"
        )


if __name__ == "__main__":
    main()
