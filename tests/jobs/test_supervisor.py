import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from real_processes import processes_naming, wait_until

from mace_app.jobs import RunFolder, Workspace
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.queue import Job
from mace_app.jobs.supervisor import Supervisor, main, worker_command

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MAIN_WITH_TEST_WORKER = """
import signal, sys
sys.path.insert(0, {here!r})
from mace_app.jobs import Workspace
from mace_app.jobs.supervisor import Supervisor
supervisor = Supervisor(
    Workspace(sys.argv[1]), command=lambda job, folder: [sys.executable, {worker!r}, str(folder)],
    devices={{"cpu": {{}}}}, poll_seconds=0.05, idle_seconds=float(sys.argv[2]), grace_seconds=0.5,
)
signal.signal(signal.SIGTERM, supervisor.end)
sys.exit(supervisor.run())
"""


def small_worker(job: Job, folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "small_worker.py"), str(folder)]


@pytest.fixture
def run(workspace: Workspace) -> RunFolder:
    return workspace._create_run("device: cpu\n", "Ethanol", "cpu", None)


@pytest.fixture
def launch(workspace: Workspace) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a supervisor process whose workers are the small ones; all is ended afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(idle_seconds: float = 600) -> subprocess.Popen[bytes]:
        code = MAIN_WITH_TEST_WORKER.format(here=str(HERE), worker=str(HERE / "small_worker.py"))
        with open(workspace.root / "supervisor.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(workspace.root), str(idle_seconds)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    for worker in processes_naming(workspace.root):
        worker.kill()


def supervisor_of(workspace: Workspace, **settings: float) -> Supervisor:
    return Supervisor(workspace, command=small_worker, devices={"cpu": {}}, **settings)


def epochs(run: RunFolder) -> int:
    return len(run.read_metrics().epochs)


def step_until(supervisor: Supervisor, condition: Callable[[], object]) -> None:
    def stepped() -> object:
        supervisor.step()
        return condition()

    wait_until(stepped)


def test_a_queued_run_is_started_and_ends(workspace: Workspace, run: RunFolder) -> None:
    supervisor = supervisor_of(workspace)
    assert supervisor.step()
    info = run.info()
    assert (info.state, info.device) == ("running", "cpu"), "a page sees it before the worker's imports are done"
    assert info.command is not None
    step_until(supervisor, lambda: epochs(run) > 2)
    worker = psutil.Process(run.info().pid)
    assert os.getsid(worker.pid) == worker.pid, "the worker leads a session of its own"
    assert os.readlink(f"/proc/{worker.pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{worker.pid}/fd/2") == str(run.output_file)
    (run.path / "finish").touch()
    step_until(supervisor, lambda: not workspace.queue.active())
    assert run.info().state == "finished"


def test_training_goes_on_when_supervisor_and_server_are_killed_and_the_next_one_adopts_it(
    workspace: Workspace, run: RunFolder, launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    first = launch()
    wait_until(lambda: epochs(run) > 2)
    pid = run.info().pid
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert workspace.supervisor() is None
    seen = epochs(run)
    wait_until(lambda: epochs(run) > seen + 5)
    launch()
    wait_until(lambda: workspace.supervisor() is not None)
    time.sleep(0.5)
    assert [process.pid for process in processes_naming(run.path)] == [pid], "one worker, the same as before"
    assert run.info().state == "running"
    (run.path / "finish").touch()
    wait_until(lambda: not workspace.queue.active())
    assert run.info().state == "finished"


def test_a_killed_worker_leaves_an_interrupted_run_that_resumes_where_it_was(
    workspace: Workspace, run: RunFolder, launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    launch()
    wait_until(lambda: epochs(run) > 2)
    os.kill(run.info().pid or 0, signal.SIGKILL)
    wait_until(lambda: run.info().state == "interrupted")
    last = run.last_epoch()
    reason = run.info().reason or ""
    assert "killed by SIGKILL" in reason
    assert f"Resume continues from epoch {last}." in reason
    workspace.resume_run(run.id)
    wait_until(lambda: run.last_epoch() != last)
    assert run.info().reason is None
    (run.path / "finish").touch()
    wait_until(lambda: run.info().state == "finished")
    order = [record["epoch"] for record in run.read_metrics().epochs]
    assert order == sorted(order), "the second worker did not begin again"


def test_a_worker_that_died_while_nobody_watched_is_found_out(
    workspace: Workspace, run: RunFolder, launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    first = launch()
    wait_until(lambda: epochs(run) > 2)
    first.kill()
    first.wait()
    os.kill(run.info().pid or 0, signal.SIGKILL)
    wait_until(lambda: not run.worker_alive())
    launch()
    wait_until(lambda: run.info().state == "interrupted")
    assert "ended without a word (killed, out of memory or reboot)" in (run.info().reason or "")


def test_a_number_given_to_another_process_is_not_taken_for_the_worker(workspace: Workspace, run: RunFolder) -> None:
    job = workspace.queue.claim(["cpu"], 2)
    assert job is not None
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    workspace.queue.set_process(job.id, ProcessIdentity(me.pid, me.started - 3600))
    run.update(state="running", pid=me.pid, pid_started=me.started - 3600)
    supervisor_of(workspace).step()
    assert run.info().state == "interrupted"


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = ProcessIdentity(child.pid, psutil.Process(child.pid).create_time())
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    os.kill(child.pid, 0)  # it still answers
    assert not identity.alive()
    child.wait()


def test_a_claimed_job_without_a_process_is_started_and_one_with_an_unnoted_process_adopted(
    workspace: Workspace, run: RunFolder
) -> None:
    assert workspace.queue.claim(["cpu"], 2) is not None  # and here the supervisor died
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: epochs(run) > 0)
    pid = run.info().pid
    job = workspace.queue.active()[0]
    workspace.queue.give_back(job.id)
    assert workspace.queue.claim(["cpu"], 2) is not None  # claimed and started, but died before noting the process
    second = supervisor_of(workspace)
    second.step()
    assert workspace.queue.active()[0].pid == pid
    assert [process.pid for process in processes_naming(run.path)] == [pid]
    (run.path / "finish").touch()
    step_until(second, lambda: not workspace.queue.active())
    step_until(supervisor, lambda: not processes_naming(run.path))


@pytest.mark.parametrize(
    ("behaviour", "state", "sentence"),
    [
        ("crash", "failed", "ended with an error: RuntimeError: the sky fell"),
        ("silent", "interrupted", "ended without a word"),
    ],
)
def test_a_worker_that_ends_badly_leaves_a_sentence(
    workspace: Workspace, run: RunFolder, behaviour: str, state: str, sentence: str
) -> None:
    (run.path / "behave.txt").write_text(behaviour)
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: run.info().state == state)
    assert sentence in (run.info().reason or "")
    assert workspace.queue.active() == []


def test_a_program_that_cannot_be_started_leaves_a_sentence(workspace: Workspace, run: RunFolder) -> None:
    Supervisor(workspace, command=lambda job, folder: ["/nowhere/python"], devices={"cpu": {}}).step()
    assert "could not be started: No such file" in (run.info().reason or "")


def test_stop_lets_the_worker_finish_by_itself(workspace: Workspace, run: RunFolder) -> None:
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: epochs(run) > 1)
    workspace.stop_run(run.id)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert run.info().reason == "Stopped as asked."


def test_a_worker_that_ignores_stop_now_is_ended_by_force_after_the_grace_period(
    workspace: Workspace, run: RunFolder
) -> None:
    (run.path / "behave.txt").write_text("stubborn")
    supervisor = supervisor_of(workspace, grace_seconds=0.4)
    step_until(supervisor, lambda: epochs(run) > 1)
    workspace.stop_run(run.id, "now")
    asked = time.monotonic()
    step_until(supervisor, lambda: not workspace.queue.active())
    assert time.monotonic() - asked > 0.35
    assert run.info().state == "stopped"
    assert "Stopped at once" in (run.info().reason or "")


def test_stop_best_never_brings_a_signal(workspace: Workspace, run: RunFolder) -> None:
    (run.path / "behave.txt").write_text("stubborn")
    supervisor = supervisor_of(workspace, grace_seconds=0.05)
    step_until(supervisor, lambda: epochs(run) > 1)
    workspace.stop_run(run.id, "best")
    seen = epochs(run)
    step_until(supervisor, lambda: epochs(run) > seen + 8)
    assert run.info().state == "stopping"
    workspace.stop_run(run.id, "now")
    step_until(supervisor, lambda: not workspace.queue.active())


def test_a_damaged_run_does_not_keep_the_next_from_its_turn(workspace: Workspace, run: RunFolder) -> None:
    run.run_file.write_text("{")
    (run.path / "behave.txt").write_text("silent")
    other = workspace._create_run("device: cpu\n", "Other", "cpu", None)
    supervisor = supervisor_of(workspace)
    step_until(supervisor, lambda: epochs(other) > 0)
    (other.path / "finish").touch()
    step_until(supervisor, lambda: not workspace.queue.active())
    assert other.info().state == "finished"


def test_a_run_of_the_command_line_that_was_killed_is_marked_too(workspace: Workspace) -> None:
    run = RunFolder.create(workspace.runs_path / "20250131-120000-by-hand", "seed: 1\n", "By hand")
    worker = subprocess.Popen([sys.executable, str(HERE / "small_worker.py"), str(run.path)], env=with_root())
    wait_until(lambda: epochs(run) > 0)
    supervisor_of(workspace).step()
    assert run.info().state == "running"
    worker.kill()
    worker.wait()
    supervisor_of(workspace).step()
    assert run.info().state == "interrupted"


def test_there_is_one_supervisor_and_it_ends_when_idle_leaving_no_zombie(
    workspace: Workspace, launch: Callable[..., subprocess.Popen[bytes]], run: RunFolder
) -> None:
    (run.path / "finish").touch()
    first = launch(idle_seconds=5)
    wait_until(lambda: workspace.supervisor() is not None)
    second = launch(idle_seconds=5)
    assert second.wait(timeout=10) == 0
    identity = workspace.supervisor()
    assert identity is not None
    assert identity.pid == first.pid
    assert first.wait(timeout=20) == 0
    assert run.info().state == "finished"
    assert not workspace.supervisor_file.exists()


def test_a_job_that_comes_while_the_supervisor_is_leaving_is_not_forgotten(workspace: Workspace) -> None:
    supervisor = supervisor_of(workspace)
    supervisor._announce()
    workspace._create_run("device: cpu\n", "late", "cpu", None)
    assert not supervisor._leave()
    assert workspace.supervisor() is not None


def test_ensure_supervisor_starts_one_that_outlives_its_starter_and_ends_when_asked(workspace: Workspace) -> None:
    code = "import sys; from mace_app.jobs import Workspace; Workspace(sys.argv[1]).ensure_supervisor()"
    subprocess.run([sys.executable, "-c", code, str(workspace.root)], check=True, cwd=ROOT)
    wait_until(lambda: workspace.supervisor() is not None)
    supervisor = workspace.supervisor()
    workspace.ensure_supervisor()
    assert workspace.supervisor() == supervisor
    assert workspace.end_supervisor()
    assert workspace.supervisor() is None


def test_a_workspace_that_is_deleted_ends_its_supervisor(
    workspace: Workspace, launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = launch()
    wait_until(lambda: workspace.supervisor() is not None)
    shutil.rmtree(workspace.root)
    assert process.wait(timeout=10) == 1
    assert not workspace.root.exists()


def test_the_command_line_says_what_is_wrong_with_a_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 1
    assert "cannot be made" in capsys.readouterr().err


def test_jobs_are_run_by_the_command_lines_own_workers(workspace: Workspace, run: RunFolder) -> None:
    job = workspace.queue.active()[0]
    assert worker_command(job, run.path) == [sys.executable, "-m", "mace_app", "work", str(run.path)]


def test_an_inspection_that_dies_leaves_a_sentence_and_a_cancelled_one_does_not(workspace: Workspace) -> None:
    dataset = workspace.add_dataset("x", io.BytesIO(b"1"))
    workspace.start_inspection(dataset)
    assert dataset.inspection_state() == "queued"
    supervisor = Supervisor(
        workspace, command=lambda job, folder: sleeper(folder), devices={"cpu": {}}, grace_seconds=0.2
    )
    supervisor.step()
    job = workspace.queue.active()[0]
    os.kill(job.pid or 0, signal.SIGKILL)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert dataset.inspection_state() == "failed"
    assert "killed by SIGKILL" in (dataset.inspection_error() or "")

    workspace.start_inspection(dataset)
    assert dataset.inspection_error() is None
    supervisor.step()
    workspace.cancel_inspection(dataset)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert dataset.inspection_state() == "cancelled"


def sleeper(folder: Path) -> list[str]:
    return [sys.executable, "-c", "import time; time.sleep(60)", str(folder)]


def with_root() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_supervisor_json_names_process_and_start(workspace: Workspace) -> None:
    supervisor_of(workspace)._announce()
    record = json.loads(workspace.supervisor_file.read_text())
    assert record["pid"] == os.getpid()
    assert workspace.supervisor() is not None
    for other in (
        {"pid_after_boot": record["pid_after_boot"] - 100},
        {"pid_after_boot": None, "pid_started": record["pid_started"] - 100},
        {"boot": "another"},
    ):
        workspace.supervisor_file.write_text(json.dumps({**record, **other}))
        assert workspace.supervisor() is None, other
