"""What a person can do with runs, and the sentences of what can't be done."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mace_app.__main__ import main
from mace_app.jobs import Failure, RunFolder, Suggestion, Workspace, WorkspaceError, WorkspaceSettings
from mace_app.jobs.devices import ALL_CUDA
from mace_app.options import OptionsError

OPTIONS = """
seed: 3
device: cpu
architecture: {name: experimental.mace, training: {num_epochs: 20, batch_size: 8}}
training_set: {systems: ethanol.xyz, targets: {energy: {key: energy, unit: eV}}}
validation_set: 0.1
"""
BATCH_SIZE = ("architecture", "training", "batch_size")


@pytest.fixture
def run(workspace: Workspace) -> RunFolder:
    return workspace.create_run(OPTIONS, "Ethanol")


def checkpoint(run: RunFolder, epoch: int, step: int = 0) -> Path:
    path = run.checkpoint_path("last")
    header = {"epoch": epoch, "step": step, "batch_size": 8, "kind": "last"}
    save_file({"weights": np.arange(7.0)}, path, {"mace_studio": json.dumps(header)})
    return path


def over(workspace: Workspace, run: RunFolder, state: Any, failure: Failure | None = None) -> None:
    for job in workspace.queue.active():
        workspace.queue.finish(job.id)
    run.set_state(state, None if state == "finished" else "So it was.", failure)


def test_a_finished_run_goes_on_to_more_epochs_in_all(workspace: Workspace, run: RunFolder) -> None:
    checkpoint(run, 20)
    over(workspace, run, "finished")
    workspace.archive_run(run.id)
    with pytest.raises(WorkspaceError, match="Give a larger number of epochs"):
        workspace.resume_run(run.id)
    with pytest.raises(WorkspaceError, match=r"has done 20 epochs, and `num_epochs` is the total: give more than 20\."):
        workspace.resume_run(run.id, num_epochs=20)
    assert run.options().architecture.training.num_epochs == 20, "a refusal changes nothing"
    workspace.resume_run(run.id, num_epochs=50)
    assert run.options().architecture.training.num_epochs == 50
    info = run.info()
    assert (info.state, info.reason, info.archived) == ("queued", None, False)
    assert workspace.queue.place(f"runs/{run.id}") == 1


def test_more_epochs_need_a_checkpoint_that_can_be_read(workspace: Workspace, run: RunFolder) -> None:
    over(workspace, run, "finished")
    with pytest.raises(WorkspaceError, match="has no `last` checkpoint"):
        workspace.resume_run(run.id, num_epochs=50)
    run.checkpoint_path("last").write_bytes(b"half of one")
    with pytest.raises(WorkspaceError, match="can't be gone on from"):
        workspace.resume_run(run.id, num_epochs=50)
    run.checkpoint_path("last").unlink()
    over(workspace, run, "failed")
    with pytest.raises(OptionsError):
        workspace.resume_run(run.id, num_epochs=-1)
    workspace.resume_run(run.id, num_epochs=5, device="cuda:1")
    assert workspace.queue.active()[0].requested_device == "cuda:1"
    assert run.options().device == "cuda:1"


def test_the_options_of_a_run_begin_another_one(workspace: Workspace, run: RunFolder) -> None:
    options = workspace.options_of(run.id)
    assert options["architecture"]["training"]["num_epochs"] == 20
    other = workspace.create_run(options, "again")
    assert other.options() == run.options()


def test_tags_and_notes_are_kept_as_plain_text(workspace: Workspace, run: RunFolder) -> None:
    assert workspace.tag_run(run.id, [" good \n one", "good one", "", "x"]) == ["good one", "x"]
    workspace.note_run(run.id, "first line\r\nsecond\x00 line\n\n")
    assert (run.info().tags, run.info().note) == (["good one", "x"], "first line\nsecond line")
    with pytest.raises(WorkspaceError, match="longer than 40 characters"):
        workspace.tag_run(run.id, ["x" * 41])
    with pytest.raises(WorkspaceError, match="20 tags"):
        workspace.tag_run(run.id, [str(number) for number in range(21)])
    with pytest.raises(WorkspaceError, match="Shorten it"):
        workspace.note_run(run.id, "x" * 20_001)


def test_only_runs_that_are_over_are_archived(workspace: Workspace, run: RunFolder) -> None:
    with pytest.raises(WorkspaceError, match="is queued"):
        workspace.archive_run(run.id)
    workspace.stop_run(run.id)
    workspace.archive_run(run.id)
    assert run.info().archived
    workspace.archive_run(run.id, archived=False)
    assert not run.info().archived


def test_a_run_removed_with_its_files_kept_can_come_back(workspace: Workspace, run: RunFolder) -> None:
    checkpoint(run, 3)
    with pytest.raises(WorkspaceError, match="not over"):
        workspace.delete_run(run.id, keep_files=True)
    over(workspace, run, "stopped")
    kept = workspace.delete_run(run.id, keep_files=True)
    assert kept == workspace.root / "removed" / run.id
    assert workspace.runs() == []
    back = workspace.import_run(kept).run
    assert back.last_epoch() == 3
    assert back.info().name == "Ethanol"


def test_a_run_some_worker_holds_is_not_deleted_whatever_its_record_says(workspace: Workspace, run: RunFolder) -> None:
    over(workspace, run, "failed")
    worker = RunFolder(run.path)
    worker._hold()
    with pytest.raises(WorkspaceError, match="not over"):
        workspace.delete_run(run.id)
    worker.release()
    workspace.delete_run(run.id)
    assert not run.path.exists()


def test_place_hold_and_device_can_be_changed_only_while_a_run_waits(workspace: Workspace, run: RunFolder) -> None:
    other = workspace.create_run(OPTIONS, "Other", held=True)
    assert workspace.queue.active_job(f"runs/{other.id}").held
    workspace.move_run(other.id, "first")
    assert workspace.queue.place(f"runs/{other.id}") == 1
    workspace.set_run_device(other.id, "cuda:1")
    assert (other.options().device, other.info().device) == ("cuda:1", "cuda:1")
    with pytest.raises(OptionsError):
        workspace.set_run_device(other.id, "toaster")
    workspace.stop_run(other.id)
    for refused in (
        lambda: workspace.move_run(other.id, "up"),
        lambda: workspace.hold_run(other.id),
        lambda: workspace.set_run_device(other.id, "cpu"),
    ):
        with pytest.raises(WorkspaceError, match="is stopped; this can be changed only while a run waits"):
            refused()


def suggested(value: int = 4) -> Failure:
    return Failure("out_of_memory", Suggestion(BATCH_SIZE, value, 8, "Set `batch_size` to 4 (now 8)"))


def test_a_suggestion_is_one_call_and_the_run_begins_again_with_it(workspace: Workspace, run: RunFolder) -> None:
    with pytest.raises(WorkspaceError, match="Nothing is suggested"):
        workspace.apply_suggestion(run.id)
    over(workspace, run, "failed", suggested())
    assert workspace.suggestion_for(run.id) == suggested().suggestion
    assert workspace.apply_suggestion(run.id).id == run.id
    assert run.options().architecture.training.batch_size == 4
    assert (run.info().state, run.info().failure) == ("queued", None)


def test_smaller_batches_keep_the_epochs_that_are_done(workspace: Workspace, run: RunFolder) -> None:
    path = checkpoint(run, 12)
    tensors = load_file(path)
    over(workspace, run, "failed", suggested())
    assert workspace.apply_suggestion(run.id).id == run.id
    assert run.last_epoch() == 12
    assert json.loads(header_of(path))["batch_size"] == 4
    assert (load_file(path)["weights"] == tensors["weights"]).all()


def header_of(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(str(path), "numpy") as file:
        return file.metadata()["mace_studio"]


def test_in_the_middle_of_an_epoch_a_suggestion_makes_a_new_run(workspace: Workspace, run: RunFolder) -> None:
    checkpoint(run, 12, step=3)
    over(workspace, run, "failed", suggested())
    other = workspace.apply_suggestion(run.id)
    assert other.id != run.id
    assert other.options().architecture.training.batch_size == 4
    assert run.options().architecture.training.batch_size == 8
    assert run.info().state == "failed"
    with pytest.raises(WorkspaceError, match="in the middle of an epoch"):
        workspace.resume_run(run.id, changes={BATCH_SIZE: 4})


def test_settings_are_checked_and_kept(workspace: Workspace) -> None:
    assert workspace.settings() == WorkspaceSettings()
    workspace.write_settings(WorkspaceSettings("never", 10.0))
    assert Workspace(workspace.root).settings() == WorkspaceSettings("never", 10.0)
    for text, words in (
        ('{"format": 1, "resume_automatically": "sometimes"}', "can be one of never, after_restart, always"),
        ('{"format": 1, "least_free_mb": -1}', "must be a number of megabytes"),
        ('{"format": 1', "Correct it"),
        ("[]", "not of format 1"),
    ):
        (workspace.root / "settings.json").write_text(text)
        with pytest.raises(WorkspaceError, match=words):
            workspace.settings()


def test_the_command_line_does_the_same(
    workspace: Workspace, run: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def said(*words: str, status: int = 0) -> str:
        assert main(["runs", "--workspace", str(workspace.root), *words]) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    said("pause")  # so that no supervisor is needed
    other = workspace.create_run(OPTIONS, "Other")
    assert said("move", other.id, "first") == "Place 1.\n"
    assert said("hold", other.id) == "Held.\n"
    said("tag", run.id, "good")
    said("note", run.id, "Look at this.")
    listing = said("list")
    assert listing.startswith("The queue is paused.")
    assert "1. in line, held" in listing and "[good]" in listing
    said("device", run.id, "cuda:0")
    assert run.options().device == "cuda:0"
    said("stop", run.id)
    assert "there is nothing to stop" in said("stop", run.id, status=2)
    said("archive", run.id)
    assert run.id not in said("list") and run.id in said("list", "--all")
    said("unarchive", run.id)
    assert "Nothing is suggested" in said("suggestion", run.id, status=2)
    said("resume", run.id, "--epochs", "30")
    assert run.options().architecture.training.num_epochs == 30
    said("stop", run.id)
    kept = said("delete", run.id, "--keep-files").removeprefix("Moved to ").strip().rstrip(".")
    assert "Imported as" in said("import", kept, "--name", "Back")
    said("release", other.id)
    said("stop", other.id, "--now")
    assert said("delete", other.id) == "Deleted.\n"
    said("unpause")
    assert [item.info().name for item in workspace.runs()] == ["Back"]


def test_a_run_in_several_processes_waits_for_all_gpus_unless_it_stays_on_the_cpu(workspace: Workspace) -> None:
    text = OPTIONS.replace("batch_size: 8", "batch_size: 8, distributed: true").replace("device: cpu", "device: auto")
    run = workspace.create_run(text, "Several")
    job = f"runs/{run.id}"
    assert workspace.queue.active_job(job).requested_device == ALL_CUDA
    workspace.set_run_device(run.id, ALL_CUDA)
    workspace.set_run_device(run.id, "cpu")
    assert workspace.queue.active_job(job).requested_device == "cpu"
    workspace.set_run_device(run.id, "auto")
    assert workspace.queue.active_job(job).requested_device == ALL_CUDA
    with pytest.raises(OptionsError, match="names one"):
        workspace.set_run_device(run.id, "cuda:1")
