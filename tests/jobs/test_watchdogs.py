"""What must not go unnoticed: restarts, hanging workers, deleted folders, clocks that are set, litter."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from real_processes import processes_naming, wait_until

from mace_app.files import append_json_line, write_json
from mace_app.jobs import Failure, RunFolder, Workspace, WorkspaceSettings
from mace_app.jobs.endings import Ending, conclude_training
from mace_app.jobs.folders import sweep
from mace_app.jobs.locks import FileLock
from mace_app.jobs.processes import ProcessIdentity, boot_id, kill_session
from mace_app.jobs.pulse import ELSE_SECONDS, TRAINING_SECONDS, Pulse, patience_seconds
from mace_app.jobs.queue import Job
from mace_app.jobs.supervisor import Supervisor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def small_worker(job: Job, folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "small_worker.py"), str(folder)]


def supervisor_of(workspace: Workspace, **settings: float) -> Supervisor:
    return Supervisor(workspace, command=small_worker, devices={"cpu": {}}, **settings)


@pytest.fixture
def run(workspace: Workspace) -> RunFolder:
    return workspace._create_run("device: cpu\n", "Ethanol", "cpu", None)


def epochs(run: RunFolder) -> int:
    return len(run.read_metrics().epochs)


def step_until(supervisor: Supervisor, condition: Callable[[], object], seconds: float = 30) -> None:
    def stepped() -> object:
        supervisor.step()
        return condition()

    wait_until(stepped, seconds)


# A restart of the machine


def restart_the_machine(workspace: Workspace, run: RunFolder) -> None:
    """As it looks afterwards: the worker is gone, and what is written down names another boot."""
    job = workspace.queue.active_job(f"runs/{run.id}")
    assert job is not None and job.process is not None
    os.kill(job.process.pid, signal.SIGKILL)
    wait_until(lambda: not job.process.alive())
    before = ProcessIdentity(job.process.pid, job.process.started, job.process.after_boot, "another boot")
    workspace.queue.set_process(job.id, before)
    run.update(**before.to_json())


def test_after_a_restart_the_run_goes_on_by_itself_before_all_others(workspace: Workspace, run: RunFolder) -> None:
    other = workspace._create_run("device: cpu\n", "Other", "cpu", None)
    first = supervisor_of(workspace)
    step_until(first, lambda: epochs(run) > 2)
    restart_the_machine(workspace, run)
    seen = run.last_epoch()
    second = supervisor_of(workspace)
    second.step()
    assert (run.info().state, run.info().automatic) == ("running", 1), "it was resumed and started in one round"
    assert other.info().state == "queued"
    step_until(second, lambda: run.last_epoch() > seen)
    (run.path / "finish").touch()
    (other.path / "finish").touch()
    step_until(second, lambda: not workspace.queue.active())
    assert run.info().state == other.info().state == "finished"
    step_until(first, lambda: not first._children)


def test_where_the_settings_say_never_a_restart_leaves_a_sentence(workspace: Workspace, run: RunFolder) -> None:
    workspace.write_settings(WorkspaceSettings("never"))
    first = supervisor_of(workspace)
    step_until(first, lambda: epochs(run) > 2)
    restart_the_machine(workspace, run)
    supervisor_of(workspace).step()
    info = run.info()
    assert info.state == "interrupted"
    assert (
        info.reason == f"The machine was restarted during the training. Resume continues from epoch {run.last_epoch()}."
    )
    assert Failure.from_json(info.failure) == Failure("restarted")
    step_until(first, lambda: not first._children)


def test_a_number_of_before_the_restart_means_nothing_though_it_is_in_use(workspace: Workspace) -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me is not None and me.alive() and me.boot == boot_id()
    before = ProcessIdentity(me.pid, me.started, me.after_boot, "another boot")
    assert not before.alive()
    before.signal(signal.SIGKILL)  # or this test would not go on
    assert kill_session(before) == 0


def test_killed_workers_are_resumed_only_where_the_settings_say_always_and_not_for_ever(
    workspace: Workspace, run: RunFolder
) -> None:
    (run.path / "behave.txt").write_text("silent")  # it ends without a word, again and again, and comes no further
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: run.info().state == "interrupted")
    assert run.info().automatic == 0
    workspace.write_settings(WorkspaceSettings("always"))
    workspace.resume_run(run.id)
    step_until(supervisor, lambda: run.info().state == "interrupted" and not workspace.queue.active())
    assert run.info().automatic == 3
    (run.path / "behave.txt").unlink()
    workspace.resume_run(run.id)
    step_until(supervisor, lambda: epochs(run) > 2)
    for _ in range(4):  # with a checkpoint in between it begins to count anew
        kill_and_see_it_go_on(supervisor, run)
        assert run.info().automatic == 1
    (run.path / "finish").touch()
    step_until(supervisor, lambda: not workspace.queue.active())
    assert run.info().state == "finished"


def kill_and_see_it_go_on(supervisor: Supervisor, run: RunFolder) -> None:
    pid, seen = run.info().pid, run.last_epoch()
    os.kill(pid, signal.SIGKILL)
    step_until(supervisor, lambda: run.info().pid not in (None, pid) and run.last_epoch() > seen)


def test_who_was_asked_to_stop_and_is_killed_meanwhile_stays_stopped(workspace: Workspace, run: RunFolder) -> None:
    workspace.write_settings(WorkspaceSettings("always"))
    (run.path / "behave.txt").write_text("stubborn")
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: epochs(run) > 1)
    workspace.stop_run(run.id)
    os.kill(run.info().pid, signal.SIGKILL)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert run.info().state == "stopped"
    assert "asked to stop and killed by SIGKILL" in run.info().reason
    assert "before it had exported. Resume continues" in run.info().reason


def test_a_killed_worker_that_used_most_of_the_memory_is_offered_smaller_batches(workspace: Workspace) -> None:
    text = (
        "{architecture: {training: {batch_size: 8}}, training_set: {systems: x.xyz, targets: {energy: {unit: eV}}}, "
        "validation_set: 0.1, device: cpu}"
    )
    run = workspace.create_run(text, "Large")
    total = psutil.virtual_memory().total / 1e6
    for share, offered in ((0.9, 4), (0.1, None)):
        run.update(state="running", device="cpu")
        run.write_progress(phase="training", memory_mb=share * total)
        conclude_training(run, None, Ending(-signal.SIGKILL))
        suggestion = workspace.suggestion_for(run.id)
        assert (None if suggestion is None else suggestion.value) == offered
        assert ("MB of the machine's" in (run.info().reason or "")) == (offered is not None)


# A supervisor that died between two writes


def test_a_place_in_the_queue_of_a_run_that_is_over_is_dropped(workspace: Workspace, run: RunFolder) -> None:
    run.set_state("stopped", "Stopped before it began.")  # and killed before the queue was told
    supervisor_of(workspace).step()
    assert workspace.queue.active() == []
    assert run.info().state == "stopped" and processes_naming(run.path) == []


def test_a_run_concluded_but_still_in_the_queue_is_resumed_once(workspace: Workspace, run: RunFolder) -> None:
    job = workspace.queue.claim(["cpu"], 2)
    dead = ProcessIdentity(2**22 - 3, 1.0, 1.0, "another boot")
    workspace.queue.set_process(job.id, dead)
    run.update(state="running", slot="cpu", **dead.to_json())
    run.conclude("interrupted", "The machine was restarted.", dead, Failure("restarted"))  # and here it died
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: epochs(run) > 0)
    assert run.info().automatic == 1
    assert len(processes_naming(run.path)) == 1
    (run.path / "finish").touch()
    step_until(supervisor, lambda: not workspace.queue.active())


def test_a_worker_that_came_and_went_unnoticed_is_concluded(workspace: Workspace, run: RunFolder) -> None:
    assert workspace.queue.claim(["cpu"], 2) is not None  # and died before the process was noted
    worker = subprocess.Popen(small_worker(None, run.path), env={**os.environ, "PYTHONPATH": str(ROOT)})  # type: ignore[arg-type]
    wait_until(lambda: epochs(run) > 1)
    worker.kill()
    worker.wait()
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert run.info().state == "interrupted"


# Workers that hang, folders that vanish


def test_a_worker_without_a_sign_of_life_is_marked_not_killed_and_unmarked_when_it_speaks(
    workspace: Workspace, run: RunFolder
) -> None:
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: epochs(run) > 1)
    supervisor.patience = lambda phase: 0.5
    worker = psutil.Process(run.info().pid)
    worker.suspend()
    step_until(supervisor, lambda: run.info().not_responding is not None)
    assert run.info().state == "running" and worker.is_running()
    worker.resume()
    step_until(supervisor, lambda: run.info().not_responding is None)
    (run.path / "finish").touch()
    step_until(supervisor, lambda: not workspace.queue.active())


def test_signs_of_life_are_measured_by_a_clock_that_nobody_sets(run: RunFolder) -> None:
    clock = [100.0]
    pulse = Pulse(run.path, lambda: clock[0])
    clock[0] += 50
    assert pulse.silent_seconds() == 50
    run.write_progress(phase="training")
    assert pulse.silent_seconds() == 0
    past = time.time() - 1e6
    os.utime(run.path / "progress.json", (past, past))  # the wall clock was set back: it changed all the same
    clock[0] += 5
    assert pulse.silent_seconds() == 0
    assert patience_seconds("training") == TRAINING_SECONDS < ELSE_SECONDS == patience_seconds("preparing")


def test_a_folder_deleted_under_its_worker_ends_the_worker_and_frees_the_device(
    workspace: Workspace, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / "behave.txt").write_text("stubborn")
    other = workspace._create_run("device: cpu\n", "Other", "cpu", None)
    (other.path / "finish").touch()
    supervisor = supervisor_of(workspace, grace_seconds=0.2)
    step_until(supervisor, lambda: epochs(run) > 1)
    psutil.Process(run.info().pid).suspend()  # it does not notice
    run.path.rename(workspace.root / "away")
    shutil.rmtree(workspace.root / "away", ignore_errors=True)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert processes_naming(run.path) == []
    assert not run.path.exists(), "nobody made it again"
    assert other.info().state == "finished"
    said = capsys.readouterr().out
    assert said.count(f"runs/{run.id}: the folder was deleted under the process at work") == 1


def test_what_a_killed_worker_left_in_its_session_is_ended(workspace: Workspace, run: RunFolder) -> None:
    code = (
        "import subprocess, sys, time; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]], process_group=0); "
        "time.sleep(600)"
    )
    supervisor = Supervisor(
        workspace, command=lambda job, folder: [sys.executable, "-c", code, str(folder)], devices={"cpu": {}}
    )
    supervisor.step()
    wait_until(lambda: len(processes_naming(run.path)) == 2)
    os.kill(workspace.queue.active()[0].pid, signal.SIGKILL)
    step_until(supervisor, lambda: not workspace.queue.active())
    wait_until(lambda: not processes_naming(run.path))


# Clocks


def test_a_clock_that_is_set_neither_kills_nor_spares_anybody(
    workspace: Workspace, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = ProcessIdentity.of(os.getpid())
    shifted = ProcessIdentity(me.pid, me.started + 3600, me.after_boot, me.boot)
    assert shifted.alive(), "times since boot decide where they are known"
    assert shifted.same(me)
    assert not ProcessIdentity(me.pid, me.started, me.after_boot - 1, me.boot).alive()
    (run.path / "behave.txt").write_text("stubborn")
    supervisor = supervisor_of(workspace, grace_seconds=1.0)
    step_until(supervisor, lambda: epochs(run) > 1)
    workspace.stop_run(run.id, "now")
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 1e6)
    for _ in range(5):
        supervisor.step()
    assert run.worker_alive(), "the grace is not over because somebody set the clock"
    monkeypatch.setattr(time, "time", lambda: wall() - 1e6)
    step_until(supervisor, lambda: not workspace.queue.active())


# Locks, litter, half lines


def test_a_lock_whose_file_was_removed_is_known_to_be_worth_nothing(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire() and first.held()
    assert not second.acquire()
    (tmp_path / "lock").unlink()
    assert not first.held()
    assert second.acquire() and second.held()
    first.release()
    assert second.held()
    second.release()


def test_a_supervisor_whose_lock_is_taken_away_ends_so_that_there_are_never_two(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "mace_app.jobs.supervisor", str(workspace.root)]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: workspace.supervisor() is not None)
    (workspace.root / "supervisor.lock").unlink()
    said, _ = first.communicate(timeout=30)
    assert first.returncode == 1
    assert "the lock was taken away" in said


def test_a_worker_clears_away_what_killed_ones_left_half_written(folder: RunFolder) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    checkpoints = folder.checkpoint_path("last").parent
    half = [
        checkpoints / f".last.safetensors.{gone.pid}-140.tmp",
        folder.path / f".model.{gone.pid}.tmp.pt",
        folder.path / f".run.json.{gone.pid}-7.tmp",
    ]
    in_use = folder.path / f".options.yaml.{os.getppid()}-7.tmp"
    for path in (*half, in_use):
        path.write_bytes(b"half")
    folder.start()
    assert not any(path.exists() for path in half)
    assert in_use.exists(), "another process may be about to rename it"
    folder.set_state("finished")
    assert not (folder.path / ".reserve").exists()


def test_folders_half_made_or_half_deleted_are_swept_away(tmp_path: Path) -> None:
    for name in (".new-old", ".new-young", ".deleted-x", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    past = time.time() - 2 * 86400
    os.utime(tmp_path / ".new-old", (past, past))
    sweep(tmp_path, 86400)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new-young", "kept"]


def test_a_supervisor_clears_away_what_killed_servers_left_half_written(workspace: Workspace, run: RunFolder) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    half = [workspace.root / f".queue.json.{gone.pid}-7.tmp", run.path / f".run.json.{gone.pid}-7.tmp"]
    in_use = run.path / f".run.json.{os.getpid()}-7.tmp"
    for path in (*half, in_use):
        path.write_text("{")
    supervisor_of(workspace)._sweep()
    assert not any(path.exists() for path in half)
    assert in_use.exists()


def test_half_a_line_of_metrics_costs_that_line_only(folder: RunFolder) -> None:
    folder.start_metrics({"energy": "eV/atom"}, ["energy"])
    folder.append_metrics({"epoch": 1})
    with open(folder.metrics_file, "ab") as stream:
        stream.write(b'{"epoch": 2, "validation/ener')  # and killed
    assert [record["epoch"] for record in folder.metrics().epochs] == [1]
    folder.start_metrics({"energy": "eV/atom"}, ["energy"])
    folder.append_metrics({"epoch": 2})
    with open(folder.metrics_file, "ab") as stream:
        stream.write(b"\xff\x00[[[[\n\n{}\n[1]\n")
    append_json_line(folder.metrics_file, {"epoch": 3})
    history = folder.metrics()
    assert [record["epoch"] for record in history.epochs] == [1, 2, 3]
    assert history.units == {"energy": "eV/atom"}


def test_names_reach_the_disk_too_where_it_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        kinds.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(tmp_path / "run.json", {})
    assert kinds == ["file", "folder"]
    write_json(tmp_path / "progress.json", {}, durable=False)
    assert kinds == ["file", "folder"], "what is written every second is not worth a disk's time"


# The worker that looks after its neighbours


def test_a_worker_that_ends_sees_to_it_that_the_next_run_starts(workspace: Workspace, run: RunFolder) -> None:
    from mace_app.jobs.workspace import look_after_neighbours

    look_after_neighbours(run.path)
    assert workspace.supervisor() is None, "its own job is none to start a supervisor for"
    other = workspace._create_run("device: cpu\n", "Other", "cpu", None, held=True)
    look_after_neighbours(run.path)
    assert workspace.supervisor() is None, "one that is held starts nothing"
    workspace.stop_run(run.id)
    workspace.hold_run(other.id, held=False)
    workspace.pause_queue()
    look_after_neighbours(run.path)
    assert workspace.supervisor() is None
    assert not workspace.has_work()
    workspace.stop_run(other.id)
    dataset = workspace.add_dataset("x", ROOT / "docs" / "samples" / "ethanol.xyz")
    workspace.start_inspection(dataset)
    look_after_neighbours(run.path)
    wait_until(lambda: dataset.inspection_state() == "done", 60)
    assert workspace.end_supervisor()
