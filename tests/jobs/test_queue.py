import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from mace_app.jobs import JobQueue, QueueError
from mace_app.jobs.devices import detect_devices, fitting_devices, parse_nvidia_list, worker_environment

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
        "  MIG 1g.5gb Device 0: (UUID: MIG-a1)\n"
        "  MIG 1g.5gb Device 1: (UUID: MIG-a2)\n"
        "GPU 1: NVIDIA A100 (UUID: GPU-bb)\n"
    )
    assert parse_nvidia_list(listing) == ["MIG-a1", "MIG-a2", "GPU-bb"]
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{listing.splitlines()[3]}'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert detect_devices()["cuda:0"]["CUDA_VISIBLE_DEVICES"] == "GPU-bb"
    program.write_text("#!/bin/sh\nexit 9\n")
    assert list(detect_devices()) == ["cpu"]


def test_a_run_that_counts_devices_itself_sees_them_all() -> None:
    devices = {"cpu": {}, "cuda:0": {"CUDA_VISIBLE_DEVICES": "a"}, "cuda:1": {"CUDA_VISIBLE_DEVICES": "b"}}
    assert worker_environment("auto", "cuda:1", devices) == {"CUDA_VISIBLE_DEVICES": "b"}
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment("cuda:1", "cuda:1", devices)
    assert worker_environment("auto", "cpu", devices) == {}


def test_a_named_device_that_was_not_found_is_left_to_torch_to_judge() -> None:
    assert fitting_devices("cuda", CPU) == ["cuda:0"]
    assert fitting_devices("auto", CPU) == ["cpu"]
    assert fitting_devices(None, TWO_CARDS) == ["cuda:0", "cuda:1"]
