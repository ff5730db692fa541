"""Random SIGKILLs of workers, supervisor and server over a queue of short runs; then everything must be as without.

By hand, for as many kills as you like:  python tests/torture/storm.py FOLDER --kills 300
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tasks")]

from small_data import options, write_waters  # noqa: E402

from mace_app.jobs import RunFolder, Workspace, WorkspaceSettings  # noqa: E402
from mace_app.jobs.supervisor import Supervisor  # noqa: E402

IDLE_LIFE_SECONDS = 15.0  # of an undisturbed worker on an idle machine: imports, training, export
SPARED = 0.3  # of the workers are left to end by themselves
# What a supervisor's worker has and another hasn't.
MAY_DIFFER = {"output.txt", ".worker.lock", ".run.lock"}
TIMES = ("seconds", "structures_per_second")


def write_options(folder: Path, epochs: int) -> Path:
    data = write_waters(folder / "data.xyz", 24)
    value = options(data, num_epochs=epochs, batch_size=2, checkpoint_interval=max(1, epochs // 4))
    file = folder / "options.yaml"
    file.write_text(yaml.safe_dump(value))
    return file


def environment(folder: Path) -> dict[str, str]:
    """One thread, so that sums have one order; temporary files where this storm's are seen."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}


def undisturbed(folder: Path, file: Path, count: int) -> tuple[dict[str, RunFolder], float]:
    """The same runs, each in peace, all in one process; and how long the first took, imports included."""
    code = (
        "import sys, yaml; from pathlib import Path; from mace_app.jobs import RunFolder; "
        "from mace_app.options import parse_options, dump_options; from mace_app.tasks.train import train_run\n"
        "value = yaml.safe_load(Path(sys.argv[1]).read_text())\n"
        "for n in range(int(sys.argv[3])):\n"
        "    text = dump_options(parse_options({**value, 'seed': 100 + n}))\n"
        "    run = RunFolder.create(Path(sys.argv[2]) / f'run-{n}', text, f'run-{n}')\n"
        "    assert train_run(run) == 'finished', run.info().reason\n"
    )
    where = folder / "undisturbed"
    begun = time.time()
    subprocess.run(
        [sys.executable, "-c", code, str(file), str(where), str(count)], check=True, env=environment(folder), cwd=ROOT
    )
    runs = {f"run-{number}": RunFolder(where / f"run-{number}") for number in range(count)}
    return runs, runs["run-0"].run_file.stat().st_mtime - begun


