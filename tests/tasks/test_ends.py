"""How a real training ends that can't go on: its state, one sentence, what may help, and nothing complete is lost."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_data import frame, options, waters, write_options, write_waters

from mace_app.data import DataError
from mace_app.jobs import Failure, RunFolder, RunFolderError, Suggestion, run_record
from mace_app.jobs.errors import DiskFull
from mace_app.options import dump_options, parse_options
from mace_app.tasks import recorder as recorders
from mace_app.tasks.failures import device_lost, end_of
from mace_app.tasks.train import train_run
from mace_app.training import BatchOutOfMemory, NonFiniteLoss, Trainer, load_checkpoint, passes

REPOSITORY = Path(__file__).resolve().parents[2]


class Watch:
    """A listener that does something once, when an epoch has been reached."""

    def __init__(self, epoch: int, act: Callable[[], object]) -> None:
        self.epoch, self.act = epoch, act
        self.seen: list[dict[str, Any]] = []

    def log(self, text: str) -> None:
        pass

    def progress(self, fields: Any) -> None:
        self.seen.append(dict(fields))
        if self.act is not None and (fields.get("epoch") or 0) >= self.epoch:
            act, self.act = self.act, None
            act()


def make(folder: Path, data: Path, **training: Any) -> RunFolder:
    value = options(data, num_epochs=6, batch_size=4, checkpoint_interval=1, **training) | {"final_eval": False}
    return RunFolder.create(folder, dump_options(parse_options(value)), "Water")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_waters(tmp_path / "data.xyz", 16)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, at: int) -> None:
    """The step number ``at`` of the process ends as torch ends it: with this error from the model's forward pass."""
    step, count = Trainer._step, [0]

    def fail(self: Trainer, *arguments: Any) -> None:
        count[0] += 1
        if count[0] == at:
            raise error
        step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", fail)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_names_the_batch_and_offers_half_of_it(data, tmp_path, monkeypatch, error):
    failing(monkeypatch, error, at=8)
    run = make(tmp_path / "run", data)
    assert train_run(run) == "failed"
    info = run.info()
    where = "GPU" if isinstance(error, torch.OutOfMemoryError) else "machine"
    assert (
        f"The memory of the {where} is not enough for training on a batch of 4 structures with 12 atoms" in info.reason
    )
    assert "Set `batch_size` to 2 (now 4)." in info.reason
    path = ("architecture", "training", "batch_size")
    assert Failure.from_json(info.failure) == Failure(
        "out_of_memory", Suggestion(path, 2, 4, "Set `batch_size` to 2 (now 4)")
    )
    assert run.last_epoch() == 2, "the epochs that were complete are kept"


def test_too_little_memory_in_validation_and_for_one_structure_alone(data, tmp_path, monkeypatch):
    def fail(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(passes, "convert", fail)
    run = make(tmp_path / "one", data, batch_atom_bounds=[3, 7])
    assert train_run(run) == "failed"
    assert "for predicting a batch of 2 structures with 6 atoms" in run.info().reason
    assert run.info().failure["suggestion"]["value"] == [3, 3]
    run = make(tmp_path / "two", data)
    run.write_options(run.options_text().replace("batch_size: 4", "batch_size: 1"))
    assert train_run(run) == "failed"
    assert "for predicting one structure with 3 atoms" in run.info().reason
    assert "Choose a smaller model" in run.info().reason
    assert run.info().failure == {"cause": "out_of_memory", "suggestion": None}


def test_a_real_want_of_memory_is_told_by_its_batch(data, tmp_path):
    """The address space of the process is bounded, so that torch's own allocator refuses."""
    code = (
        "import sys, resource, psutil, torch; from mace_app.jobs import RunFolder\n"
        "from mace_app.tasks.train import train_run; from mace_app.training import Trainer\n"
        "step = Trainer._step\n"
        "def greedy(self, *rest):\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (64 << 20),) * 2)\n"
        "    kept = torch.zeros(1 << 28)\n"
        "    step(self, *rest)\n"
        "Trainer._step = greedy\n"
        "train_run(RunFolder(sys.argv[1]))\n"
    )
    run = make(tmp_path / "run", data)
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, cwd=REPOSITORY)
    assert "is not enough for training on a batch of 4 structures" in run.info().reason
    assert run.info().failure["cause"] == "out_of_memory"


