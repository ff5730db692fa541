"""Large files: several processes, unfinished preparations and memory change nothing in what comes out."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_data_reading import BROKEN
from water_files import options, water, waters

from mace_app.data import DataError, PreparedData, blocks, crew, part, prepare
from mace_app.data.errors import at
from mace_app.data.journal import Journal
from mace_app.data.reading import read_frames
from mace_app.options import RunOptions

Write = Callable[..., Path]
ATOM = '1\nProperties=species:S:1:pos:R:3 energy={energy} config_type=IsolatedAtom pbc="F F F"\n{symbol} 0 0 0\n'


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2000)


def mixed(count: int) -> list[str]:
    """Groups, isolated atoms, labels and weights that some lack, empty lines."""
    frames = []
    for number, frame in enumerate(waters(count)):
        if number % 5 == 0:
            frame = water(-2000.0 - number, 0.001 * number, comment=f"config_type=group{number % 3} config_weight=0.5")
        elif number % 7 == 0:
            frame = water(None, 0.002 * number, forces=False)
        frames.append(frame + ("\n" if number % 11 == 0 else ""))
    frames.insert(1, ATOM.format(energy=-13.6, symbol="H"))
    frames.insert(count // 2, ATOM.format(energy=-2040.0, symbol="O"))
    return frames


def two_sets(write: Write) -> RunOptions:
    chosen = [*range(0, 60, 2), 61]
    sets = [
        {"systems": str(write(mixed(120), "first.xyz")), "targets": {"energy": {}}},
        {"systems": str(write(mixed(80), "second.xyz")), "targets": {"energy": {}}, "indices": chosen},
    ]
    return options(sets, validation_set=0.1, test_set=0.1)


def with_cutoff(chosen: RunOptions, cutoff: float) -> RunOptions:
    model = chosen.architecture.model.model_copy(update={"r_max": cutoff})
    return chosen.model_copy(update={"architecture": chosen.architecture.model_copy(update={"model": model})})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_several_processes_write_the_same_bytes_as_one(write: Write, tmp_path: Path) -> None:
    chosen = two_sets(write)
    assert len(list(blocks.blocks(tmp_path / "first.xyz"))) > 5
    prepare(chosen, tmp_path / "one", processes=1)
    prepare(chosen, tmp_path / "two", processes=2)
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert list(one) == list(two) and "prepared.json" in one
    assert [name for name in one if one[name] != two[name]] == []


def test_the_cut_of_the_blocks_changes_nothing(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = two_sets(write)
    prepare(chosen, tmp_path / "small", processes=1)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 20)
    prepare(chosen, tmp_path / "large", processes=1)
    assert content(tmp_path / "small") == content(tmp_path / "large")


def test_compressed_files_are_cut_too(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "data.xyz.gz"
    path.write_bytes(gzip.compress("".join(mixed(100)).encode()))
    seen: list[int] = []
    prepare(options(path), tmp_path / "two", lambda done, *_: seen.append(done), processes=2)
    assert seen[-1] == path.stat().st_size and len(seen) > 5
    prepare(options(write(mixed(100), "data.xyz")), tmp_path / "plain", processes=1)
    packed = content(tmp_path / "two")
    assert all(packed[name] == data for name, data in content(tmp_path / "plain").items() if name.endswith(".npy"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        prepare(options(path), tmp_path / "cut", processes=1)


@pytest.mark.parametrize("case", BROKEN)
def test_a_fault_is_told_the_same_whether_a_file_is_cut_or_not(case: str, write: Write, tmp_path: Path) -> None:
    good = 0 if case == "only empty lines" else 30
    path = write("".join(waters(good)) + BROKEN[case][0])
    with pytest.raises(DataError) as whole:
        list(read_frames(path))
    with pytest.raises(DataError) as cut:
        prepare(options(path), tmp_path / "cut", processes=1)
    assert str(cut.value) == str(whole.value)


@pytest.mark.parametrize("fault", ["0.9x3", "0.93 1", "1e99"])
def test_several_processes_name_the_first_of_many_faults(fault: str, write: Write, tmp_path: Path) -> None:
    frames = waters(200)
    for number in (63, 64, 120, 199):
        frames[number] = frames[number].replace("0.93", fault)
    path = write("".join(frames) + "nonsense\n")
    told = []
    for processes in (1, 2):
        with pytest.raises(DataError) as caught:
            prepare(options(path), tmp_path / str(processes), processes=processes)
        told.append(str(caught.value))
    assert told[0] == told[1] and at(path, 63) in told[0]
    assert not psutil.Process().children()


def test_a_huge_number_of_atoms_does_not_fill_the_memory(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "HUGE_FRAME", 1000)
    path = write(water().replace("3\n", "99999999\n", 1) + "".join(waters(400)))
    (block,) = blocks.blocks(path)
    assert len(block.data) < 3000
    with pytest.raises(DataError, match=r"frame 0 .*line 6"):
        list(block.read())


def test_small_files_start_no_process(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(waters(20))
    assert crew.processes_for([path]) == 1
    monkeypatch.setattr(crew, "WORTH_STARTING", 1)
    assert crew.processes_for([path]) == min(len(os.sched_getaffinity(0)), crew.MOST_PROCESSES)


def test_a_process_that_ends_unexpectedly_is_told(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        for process in psutil.Process().children():
            process.kill()

    with pytest.raises(DataError, match=r"ended unexpectedly \(status -9\)"):
        prepare(options(write(waters(500))), tmp_path / "p", kill, processes=2)


KILLED = """
import json, os, signal, sys, time
from pathlib import Path
import psutil
from mace_app.data import blocks, journal, prepare
from mace_app.options import parse_options

