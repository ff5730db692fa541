"""How long large sets take to inspect, prepare and train on, and how much memory.

`python tests/benchmarks/large_data/measure.py --structures 10000 100000` makes sets of so many structures from two
published ones (`MACE_APP_TEST_DATA`, or `--data FOLDER`), their atoms moved by a hundredth of an ångström, and prints a
line for each step. Each step is a process of its own. Its memory is sampled over it and its children: `private` is what
no file could give back (RssAnon), `with files` adds mapped pages, which the system takes back when it needs them and
which are counted once for each process that maps them; `one process` is the largest of all with its files.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This script may be started from anywhere, and the program need not be installed; its own processes look for it too.
REPOSITORY = str(Path(__file__).resolve().parents[3])
sys.path.insert(0, REPOSITORY)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [REPOSITORY, os.environ.get("PYTHONPATH")]))

SETS = {"ethanol": "ethanol_rmd17_train.xyz", "carbon": "carbon_virial_100.xyz"}
TARGETS: dict[str, Any] = {
    "ethanol": {"energy": {"unit": "eV"}},
    "carbon": {"energy": {"unit": "eV", "forces": "force", "virial": True}},
}
STEPS = ("inspect", "prepare", "again", "train")
TINY = {"hidden_irreps": "4x0e", "max_ell": 1, "correlation": 1, "num_interactions": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("MACE_APP_TEST_DATA"))
    parser.add_argument("--structures", type=int, nargs="+", default=[10_000])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS[:-1]))
    parser.add_argument("--folder", type=Path, help="where the sets are made; a temporary folder if not given")
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--join", type=int, default=1, help="so many molecules side by side in each structure")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step is not None:
        work(**json.loads(arguments.step))
        return
    if arguments.data is None:
        parser.error("name the folder of published sets with --data or MACE_APP_TEST_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        for name in arguments.sets:
            for count in arguments.structures:
                file = make_set(Path(arguments.data) / SETS[name], folder, name, count, arguments.join)
                print(f"{name}, {count} structures, {file.stat().st_size / 1e6:.0f} MB", flush=True)
                for step in arguments.steps:
                    task = {
                        "step": step,
                        "file": str(file),
                        "folder": str(folder / f"{file.stem}-prepared"),
                        "name": name,
                        "count": count,
                        "cutoff": arguments.cutoff,
                        "join": arguments.join,
                    }
                    subprocess.run([sys.executable, __file__, "--step", json.dumps(task)], check=True)


def make_set(source: Path, folder: Path, name: str, count: int, join: int = 1) -> Path:
    """``count`` structures from those of ``source``, each moved by its own random displacements; with ``join`` so many
    side by side, 8 Å apart, with the labels of the first: they are there to be read, not to be learnt."""
    import numpy as np

    path = folder / (f"{name}-{count}.xyz" if join == 1 else f"{name}-{count}x{join}.xyz")
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    lines = source.read_text(encoding="utf-8").splitlines()
    frames = []
    start = 0
    while start < len(lines):
        end = start + 2 + int(lines[start])
        rows = [line.split() for line in lines[start + 2 : end]]
        positions = np.array([[float(text) for text in row[1:4]] for row in rows])
        frames.append((lines[start : start + 2], [row[0] for row in rows], positions, [row[4:] for row in rows]))
        start = end
    if join > 1:
        frames = [
            side_by_side([frames[(first + n) % len(frames)] for n in range(join)]) for first in range(len(frames))
        ]
    random = np.random.default_rng(1)
    with path.with_suffix(".part").open("w", encoding="utf-8") as stream:
        for number in range(count):
            head, species, positions, rest = frames[number % len(frames)]
            moved = positions + random.normal(0, 0.01, positions.shape)
            stream.write("\n".join(head) + "\n")
            for symbol, place, others in zip(species, moved.tolist(), rest, strict=True):
                stream.write(f"{symbol} {place[0]:.8f} {place[1]:.8f} {place[2]:.8f} {' '.join(others)}\n")
    path.with_suffix(".part").rename(path)
    return path


def side_by_side(frames: list[Any]) -> Any:
    """One frame of several molecules, in rows of ten."""
    import numpy as np

    places = [np.array([8.0 * (n % 10), 8.0 * (n // 10), 0.0]) for n in range(len(frames))]
    species = [symbol for frame in frames for symbol in frame[1]]
    positions = np.concatenate([frame[2] + place for frame, place in zip(frames, places, strict=True)])
    return ([f"{len(species)}", frames[0][0][1]], species, positions, [rest for frame in frames for rest in frame[3]])


def options(file: str, name: str, cutoff: float, batch_size: int = 64) -> Any:
    from mace_app.options import parse_options

    return parse_options(
        {
            "seed": 1,
            "architecture": {
                "name": "experimental.mace",
                "model": {"r_max": cutoff, **TINY},
                "training": {"num_epochs": 1, "batch_size": batch_size},
            },
            "training_set": {"systems": {"read_from": file, "length_unit": "angstrom"}, "targets": TARGETS[name]},
            "validation_set": 0.05,
        }
    )


def work(step: str, file: str, folder: str, name: str, count: int, cutoff: float, join: int) -> None:
    """One step, in this process; prints its line."""
    actions: dict[str, Callable[[], None]] = {
        "inspect": lambda: inspect(file),
        "train": lambda: train(file, name, cutoff, max(1, 64 // join)),
    }
    action = actions.get(step, lambda: prepare(file, folder, name, cutoff, step == "again"))
    begun = time.monotonic()
    with Memory() as memory:
        action()
    seconds = time.monotonic() - begun
    print(
        f"  {step:8} {seconds:7.1f} s  {count / seconds:8.0f} structures/s  "
        f"private {memory.private / 2**20:5.0f} MiB  with files {memory.whole / 2**20:5.0f} MiB  "
        f"one process {memory.largest / 2**20:5.0f} MiB",
        flush=True,
    )


def inspect(file: str) -> None:
    from mace_app.data import inspect_files

    inspect_files([file])


def prepare(file: str, folder: str, name: str, cutoff: float, again: bool) -> None:
    import shutil

    from mace_app import data

    if not again:
        shutil.rmtree(folder, ignore_errors=True)
    data.prepare(options(file, name, cutoff), Path(folder))


def train(file: str, name: str, cutoff: float, batch_size: int) -> None:
    """A whole run, from its options to the exported model."""
    import tempfile

    from mace_app.jobs import Workspace
    from mace_app.tasks.train import train_run

    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        run = Workspace(Path(folder)).create_run(options(file, name, cutoff, batch_size), "large", held=True)
        train_run(run)
        state = run.info().state
        if state != "finished":
            raise SystemExit(f"the run is {state}: {run.info().reason}")


class Memory:
    """The most memory, in bytes, that this process and its children had at once, sampled twenty times a second."""

    def __init__(self) -> None:
        self.private = self.whole = self.largest = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        me = psutil.Process()
        while True:
            private = whole = 0
            for process in [me, *me.children(recursive=True)]:
                found = status(process.pid)
                private += found.get("RssAnon", 0)
                whole += found.get("VmRSS", 0)
                self.largest = max(self.largest, found.get("VmRSS", 0))
            self.private, self.whole = max(self.private, private), max(self.whole, whole)
            if self._end.wait(0.05):
                return


def status(pid: int) -> dict[str, int]:
    """Memory of a process in bytes, by the names of Linux's ``/proc/PID/status``; empty if it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if line.endswith(" kB")}


if __name__ == "__main__":
    main()