def test_a_gpu_that_stops_answering_interrupts_and_the_run_can_go_on(data, tmp_path, monkeypatch):
    failing(monkeypatch, RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be"), at=8)
    run = make(tmp_path / "run", data)
    assert train_run(run) == "interrupted"
    info = run.info()
    assert info.reason.startswith(
        "The GPU stopped answering (CUDA error: unspecified launch failure). Resume continues"
    )
    assert (info.state, info.failure) == ("interrupted", {"cause": "device_lost", "suggestion": None})
    assert device_lost(RuntimeError("CUDA error: device-side assert triggered"))
    assert not device_lost(RuntimeError("shapes do not match"))
    monkeypatch.undo()
    assert train_run(run) == "finished"


def test_diverging_runs_are_offered_a_lower_rate(data, tmp_path, monkeypatch):
    run = make(tmp_path / "run", data, learning_rate=1.0, grad_clip_norm=None)
    failing(monkeypatch, NonFiniteLoss(3, 2, 1.0, ["energy"]), at=8)
    assert train_run(run) == "failed"
    failure = Failure.from_json(run.info().failure)
    assert failure.cause == "diverged"
    assert (failure.suggestion.value, failure.suggestion.before) == (0.1, 1.0)


@pytest.mark.parametrize("kind", ["energy", "forces"])
def test_a_bad_label_that_shows_only_in_the_training_is_named_by_file_and_frame(tmp_path, monkeypatch, kind):
    structures = waters(16)
    texts = [frame(atoms) for atoms in structures]
    if kind == "energy":
        texts[13] = frame(structures[13], energy=-3e7)
    else:
        lines = texts[13].splitlines()
        lines[-1] = " ".join([*lines[-1].split()[:4], "0.0", "-8e9", "0.0"])
        texts[13] = "\n".join(lines) + "\n"
    path = tmp_path / "data.xyz"
    path.write_text("".join(texts))
    failing(monkeypatch, NonFiniteLoss(3, 2, 0.01, ["energy"]), at=8)
    run = make(tmp_path / "run", path)
    run.write_options(run.options_text().replace("validation_set: 0.25", "validation_set: {indices: [0, 1, 2, 3]}"))
    assert train_run(run) == "failed"
    label, value = ("energy", "-1e+07") if kind == "energy" else ("energy.forces", "-8e+09")
    assert f"Look at `{label}` of frame 13 in {path}: {value} is far from all others." in run.info().reason
    assert run.info().failure == {"cause": "bad_data", "suggestion": None}


def test_a_label_that_can_not_be_read_is_named_by_file_and_frame(tmp_path):
    path = write_waters(tmp_path / "data.xyz", 16)
    texts = path.read_text().split("energy=")
    texts[14] = "many" + texts[14][texts[14].index(" ") :]
    path.write_text("energy=".join(texts))
    run = make(tmp_path / "run", path)
    assert train_run(run) == "failed"
    assert "data.xyz" in run.info().reason and "13" in run.info().reason
    assert run.info().failure["cause"] == "bad_data"


def test_errors_that_are_nobodys_fault_say_so():
    assert end_of(DataError("x"), None, "").failure == Failure("bad_data")
    assert end_of(ValueError("x"), None, "").failure == Failure("defect")
    assert end_of(PermissionError(13, "Permission denied", "/x"), None, "").failure == Failure("other")
    assert end_of(BatchOutOfMemory(1, 3, 6, "training on", False), None, "").failure == Failure("out_of_memory")


# Disks


def untouched(run: RunFolder, epoch: int) -> None:
    """The checkpoint is whole, no earlier than it must be, and nothing half written lies about."""
    assert load_checkpoint(run.checkpoint_path("last")).header["epoch"] >= epoch
    assert [path.name for path in run.path.rglob(".*.tmp")] == []
    for line in run.metrics_file.read_text().splitlines()[:-1]:
        json.loads(line)


def test_a_disk_that_fills_up_interrupts_the_training_in_order_and_it_goes_on_later(data, small_disk, monkeypatch):
    monkeypatch.setattr(recorders, "DISK_SECONDS", 0.0)
    disk = small_disk(40)
    run = make(disk.path / "run", data)
    watch = Watch(3, lambda: disk.fill(leave=12_000_000))
    assert train_run(run, watch) == "interrupted"
    info = run.info()
    assert info.reason.startswith("The disk of the run is full; what was complete is as it was. Free space. Resume")
    assert info.failure["cause"] == "disk_full"
    header = load_checkpoint(run.checkpoint_path("last")).header
    assert (header["epoch"], header["step"] > 0) == (2, True), "the very step it had reached was saved"
    untouched(run, 2)
    disk.empty()
    assert train_run(run) == "finished"
    assert [record["epoch"] for record in run.metrics().epochs] == list(range(7))


def test_a_disk_full_to_the_last_byte_leaves_the_old_checkpoint_and_a_sentence(data, small_disk, monkeypatch):
    monkeypatch.setattr(recorders, "WORKER_NEEDS_MB", -1e9)  # it does not see it coming
    disk = small_disk(24)
    run = make(disk.path / "run", data)
    assert train_run(run, Watch(3, disk.fill)) == "interrupted"
    assert run.info().failure["cause"] == "disk_full"
    assert f"Resume continues from epoch {run.last_epoch()}." in run.info().reason
    untouched(run, 2)
    disk.empty()
    assert train_run(run) == "finished"


def test_without_room_for_the_last_word_the_worker_says_it_with_its_status(data, small_disk, monkeypatch):
    monkeypatch.setattr(recorders, "WORKER_NEEDS_MB", -1e9)
    monkeypatch.setattr(run_record, "RESERVE_BYTES", 0)
    disk = small_disk(24)
    run = make(disk.path / "run", data)
    with pytest.raises(DiskFull, match="The disk of the run is full"):
        train_run(run, Watch(3, disk.fill))
    assert run.info().state == "running", "the supervisor writes it down once there is room"
    untouched(run, 2)


# Folders


def test_a_folder_deleted_under_the_training_ends_it_with_a_sentence(data, tmp_path):
    run = make(tmp_path / "run", data)
    with pytest.raises(RunFolderError, match="was deleted while the training was at work in it; it ended"):
        train_run(run, Watch(3, lambda: shutil.rmtree(run.path)))
    assert not run.path.exists()


def test_the_command_line_says_it_and_leaves_no_process(data, tmp_path):
    value = options(data, num_epochs=5000, batch_size=4) | {"final_eval": False}
    file = write_options(tmp_path / "options.yaml", value)
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "mace_app", "train", str(file), "-o", str(folder)],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not (folder / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.rename(folder, tmp_path / "away")
    _, said = process.communicate(timeout=100)
    assert process.returncode == 2
    assert said.strip().splitlines()[-1].endswith("was deleted while the training was at work in it; it ended.")
    assert "Traceback" not in said


# Time left


def test_the_time_left_is_known_and_right_at_once_after_a_resume(data, tmp_path):
    epochs = 40  # so many that the stop is noticed before they are over
    run = make(tmp_path / "run", data)
    run.write_options(run.options_text().replace("num_epochs: 6", f"num_epochs: {epochs}"))
    assert train_run(run, Watch(3, lambda: run.request_stop("now"))) == "stopped"
    speeds = load_checkpoint(run.checkpoint_path("last")).header["structures_per_second"]
    assert speeds["device"] == "cpu" and speeds["training"] > 0 and speeds["validation"] > 0
    watch = Watch(99, lambda: None)
    assert train_run(run, watch) == "finished"
    first = next(fields for fields in watch.seen if fields.get("phase") == "training")
    left = 12 * (epochs - first["epoch"]) + 12 - 4 * first["step"]
    # The stop may have come during validation, of whose structures each counts as 0.4 trained ones in `done`.
    share = first["done"] - (first["epoch"] - 1)
    validated = round((share * (12 + 0.4 * 4) - 4 * first["step"]) / 0.4)
    expected = left / speeds["training"] + (4 * (epochs + 1 - first["epoch"]) - validated) / speeds["validation"]
    assert first["eta_seconds"] == pytest.approx(expected, rel=0.01), (
        f"what was trained before is no part of what is left: {first}, {speeds}"
    )
