"""`distributed: true`: one command trains in several processes, and all of them end together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from small_data import options, write_options, write_waters

from mace_app.__main__ import main
from mace_app.jobs import RunFolder
from mace_app.options import parse_options
from mace_app.tasks.launching import Place, first_node, local_processes, place_of

REPOSITORY = Path(__file__).resolve().parents[2]
FAST = {"final_eval": False}


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "MACE_APP_PROCESSES": "2", "PYTHONPATH": str(REPOSITORY), **more}


@pytest.fixture
def train():
    """``train(options, folder, *more, **variables)`` starts the command; nothing of it is left after the test."""
    started = []

    def train_(file: Path, folder: Path, *more: str, **variables: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "mace_app", "train", str(file), "-o", str(folder), "--threads", "1", *more]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment(**variables), **pipes))
        return started[-1]

    yield train_
    for process in started:
        process.kill()  # its members end with it
        process.wait()
        for pipe in (process.stdout, process.stderr):
            pipe.close()


@pytest.fixture
def long(tmp_path):
    """Options of a run that nobody will wait for."""
    data = write_waters(tmp_path / "data.xyz", 24)
    value = options(data, num_epochs=50_000, batch_size=4, distributed=True) | FAST
    return write_options(tmp_path / "long.yaml", value)


def wait_for_epoch(folder: Path, process: subprocess.Popen, epoch: int = 2) -> list[psutil.Process]:
    """The processes at work then, without the one that was started."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        if (folder / "progress.json").exists():
            now = RunFolder(folder).progress()
            if now is not None and (now.epoch or 0) >= epoch:
                return psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.05)
    pytest.fail("the epoch was not reached in time")


def all_gone(processes: list[psutil.Process], seconds: float) -> bool:
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def test_one_command_trains_in_two_processes_as_in_one(tmp_path, capsys, train):
    data = write_waters(tmp_path / "data.xyz", 20)
    value = options(data, num_epochs=3, batch_size=5) | FAST
    alone, pair = tmp_path / "alone", tmp_path / "pair"
    assert main(["train", str(write_options(tmp_path / "one.yaml", value)), "-o", str(alone), "--threads", "1"]) == 0
    value["architecture"]["training"]["distributed"] = True
    process = train(write_options(tmp_path / "two.yaml", value), pair)
    _, told = process.communicate(timeout=150)
    assert process.returncode == 0, told
    assert told.count("Finished.") == 1 and told.count("Epoch 3/3") == 1
    assert RunFolder(pair).info().state == "finished" and (pair / "model.pt").exists()
    assert "The training has 2 processes." in (pair / "log.txt").read_text()
    ours, theirs = (RunFolder(folder).metrics().epochs for folder in (alone, pair))
    assert [record["epoch"] for record in theirs] == [0, 1, 2, 3]
    for one, two in zip(ours, theirs, strict=True):
        assert one.keys() == two.keys()
        for key in one.keys() - {"seconds", "structures_per_second"}:
            if isinstance(one[key], float):
                np.testing.assert_allclose(two[key], one[key], rtol=1e-9, err_msg=key)
            else:
                assert one[key] == two[key]
    assert sorted(path.name for path in alone.iterdir()) == sorted(path.name for path in pair.iterdir())


def test_a_stop_is_heeded_by_all_and_a_killed_launcher_takes_them_along(tmp_path, long, train):
    folder = tmp_path / "run"
    process = train(long, folder)
    members = wait_for_epoch(folder, process)
    assert len(members) >= 3  # torchrun and two
    assert RunFolder(folder).info().pid == process.pid
    process.kill()
    process.wait()
    assert all_gone(members, 15)
    # The launcher had no time to say anything; a process that noticed may have.
    assert RunFolder(folder).info().state in ("running", "interrupted")

    (folder / "progress.json").unlink()
    again = train(long, folder, "--resume")
    members = wait_for_epoch(folder, again, 3)
    again.send_signal(signal.SIGTERM)
    _, told = again.communicate(timeout=100)
    assert again.returncode == 0, told
    assert "Resumed after epoch" in told and told.count("Stopped:") == 1
    info = RunFolder(folder).info()
    assert info.state == "stopped" and (folder / "model.pt").exists()
    assert all_gone(members, 5)


def test_when_one_process_is_killed_the_run_says_so_and_can_go_on(tmp_path, long, train):
    folder = tmp_path / "run"
    process = train(long, folder)
    members = [member for member in wait_for_epoch(folder, process) if "work" in member.cmdline()]
    second = next(member for member in members if member.environ().get("RANK") == "1")
    second.kill()
    process.communicate(timeout=100)
    assert process.returncode == 2
    info = RunFolder(folder).info()
    assert info.state == "interrupted" and info.failure["cause"] == "killed"
    assert info.reason.startswith("Another process of this training ended") and "Resume continues" in info.reason
    assert all_gone(members, 5)


def test_bad_data_are_told_once(tmp_path, train):
    data = tmp_path / "data.xyz"
    data.write_text("nonsense\n")
    file = write_options(tmp_path / "options.yaml", options(data, distributed=True))
    process = train(file, tmp_path / "run")
    _, told = process.communicate(timeout=100)
    assert process.returncode == 2
    info = RunFolder(tmp_path / "run").info()
    assert info.state == "failed" and "data.xyz" in info.reason
    assert told.count("Failed:") == 1 and "Traceback" not in told


def test_what_srun_starts_finds_together_and_makes_one_run(tmp_path, train):
    data = write_waters(tmp_path / "data.xyz", 16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    value = options(data, num_epochs=2, distributed=True, distributed_port=port) | FAST
    file = write_options(tmp_path / "options.yaml", value)
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_NODELIST": "localhost"}
    tasks = [train(file, tmp_path / "run", **step, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in (1, 0)]
    told = [task.communicate(timeout=120)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], told
    assert "Finished." in told[1] and "Finished." not in told[0]
    assert RunFolder(tmp_path / "run").metrics().epochs[-1]["epoch"] == 2


def test_places_are_read_from_torchrun_and_from_srun_but_not_from_a_batch_script(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    torchrun = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "TORCHELASTIC_RUN_ID": "y"}
    assert place_of(torchrun) == Place(1, 4, 1)
    known = {"MACE_APP_LAUNCHER": json.dumps({"pid": 7, "pid_started": 1.0, "command": ["a"]})}
    assert place_of(torchrun | known).command == ["a"]
    assert place_of({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None
    srun = {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_NODELIST": "gpu[07-09,12]",
    }
    assert place_of(srun, 4321) == Place(3, 4, 1)
    assert os.environ["MASTER_ADDR"] == "gpu07" and os.environ["MASTER_PORT"] == "4321"
    assert [first_node(nodes) for nodes in ("a,b", "n[1,3]-ib", "n-[010-012],m")] == ["a", "n1-ib", "n-010"]


def test_the_number_of_processes_is_asked_for_or_that_of_the_gpus(monkeypatch):
    def count(device="cpu", **variables):
        value = options(Path("a.xyz"), distributed=True) | {"device": device}
        return local_processes(parse_options(value), variables)

    assert count() == 1 and count(MACE_APP_PROCESSES="3") == 3
    monkeypatch.setattr("mace_app.tasks.launching.detect_devices", lambda: {"cpu": {}, "cuda:0": {}, "cuda:1": {}})
    assert count("auto") == 2 and count("cuda") == 2 and count() == 1
    assert local_processes(parse_options(options(Path("a.xyz"))), {"MACE_APP_PROCESSES": "3"}) == 1
