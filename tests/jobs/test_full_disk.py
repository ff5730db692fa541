"""A disk without room, and one that can't be written to: a sentence, and nothing of what was complete is lost."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_processes import wait_until

from mace_app.jobs import JobsError, Workspace, WorkspaceError, WorkspaceSettings
from mace_app.jobs.supervisor import Supervisor, main

HERE = Path(__file__).resolve().parent


def small_supervisor(workspace: Workspace) -> Supervisor:
    def command(job: Any, folder: Path) -> list[str]:
        return [sys.executable, str(HERE / "small_worker.py"), str(folder)]

    return Supervisor(workspace, command=command, devices={"cpu": {}})


def test_no_training_starts_without_room_and_it_starts_by_itself_when_there_is(
    small_disk: Callable[[int], Any],
) -> None:
    disk = small_disk(16)
    workspace = Workspace(disk.path / "workspace")
    workspace.write_settings(WorkspaceSettings(least_free_mb=8))
    run = workspace._create_run("device: cpu\n", "Ethanol", "cpu", None)
    disk.fill(leave=4_000_000)
    supervisor = small_supervisor(workspace)
    supervisor.step()
    assert run.info().state == "queued"
    assert "It waits for room on the disk" in (run.info().reason or "")
    assert "8 MB are needed" in (run.info().reason or "")
    disk.empty()
    supervisor.step()
    assert (run.info().state, run.info().reason) == ("running", None)
    (run.path / "finish").touch()
    wait_until(lambda: not supervisor.step())
    assert run.info().state == "finished"


def test_a_full_disk_is_said_in_a_sentence_and_the_queue_is_as_it_was(small_disk: Callable[[int], Any]) -> None:
    disk = small_disk(4)
    workspace = Workspace(disk.path / "workspace")
    runs = [workspace._create_run("device: cpu\n", name, "cpu", None) for name in "ab"]
    disk.fill()
    for change in (
        lambda: workspace.move_run(runs[1].id, "first"),
        lambda: workspace.pause_queue(),
        lambda: workspace._create_run("device: cpu\n", "c", "cpu", None),
        lambda: workspace.stop_run(runs[0].id),
    ):
        with pytest.raises((JobsError, OSError), match=r"full|No space"):
            change()
    disk.empty()
    again = Workspace(workspace.root)
    assert [job.folder for job in again.queue.active()] == [f"runs/{run.id}" for run in runs]
    assert not again.queue.paused
    assert [run.info().state for run in again.runs()] == ["queued", "queued"]
    assert list(again.root.glob("queue.damaged*")) == [], "a full disk is no damage"
    again.move_run(runs[1].id, "first")


def test_a_worker_that_dies_of_a_full_disk_is_concluded_once_there_is_room(small_disk: Callable[[int], Any]) -> None:
    disk = small_disk(16)
    workspace = Workspace(disk.path / "workspace")
    workspace.write_settings(WorkspaceSettings("never", least_free_mb=1))
    run = workspace._create_run("device: cpu\n", "Ethanol", "cpu", None)
    supervisor = small_supervisor(workspace)
    supervisor.step()
    wait_until(lambda: len(run.read_metrics().epochs) > 2)
    disk.fill()
    child = next(iter(supervisor._children.values()))
    wait_until(lambda: child.poll() is not None)  # the small worker knows nothing of disks: it crashes
    last = run.last_epoch()
    for _ in range(3):
        try:
            supervisor.step()
        except JobsError as error:
            assert "full" in str(error)
    disk.empty()
    assert workspace.queue.active(), "what could not be written down is not forgotten"
    supervisor.step()
    assert run.info().state == "interrupted"
    assert "The disk is full; the last checkpoint is as it was. Free space." in (run.info().reason or "")
    assert run.last_epoch() == last is not None
    assert workspace.queue.active() == []


def test_a_new_workspace_on_a_full_disk_is_refused(small_disk: Callable[[int], Any]) -> None:
    disk = small_disk(1)
    disk.fill()
    with pytest.raises(JobsError, match=r"The workspace .* cannot be made: No space left|full"):
        Workspace(disk.path / "workspace")


def test_a_workspace_that_can_not_be_written_to_is_refused_at_the_start(
    small_disk: Callable[[int], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    disk = small_disk(4)
    root = disk.path / "workspace"
    run = Workspace(root)._create_run("device: cpu\n", "Ethanol", "cpu", None)
    disk.read_only()
    with pytest.raises(WorkspaceError, match=r"can't be written to: .* is read-only\. Change its permissions"):
        Workspace(root)
    assert main([str(root)]) == 1
    assert "can't be written to" in capsys.readouterr().err
    disk.read_only(False)
    assert Workspace(root).run(run.id).info().state == "queued"
