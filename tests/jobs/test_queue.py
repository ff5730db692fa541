import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from mace_app.jobs import JobQueue, QueueError
from mace_app.jobs.devices import (
    ALL_CUDA,
    cuda_titles,
    detect_devices,
    fitting_devices,
    remembered_devices,
    without_restriction,
    worker_environment,
)
from mace_app.jobs.queue import Move

CPU = ["cpu"]
TWO_CARDS = ["cpu", "cuda:0", "cuda:1"]


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(tmp_path / "queue.sqlite")


def claimed(queue: JobQueue, devices: list[str]) -> list[tuple[str, str | None]]:
    jobs = []
    while (job := queue.claim(devices, light_limit=2)) is not None:
        jobs.append((job.folder, job.device))
    return jobs


def test_one_training_a_device_in_the_order_they_came(queue: JobQueue) -> None:
    for name in "abc":
        queue.enqueue("train", name)
    assert claimed(queue, CPU) == [("a", "cpu")]
    assert (queue.place("b"), queue.place("c"), queue.place("a")) == (1, 2, None)
    queue.finish(queue.active()[0].id)
    assert claimed(queue, CPU) == [("b", "cpu")]


def test_a_training_that_waits_for_its_device_does_not_hold_up_others(queue: JobQueue) -> None:
    for name, device in (("a", "cuda:1"), ("b", "cuda:1"), ("c", "auto"), ("d", "cpu"), ("e", None), ("f", "cuda")):
        queue.enqueue("train", name, device)
    assert claimed(queue, TWO_CARDS) == [("a", "cuda:1"), ("c", "cuda:0"), ("d", "cpu")]


def test_light_jobs_go_past_trainings_but_at_most_two_of_a_kind_together(queue: JobQueue) -> None:
    queue.enqueue("train", "a")
    queue.enqueue("train", "b")
    for name in "xyz":
        queue.enqueue("inspect", name)
    for name in "uvw":
        queue.enqueue("foundation", name)
    assert claimed(queue, CPU) == [("a", "cpu"), ("x", None), ("y", None), ("u", None), ("v", None)]
    assert queue.place("w") is None, "what does not wait for a device has no place among the trainings"


def test_a_folder_has_one_job_at_a_time(queue: JobQueue) -> None:
    queue.enqueue("train", "a")
    with pytest.raises(QueueError, match="already waiting or at work"):
        queue.enqueue("train", "a")
    assert queue.cancel("a")
    assert not queue.cancel("a")
    queue.enqueue("train", "a")
    assert claimed(queue, CPU) == [("a", "cpu")]
    assert not queue.cancel("a"), "a job at work is not cancelled in the queue"


def test_a_job_given_back_keeps_its_place(queue: JobQueue) -> None:
    queue.enqueue("train", "a")
    queue.enqueue("train", "b")
    job = queue.claim(CPU, 2)
    assert job is not None
    queue.give_back(job.id)
    assert claimed(queue, CPU) == [("a", "cpu")]


def _claim_all(path: Path, results: "multiprocessing.Queue[list[str]]") -> None:
    queue = JobQueue(path)
    results.put([folder for folder, _ in claimed(queue, [f"cuda:{index}" for index in range(100)])])


def test_a_training_on_all_gpus_has_them_alone_and_is_not_overtaken_for_ever(queue: JobQueue) -> None:
    for name, device in (("a", None), ("all", ALL_CUDA), ("b", None), ("c", "cpu")):
        queue.enqueue("train", name, device)
    assert claimed(queue, TWO_CARDS) == [("a", "cuda:0"), ("c", "cpu")]
    queue.finish(queue.active_job("a").id)
    assert claimed(queue, TWO_CARDS) == [("all", ALL_CUDA)]
    queue.finish(queue.active_job("all").id)
    assert claimed(queue, TWO_CARDS) == [("b", "cuda:0")]
    assert fitting_devices(ALL_CUDA, CPU) == ["cpu"]
    given = {"cuda:0": {"CUDA_VISIBLE_DEVICES": "x"}}
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(ALL_CUDA, ALL_CUDA, given)