@dataclass
class Storm:
    """One workspace under fire. ``step`` is called again and again; it kills what its time has come."""

    folder: Path
    file: Path
    runs: int
    life: float  # seconds that an undisturbed worker takes
    seed: int
    settings: WorkspaceSettings
    kills: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)  # in which killed workers were
    calm: bool = False
    doubled: dict[str, float] = field(default_factory=dict)  # run → since when two workers live

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.dice = random.Random(self.seed)
        self.workspace = Workspace(self.folder / "workspace")
        self.workspace.write_settings(self.settings)
        self.slowness = max(1.0, self.life / IDLE_LIFE_SECONDS)  # of a busy machine, on which all starts take long
        self.visitor: subprocess.Popen[bytes] | None = None
        self._deaths: dict[int, float] = {}  # process → age at which it is killed
        self._seen: dict[int, float] = {}  # worker → age when it was seen last
        self._next = {name: time.monotonic() + 2 for name in ("supervisor", "server")}

    def step(self) -> None:
        if self.visitor is None or self.visitor.poll() is not None:
            with open(self.folder / "server.log", "ab") as log:
                self.visitor = subprocess.Popen(
                    [
                        sys.executable,
                        str(HERE / "visitor.py"),
                        str(self.workspace.root),
                        str(self.file),
                        str(self.runs),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment(self.folder),
                    cwd=ROOT,
                )
        workers = self._workers()
        self._look_for_doubles(workers)
        for run in self.workspace.runs():
            run.info()  # whole at every moment, or this raises
        if not self.calm:
            self._learn_life(workers)
            self._kill_workers(workers)
            self._kill_others()

    def _workers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                if line[1:4] == ["-m", "mace_app", "work"] and line[4].startswith(str(self.workspace.root)):
                    found.append((process, process.ppid()))
            except (psutil.Error, IndexError):
                continue
        # What a worker has just forked shows its command line until it executes its own program.
        numbers = {process.pid for process, _ in found}
        return [process for process, parent in found if parent not in numbers]

    def _look_for_doubles(self, workers: list[psutil.Process]) -> None:
        """Two workers of one run: the second is refused by a lock, but it should not be started at all."""
        names = Counter()
        for process in workers:
            try:
                names[process.cmdline()[4]] += 1
            except (psutil.Error, IndexError):
                continue
        for name, number in names.items():
            if number > 1:
                self.doubled.setdefault(name, time.time())

    def _learn_life(self, workers: list[psutil.Process]) -> None:
        """From the workers that ended by themselves: a machine may be less busy now than at the beginning."""
        for pid in self._seen.keys() - {process.pid for process in workers}:
            self.life = (self.life + self._seen.pop(pid)) / 2
        self._seen |= {process.pid: time.time() - process.create_time() for process in workers}

    def _kill_workers(self, workers: list[psutil.Process]) -> None:
        for process in workers:
            if process.pid not in self._deaths:
                spared = self.dice.random() < SPARED
                self._deaths[process.pid] = float("inf") if spared else self.dice.uniform(0, self.life)
            age = time.time() - process.create_time()
            if age >= self._deaths[process.pid]:
                try:
                    run = RunFolder(process.cmdline()[4])
                    progress = run.progress()
                    phase = "imports" if progress is None else progress.phase
                    os.kill(process.pid, signal.SIGKILL)
                except (psutil.Error, ProcessLookupError, IndexError):
                    continue
                self._seen.pop(process.pid, None)
                self.phases[phase] += 1
                self.kills["worker"] += 1

    def _kill_others(self) -> None:
        now = time.monotonic()
        if now >= self._next["supervisor"]:
            self._next["supervisor"] = now + self.dice.uniform(0.2, 3) * self.slowness
            supervisor = self.workspace.supervisor()
            if supervisor is not None:
                os.kill(supervisor.pid, signal.SIGKILL)
                self.kills["supervisor"] += 1
        if now >= self._next["server"] and self.visitor is not None:
            self._next["server"] = now + self.dice.uniform(0.2, 3) * self.slowness
            self.visitor.kill()
            self.visitor.wait()
            self.kills["server"] += 1

    def over(self) -> bool:
        states = [run.info().state for run in self.workspace.runs()]
        assert not {"failed", "stopped"} & set(states), [run.info().reason for run in self.workspace.runs()]
        return states == ["finished"] * self.runs and not self.workspace.queue.active()

    def end(self) -> None:
        if self.visitor is not None:
            self.visitor.kill()
            self.visitor.wait()

    def left_behind(self) -> list[str]:
        """Processes that still carry this storm's folder, after the supervisor was asked to end. A supervisor that a
        visitor called in its last moment may come to the lock only now, and is asked too."""
        deadline = time.monotonic() + 60 * self.slowness
        while True:
            assert self.workspace.end_supervisor(), "the supervisor does not end"
            found = self._mine()
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.5)

    def _mine(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if str(self.folder) + os.sep in line and process.pid != os.getpid():
                    found.append(f"{process.pid} ({process.status()}): {line}")
            except psutil.Error:
                continue
        return found


def differences(expected: RunFolder, found: RunFolder) -> list[str]:
    """In what a run that was killed again and again differs from one that was left alone; times aside."""
    told = []
    for kind in ("last", "best"):
        one, two = (load_file(run.checkpoint_path(kind)) for run in (expected, found))
        if one.keys() != two.keys():
            told.append(f"{kind}: other tensors")
        told += [
            f"{kind}: {name} has other bits"
            for name in one.keys() & two.keys()
            if one[name].tobytes() != two[name].tobytes()
        ]
    told += other_metrics(expected, found)
    if expected.info().best_epoch != found.info().best_epoch:
        told.append("another best epoch")
    if (expected.report() or {}).get("splits") != (found.report() or {}).get("splits"):
        told.append("another report")
    files = [
        sorted(
            str(path.relative_to(run.path))
            for path in run.path.rglob("*")
            if path.is_file() and "data" not in path.parts
        )
        for run in (expected, found)
    ]
    told += [f"{name} is missing or too much" for name in (set(files[0]) ^ set(files[1])) - MAY_DIFFER]
    return told


def other_metrics(expected: RunFolder, found: RunFolder) -> list[str]:
    ours, theirs = expected.metrics().epochs, found.metrics().epochs
    told = []
    if [record["epoch"] for record in ours] != [record["epoch"] for record in theirs]:
        told.append(f"epochs {[record['epoch'] for record in theirs]}")
    for one, two in zip(ours, theirs, strict=False):
        told += [f"epoch {one['epoch']}: {key}" for key in one if key not in TIMES and one[key] != two.get(key)]
    if found.metrics_file.read_text().count('{"header"') != 1:
        told.append("more than one header in metrics.jsonl")
    return told


def weather(
    folder: Path, *, kills: int, seconds: float, runs: int, workspaces: int, epochs: int, seed: int, patience: float
) -> list[Storm]:
    """Storms in so many workspaces at once until there were ``kills`` (or ``seconds`` are over), then calm until every
    run is finished, which may take ``patience`` seconds. The ends are checked; AssertionError tells what is wrong."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    file = write_options(folder, epochs)
    expected, life = undisturbed(folder, file, runs)
    settings = (WorkspaceSettings("always"), WorkspaceSettings("never"))
    storms = [
        Storm(folder / f"storm-{number}", file, runs, life, seed + number, settings[number % 2])
        for number in range(workspaces)
    ]
    begun = time.monotonic()
    try:
        _blow(storms, kills, begun + seconds, patience)
        print(counted(storms, time.monotonic() - begun), flush=True)
    finally:
        for storm in storms:
            storm.end()
    for storm in storms:
        Supervisor(storm.workspace, devices={"cpu": {}})._sweep()  # as the next one does first of all
        names = sorted(run.info().name for run in storm.workspace.runs())
        assert names == sorted(expected), names
        for run in storm.workspace.runs():
            told = differences(expected[run.info().name], run)
            assert not told, f"{run.path}: {told}"
        assert not storm.doubled, f"two workers at once: {storm.doubled}"
    for storm in storms:
        assert not (left := storm.left_behind()), left
    return storms


def counted(storms: list[Storm], seconds: float) -> str:
    kills: Counter[str] = sum((storm.kills for storm in storms), Counter())
    phases: Counter[str] = sum((storm.phases for storm in storms), Counter())
    return f"{kills.total()} kills in {seconds:.0f} s: {dict(kills)}; workers killed in {dict(phases)}"


def _blow(storms: list[Storm], kills: int, until: float, patience: float) -> None:
    deadline = None
    while True:
        for storm in storms:
            storm.step()
        if all(storm.over() for storm in storms):
            return
        done = sum(sum(storm.kills.values()) for storm in storms)
        if deadline is None and (done >= kills or time.monotonic() > until):
            deadline = time.monotonic() + patience
            for storm in storms:
                storm.calm = True
        states = {run.path.name: run.info().state for storm in storms for run in storm.workspace.runs()}
        assert deadline is None or time.monotonic() < deadline, f"not over after {patience:.0f} s of calm: {states}"
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder for everything")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop killing after so long")
    parser.add_argument("--runs", type=int, default=8, help="in each workspace")
    parser.add_argument("--workspaces", type=int, default=2, help="at once")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--patience", type=float, default=1200.0, help="seconds of calm until all is finished")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    storms = weather(**vars(arguments))
    print(f"{sum(storm.runs for storm in storms)} runs finished with the bits of undisturbed ones; nothing left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
