"""How long the server takes for the Runs page of a workspace with many runs.

The first drawing reads every record, the second only what changed. Browser and network are not part of it.

    python tests/benchmarks/runs_page/measure.py
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[3]), str(HERE.parents[2])]


def fill(root: Path, runs: int, epochs: int) -> None:
    """``runs`` finished runs, copies of one folder."""
    from run_samples import add_epochs, finish, make_run

    from mace_app.jobs import RunFolder, Workspace

    space = Workspace(root)
    first = make_run(space, "run 0", "finished")
    add_epochs(first, 0, epochs)
    finish(first, b"model")
    for number in range(1, runs):
        copy = RunFolder(shutil.copytree(first.path, space.runs_path / f"20250131-{number:06d}-run"))
        copy.update(id=copy.id, name=f"run {number}")


def drawings(root: Path, times: int = 3) -> list[float]:
    """Seconds of the server for each drawing of the page, in one session."""
    from streamlit.testing.v1 import AppTest

    os.environ["MACE_APP_WORKSPACE"] = str(root)
    app = AppTest.from_file(str(HERE.parents[3] / "mace_app" / "ui" / "shell.py"), default_timeout=120)
    app.run()
    app.switch_page("../../pages/runs.py")
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        app.run()
        seconds.append(time.perf_counter() - begun)
        assert not app.exception, app.exception
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), arguments.runs, arguments.epochs)
        first, *later = drawings(Path(folder))
    print(f"{arguments.runs} runs of {arguments.epochs} epochs: {first:.2f} s, then {min(later):.2f} s")


if __name__ == "__main__":
    main()