def test_no_job_is_claimed_twice_by_many_processes(queue: JobQueue) -> None:
    for number in range(30):
        queue.enqueue("train", str(number))
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[str]] = context.Queue()
    processes = [context.Process(target=_claim_all, args=(queue.path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    taken = [folder for _ in processes for folder in results.get(timeout=60)]
    for process in processes:
        process.join()
    results.close()
    assert sorted(taken, key=int) == [str(number) for number in range(30)]


def test_a_queue_of_another_version_is_refused_with_a_sentence(queue: JobQueue) -> None:
    connection = sqlite3.connect(queue.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(QueueError, match="format 99"):
        JobQueue(queue.path)


def waiting(queue: JobQueue) -> list[str]:
    return [job.folder for job in queue.active() if job.state == "queued"]


@pytest.mark.parametrize(
    ("moved", "where", "order"),
    [
        ("b", "up", "bacd"),
        ("a", "up", "abcd"),
        ("b", "down", "acbd"),
        ("d", "down", "abcd"),
        ("c", "first", "cabd"),
        ("a", "last", "bcda"),
    ],
)
def test_a_waiting_training_is_moved_among_the_others(queue: JobQueue, moved: str, where: Move, order: str) -> None:
    for name in "abcd":
        queue.enqueue("train", name)
    queue.enqueue("inspect", "light")
    assert queue.move(moved, where)
    assert waiting(queue) == [*order, "light"]
    assert [name for name in order if queue.place(name) == 1] == [order[0]]
    assert not queue.move("absent", "first")
    assert not queue.move("light", "first"), "light jobs don't stand in line"


def test_what_is_at_work_can_not_be_moved_held_or_sent_elsewhere(queue: JobQueue) -> None:
    queue.enqueue("train", "a")
    assert claimed(queue, CPU) == [("a", "cpu")]
    assert not queue.move("a", "first")
    assert not queue.hold("a", True)
    assert not queue.request_device("a", "cuda:1")


def test_a_held_training_is_passed_over_and_a_paused_queue_starts_light_jobs_only(queue: JobQueue) -> None:
    for name in "abc":
        queue.enqueue("train", name)
    assert queue.hold("a", True)
    queue.set_paused(True)
    queue.enqueue("inspect", "x")
    assert claimed(queue, CPU) == [("x", None)]
    queue.set_paused(False)
    assert claimed(queue, CPU) == [("b", "cpu")]
    assert [job.held for job in queue.active() if job.folder == "a"] == [True]
    assert queue.hold("a", False)
    queue.finish(next(job.id for job in queue.active() if job.folder == "b"))
    assert claimed(queue, CPU) == [("a", "cpu")]


def test_a_waiting_training_can_be_sent_to_another_device(queue: JobQueue) -> None:
    queue.enqueue("train", "a", "cuda:0")
    queue.enqueue("train", "b", "cuda:0")
    assert queue.request_device("b", "cuda:1")
    assert claimed(queue, TWO_CARDS) == [("a", "cuda:0"), ("b", "cuda:1")]


def test_what_goes_with_a_change_of_the_queue_happens_with_it_or_not_at_all(queue: JobQueue) -> None:
    def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        queue.enqueue("train", "a", then=fail)
    assert queue.active() == []
    queue.enqueue("train", "a")
    with pytest.raises(OSError, match="no space"):
        queue.cancel("a", then=fail)
    assert waiting(queue) == ["a"]


def test_a_job_that_ran_waits_again_before_all_others(queue: JobQueue) -> None:
    for name in "abc":
        queue.enqueue("train", name)
    job = queue.claim(CPU, 2)
    assert job is not None
    assert queue.again(job.id)
    assert waiting(queue) == ["a", "b", "c"]
    queue.move("c", "first")
    assert claimed(queue, CPU) == [("c", "cpu")]
    job = next(job for job in queue.active() if job.folder == "c")
    assert queue.again(job.id)
    assert not queue.again(job.id), "it does not run any more"
    assert waiting(queue) == ["c", "a", "b"]


VERSION_1 = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    folder TEXT NOT NULL,
    requested_device TEXT,
    device TEXT,
    state TEXT NOT NULL,
    position INTEGER NOT NULL,
    pid INTEGER,
    pid_started REAL,
    created REAL NOT NULL
);
CREATE UNIQUE INDEX one_active_job_per_folder ON jobs (folder) WHERE state != 'ended';
PRAGMA user_version = 1;
INSERT INTO jobs VALUES (1, 'train', 'runs/old', NULL, 'cpu', 'ended', 1, 10, 1000.5, 1.0);
INSERT INTO jobs VALUES (2, 'train', 'runs/now', 'cpu', 'cpu', 'running', 2, 11, 2000.5, 2.0);
INSERT INTO jobs VALUES (3, 'train', 'runs/next', 'cuda:1', NULL, 'queued', 3, NULL, NULL, 3.0);
"""


def test_a_queue_of_the_first_version_opens_with_all_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()
    for _ in range(2):  # and it stays what it became
        queue = JobQueue(path)
        running, next_one = queue.active()
        assert (running.folder, running.state, running.device, running.pid) == ("runs/now", "running", "cpu", 11)
        assert running.process is not None and running.process.started == 2000.5
        assert (next_one.folder, next_one.requested_device, next_one.held) == ("runs/next", "cuda:1", False)
    queue.finish(running.id)
    assert queue.hold("runs/next", True)
    assert claimed(queue, TWO_CARDS) == []


def test_ended_jobs_do_not_pile_up(queue: JobQueue) -> None:
    for number in range(230):
        queue.finish(queue.enqueue("train", str(number)))
    connection = sqlite3.connect(queue.path)
    assert connection.execute("SELECT COUNT(*) FROM jobs").fetchone()[0] == 200
    connection.close()


def test_a_worker_that_starts_a_supervisor_does_not_hand_its_own_devices_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for outer in ("0,1", "", None):
        if outer is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
        worker = {"CUDA_VISIBLE_DEVICES": "GPU-aa", "HOME": "/", **remembered_devices()}
        expected = {"HOME": "/"} if outer is None else {"HOME": "/", "CUDA_VISIBLE_DEVICES": outer}
        assert without_restriction(worker) == expected


def test_devices_come_from_the_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,-1,4")
    devices = detect_devices()
    assert list(devices) == ["cpu", "cuda:0", "cuda:1"]
    assert devices["cuda:1"]["CUDA_VISIBLE_DEVICES"] == "3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list(detect_devices()) == ["cpu"]


def test_devices_come_from_nvidia_smi_and_cards_in_parts_count_by_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listing = (
        "GPU 0: NVIDIA A100 (UUID: GPU-aa)\n"
        "  MIG 1g.5gb     Device  0: (UUID: MIG-a1)\n"
        "  MIG 1g.5gb Device 1: (UUID: MIG-a2)\n"
        "GPU 1: NVIDIA H100 PCIe (UUID: GPU-bb)\n"
    )
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = [variables.get("CUDA_VISIBLE_DEVICES") for variables in detect_devices().values()]
    assert found == [None, "MIG-a1", "MIG-a2", "GPU-bb"]
    part = "NVIDIA A100 MIG 1g.5gb"
    assert cuda_titles() == {"cuda:0": part, "cuda:1": part, "cuda:2": "NVIDIA H100 PCIe"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,MIG-a2,7,GPU-z")
    assert list(cuda_titles().values()) == ["NVIDIA H100 PCIe", part, "", ""]
    assert cuda_titles().keys() == detect_devices().keys() - {"cpu"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program.write_text("#!/bin/sh\nexit 9\n")
    assert list(detect_devices()) == ["cpu"] and cuda_titles() == {}


def test_a_run_that_counts_devices_itself_sees_them_all() -> None:
    devices = {"cpu": {}, "cuda:0": {"CUDA_VISIBLE_DEVICES": "a"}, "cuda:1": {"CUDA_VISIBLE_DEVICES": "b"}}
    assert worker_environment("auto", "cuda:1", devices) == {"CUDA_VISIBLE_DEVICES": "b"}
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment("cuda:1", "cuda:1", devices)
    assert worker_environment("auto", "cpu", devices) == {}


def test_a_named_device_that_was_not_found_is_left_to_torch_to_judge() -> None:
    assert fitting_devices("cuda", CPU) == ["cuda:0"]
    assert fitting_devices("auto", CPU) == ["cpu"]
    assert fitting_devices(None, TWO_CARDS) == ["cuda:0", "cuda:1"]