blocks.BLOCK_BYTES, journal.EVERY_SECONDS = 2000, 0.0
folder, processes, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
seen = 0

def progress(done, total, message):
    global seen
    seen += message.startswith("Reading")
    if seen == steps:
        folder.joinpath("children").write_text(json.dumps([child.pid for child in psutil.Process().children()]))
        os.kill(os.getpid(), signal.SIGKILL)

prepare(parse_options(json.loads(sys.stdin.read())), folder, progress, processes=processes)
"""


@pytest.mark.parametrize(("processes", "steps"), [(2, 9), (1, 3), (1, 16)])
def test_a_killed_preparation_goes_on_where_it_was_and_leaves_no_process(
    processes: int, steps: int, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = two_sets(write)
    folder = tmp_path / "killed"
    given = json.dumps(chosen.model_dump(mode="json", exclude_unset=True))
    command = [sys.executable, "-c", KILLED, str(folder), str(processes), str(steps)]
    ended = subprocess.run(command, input=given.encode(), capture_output=True)
    assert ended.returncode == -9, ended.stderr.decode()
    children = json.loads((folder / "children").read_text())
    assert len(children) == (processes if processes > 1 else 0)
    (folder / "children").unlink()
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in children):
        assert time.monotonic() < deadline, "the processes outlive who started them"
        time.sleep(0.05)

    made: list[int] = []
    maker = part.ChunkMaker.__call__
    monkeypatch.setattr(part.ChunkMaker, "__call__", lambda self, *a, **k: made.append(1) or maker(self, *a, **k))
    prepare(chosen, folder, processes=1)
    resumed, _ = len(made), made.clear()
    prepare(chosen, tmp_path / "fresh", processes=1)
    assert resumed <= len(made) - steps + 2, "what was packed is not made again"
    assert content(folder) == content(tmp_path / "fresh")


def test_notes_that_do_not_fit_are_left_aside(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, folder = with_cutoff(two_sets(write), 1.2), tmp_path / "p"
    monkeypatch.setattr("mace_app.data.packing._FLUSH_BYTES", 0)

    def stop(done: int, total: int, message: str) -> None:
        if message.startswith("Reading") and done > 0.4 * total:
            raise KeyboardInterrupt

    def stopped() -> Path:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("mace_app.data.journal.EVERY_SECONDS", 0.0)
            prepare(chosen, folder, stop, processes=1)
        return folder / "unfinished_training.json"

    def other_begun() -> None:
        """Another preparation, stopped before its first note, has written into the files."""
        with pytest.raises(KeyboardInterrupt):
            prepare(with_cutoff(chosen, 3.0), folder, stop, processes=1)

    prepare(chosen, tmp_path / "fresh", processes=1)
    expected = content(tmp_path / "fresh")
    for damage in (
        lambda note: (folder / "training_senders.npy").unlink(),
        lambda note: (folder / "training_cells.npy").write_bytes(b"nothing"),
        lambda note: note.write_text("{"),
        lambda note: note.write_text(note.read_text().replace('"coverage"', '"cover"')),
        lambda note: note.write_text(note.read_text().replace('"present"', '"absent"')),
        lambda note: other_begun(),
        lambda note: None,
    ):
        damage(stopped())
        prepare(chosen, folder, processes=1)
        assert content(folder) == expected
        (folder / "prepared.json").unlink()
    stopped()
    other = chosen.model_copy(update={"seed": 5})
    assert Journal(folder, "training", "another").read() is None
    assert isinstance(prepare(other, folder, processes=1), PreparedData)
    assert not list(folder.glob("unfinished_*"))


MEASURED = """
import json, sys
from pathlib import Path
from mace_app.data import blocks, inspect_files, prepare
from mace_app.options import parse_options

most = 0

def private(*_):
    global most
    lines = Path("/proc/self/status").read_text().splitlines()
    most = max(most, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))

options = parse_options(json.loads(sys.stdin.read()))
if sys.argv[1] == "prepare":
    prepare(options, Path(sys.argv[2]), private, processes=1)
else:
    inspect_files([options.training_datasets[0].systems.read_from], private)
private()
print(most / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("what", ["prepare", "inspect"])
def test_memory_hardly_grows_with_the_number_of_structures(what: str, write: Write, tmp_path: Path) -> None:
    used = []
    for count in (2000, 8000):
        path = write("".join(waters(500)) * (count // 500), f"{count}.xyz")
        given = json.dumps(options(path, validation_set=0.1).model_dump(mode="json", exclude_unset=True))
        command = [sys.executable, "-c", MEASURED, what, str(tmp_path / f"{count}")]
        used.append(float(subprocess.run(command, input=given.encode(), capture_output=True, check=True).stdout))
    assert used[1] - used[0] < 6.0, f"MiB for 2000 and 8000 structures: {used}"
