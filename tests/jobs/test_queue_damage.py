"""The queue's file is lost or damaged: what it knew is known elsewhere."""

import io
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mace_app.jobs import QueueError, RunFolder, Workspace
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.recovery import FolderWatch
from mace_app.jobs.supervisor import Supervisor


def overwrite(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 100)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scribble(path: Path) -> None:
    """The first page, which names the tables, survives; the others don't."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.fixture
def runs(workspace: Workspace) -> list[RunFolder]:
    """One at work (in this very process), four waiting, of which one is held; the order changed; the queue paused."""
    runs = [workspace._create_run("device: cpu\n", name, "cpu", None) for name in "abcde"]
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    job = workspace.queue.claim(["cpu"], 2)
    assert job is not None
    workspace.queue.set_process(job.id, me)
    runs[0].update(state="running", slot="cpu", **me.to_json())
    workspace.move_run(runs[4].id, "first")
    workspace.hold_run(runs[2].id)
    workspace.pause_queue()
    return runs


def picture(workspace: Workspace) -> list[tuple[str, str, str | None, bool]]:
    return [(job.folder, job.state, job.device, job.held) for job in workspace.queue.active()]


def remove_log(workspace: Workspace) -> None:
    for ending in ("-wal", "-shm"):
        workspace.queue.path.with_name(f"queue.sqlite{ending}").unlink(missing_ok=True)


@pytest.mark.parametrize("damage", [overwrite, cut_short, scribble])
def test_a_damaged_queue_is_set_aside_and_made_anew_with_nothing_lost(
    workspace: Workspace, runs: list[RunFolder], damage: Callable[[Path], None]
) -> None:
    dataset = workspace.add_dataset("x", io.BytesIO(b"1"))
    workspace.start_inspection(dataset)
    before = picture(workspace)
    remove_log(workspace)
    damage(workspace.queue.path)
    again = Workspace(workspace.root)
    if damage is scribble:  # which is found only when the damaged pages are looked at
        with pytest.raises(QueueError, match=r"made anew from the runs; the damaged file is kept as queue\.damaged-"):
            again.queue.active()
    assert picture(again) == before
    assert again.queue.paused
    assert again.queue.active()[0].process == ProcessIdentity.of(os.getpid())
    (aside,) = (path for path in workspace.root.glob("queue.damaged-*") if path.suffix == ".sqlite")
    assert aside.stat().st_size > 0
    assert [run.info().state for run in runs] == ["running", *["queued"] * 4]


def test_a_queue_that_breaks_under_an_open_workspace_heals_with_a_sentence(
    workspace: Workspace, runs: list[RunFolder]
) -> None:
    before = picture(workspace)
    remove_log(workspace)
    overwrite(workspace.queue.path)
    with pytest.raises(QueueError, match="was damaged and has been made anew"):
        workspace.move_run(runs[1].id, "last")
    assert picture(workspace) == before
    workspace.move_run(runs[1].id, "last")


def test_a_queue_that_was_emptied_or_deleted_is_filled_again_by_the_supervisors_look(
    workspace: Workspace, runs: list[RunFolder]
) -> None:
    before = picture(workspace)
    for damage in (empty, Path.unlink):
        remove_log(workspace)
        damage(workspace.queue.path)
        again = Workspace(workspace.root)
        assert len(FolderWatch(again).add_missing_jobs()) == 5
        assert picture(again) == before
        assert FolderWatch(again).add_missing_jobs() == []


def test_without_the_note_the_runs_wait_in_the_order_they_came(workspace: Workspace, runs: list[RunFolder]) -> None:
    workspace.queue.path.with_suffix(".json").write_text('{"format": 1, "order": [')
    remove_log(workspace)
    overwrite(workspace.queue.path)
    jobs = Workspace(workspace.root).queue.active()
    assert [job.folder for job in jobs] == [f"runs/{run.id}" for run in runs]


def test_a_run_that_was_made_but_not_queued_gets_its_place_and_one_of_the_command_line_does_not(
    workspace: Workspace,
) -> None:
    lost = workspace._create_run("seed: 1\n", "lost", "cpu", None)
    workspace.queue.finish(workspace.queue.active()[0].id)
    RunFolder.create(
        workspace.runs_path / "20250131-120000-by-hand",
        "seed: 1\n",
        "By hand",
        starting=ProcessIdentity.of(os.getpid()),
    )
    watch = FolderWatch(workspace)
    assert watch.add_missing_jobs() == [f"runs/{lost.id}"]
    workspace.stop_run(lost.id)
    assert watch.add_missing_jobs() == []
    assert workspace.queue.active() == []


def test_a_job_left_over_of_a_run_that_is_over_is_not_needed_any_more(workspace: Workspace) -> None:
    run = workspace._create_run("seed: 1\n", "x", None, None)
    (known,) = FolderWatch(workspace).jobs()
    run.set_state("stopped", "Stopped before it began.")
    assert not FolderWatch(workspace).still_needed(known)


def test_foundation_models_that_wait_or_were_at_work_are_in_the_queue_made_anew(
    workspace: Workspace, runs: list[RunFolder]
) -> None:
    waiting, working, done = (workspace.add_foundation(name, io.BytesIO(b"1"), f"{name}.model") for name in "abc")
    for foundation in (waiting, working, done):
        workspace.start_foundation(foundation)
    working.set_state("running")
    done.set_state("done")
    remove_log(workspace)
    overwrite(workspace.queue.path)
    again = Workspace(workspace.root)
    jobs = {job.folder: job for job in again.queue.active() if job.kind == "foundation"}
    assert {folder: job.state for folder, job in jobs.items()} == {
        f"foundations/{waiting.id}": "queued",
        f"foundations/{working.id}": "running",
    }
    supervisor = Supervisor(again, devices={}, command=lambda job, folder: ["sleep", "0"])
    supervisor._look_after(jobs[f"foundations/{working.id}"])
    found = again.queue.active_job(f"foundations/{working.id}")
    assert found is not None and found.state == "queued", "no process of it is alive, so it begins anew"
