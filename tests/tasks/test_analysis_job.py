"""Analyses asked for in a workspace: real workers under the real supervisor, found again, cancelled, killed."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_data import frame, waters

from mace_app.evaluation.comparison import EDGES_AT_ONCE
from mace_app.jobs import AnalysisFolder, DataChoice, DatasetFolder, JobsError, ModelChoice, RunFolder, Workspace
from mace_app.jobs.supervisor import Supervisor
from mace_app.tasks.analysis_job import CANCELLED, DONE, FAILED, work_analysis

MAPPING = {"length_unit": "", "targets": {"energy": {"key": "energy", "unit": "eV", "quantity": "energy"}}}


def step_until(supervisor: Supervisor, condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was awaited did not come"
        supervisor.step()
        time.sleep(0.05)


def done_here(workspace: Workspace, folder: AnalysisFolder) -> AnalysisFolder:
    """The work of a queued analysis, in this process."""
    workspace.queue.cancel(folder.path.relative_to(workspace.root).as_posix())
    assert work_analysis(folder) == DONE, folder.error()
    return folder


def dataset(workspace: Workspace, path: Path, count: int = 5, seed: int = 9) -> DatasetFolder:
    path.write_text("".join(frame(atoms) for atoms in waters(count, seed=seed)))
    added = workspace.add_dataset("Other waters", path)
    added.write_mapping(MAPPING)
    return added


def test_a_worker_answers_and_the_same_question_finds_the_answer(workspace: Workspace, run: RunFolder) -> None:
    assert workspace.analyses() == []
    folder = workspace.request_analysis(ModelChoice(run=run.id))
    assert folder.state() == "queued" and folder.path.parent == run.path / "analyses"
    assert workspace.request_analysis(ModelChoice(run=run.id)).path == folder.path, "while it waits"
    with pytest.raises(JobsError, match="is being analysed"):
        workspace.delete_run(run.id)
    supervisor = Supervisor(workspace, devices={"cpu": {}})
    step_until(supervisor, lambda: not workspace.queue.active())
    assert (folder.state(), folder.error()) == ("done", None), folder.output_file.read_text()
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "output.txt",
        "request.json",
        "result",
        "state.json",
    ], "neither weights nor packed data are left"

    analysis = folder.result()
    assert set(analysis.structures.split) == {"training", "validation"}
    assert analysis.info.model["kind"] == "run" and analysis.info.model["id"] == run.id
    assert len(analysis.info.model["sha256"]) == 64 and analysis.info.model["epoch"] == 2
    assert folder.title == "Two kinds, best (epoch 2), on its own structures"
    made = (folder.result_path / "analysis.json").stat().st_mtime_ns
    again = workspace.request_analysis(ModelChoice(run=run.id))
    assert again.path == folder.path and again.state() == "done" and not workspace.queue.active()
    assert (folder.result_path / "analysis.json").stat().st_mtime_ns == made

    other = workspace.request_analysis(ModelChoice(run=run.id, which="last"))
    assert other.path != folder.path
    assert [entry.id for entry in workspace.analyses()] == [other.id, folder.id], "asked for last comes first"
    assert workspace.analysis(folder.id).path == folder.path
    workspace.cancel_analysis(other)
    assert other.state() == "cancelled" and not workspace.queue.active(), "one that waits ends at once"
    assert not other.weights_file.exists()
    workspace.delete_analysis(other.id)
    with pytest.raises(JobsError, match="There is no analysis"):
        workspace.analysis(other.id)
    (folder.result_path / "atoms.parquet").unlink()
    (folder.result_path / "analysis.json").write_text("{")
    assert workspace.request_analysis(ModelChoice(run=run.id)).state() == "queued", "a damaged answer is no answer"


def test_a_killed_worker_ends_with_a_sentence_and_a_cancelled_one_within_moments(
    workspace: Workspace, run: RunFolder
) -> None:
    folder = workspace.request_analysis(ModelChoice(run=run.id))
    supervisor = Supervisor(workspace, devices={"cpu": {}})
    step_until(supervisor, lambda: folder.state() == "running")
    (job,) = workspace.queue.active()
    assert job.process is not None and job.kind == "analyse"
    os.kill(job.process.pid, signal.SIGKILL)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert folder.state() == "failed" and "killed by SIGKILL" in (folder.error() or "")

    left = folder.path / ".result-half"
    left.mkdir()
    assert workspace.request_analysis(ModelChoice(run=run.id)).path == folder.path
    step_until(supervisor, lambda: folder.state() == "running")
    with pytest.raises(JobsError, match="Cancel it, then delete it"):
        workspace.delete_analysis(folder.id)
    workspace.cancel_analysis(folder)
    asked = time.monotonic()
    step_until(supervisor, lambda: not workspace.queue.active())
    assert folder.state() == "cancelled" and time.monotonic() - asked < 15
    assert not left.exists() and not folder.result_path.exists()


def test_a_worker_that_was_started_unseen_is_found_again(workspace: Workspace, run: RunFolder) -> None:
    folder = workspace.request_analysis(ModelChoice(run=run.id))
    (workspace.root / "queue.sqlite").unlink()
    for path in workspace.root.glob("queue.sqlite-*"):
        path.unlink()
    (workspace.root / "queue.json").unlink()
    supervisor = Supervisor(Workspace(workspace.root), devices={"cpu": {}}, command=lambda job, path: ["true"])
    step_until(supervisor, lambda: not folder.at_work())
    assert "ended without a word" in (folder.error() or ""), "it got its place in the queue, and a process"


def test_a_cancel_is_seen_between_two_batches(
    workspace: Workspace, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mace_app.tasks.analysis_job.INTERVAL_SECONDS", 0.0)
    monkeypatch.setitem(EDGES_AT_ONCE, "cpu", 1)
    folder = workspace.request_analysis(ModelChoice(run=run.id))
    seen = []
    write = AnalysisFolder.write_progress

    def watched(self: AnalysisFolder, progress: object) -> None:
        write(self, progress)  # type: ignore[arg-type]
        seen.append(self.progress())
        if (seen[-1].done or 0) >= 5 and seen[-1].phase == "predicting":
            self.cancel()

    monkeypatch.setattr(AnalysisFolder, "write_progress", watched)
    assert work_analysis(folder) == CANCELLED and folder.state() == "cancelled"
    assert [now.done for now in seen if now.phase == "predicting"] == [None, 1, 2, 3, 4, 5]
    assert [now.fraction for now in seen] == sorted(now.fraction for now in seen)
    assert seen[-1].total == 20 and (seen[-1].eta_seconds or 0) > 0
    assert not folder.result_path.exists() and not folder.data_path.exists()


def test_a_dataset_is_another_question_when_its_file_or_mapping_changes(
    workspace: Workspace, run: RunFolder, tmp_path: Path
) -> None:
    path = tmp_path / "other.xyz"
    added = dataset(workspace, path)
    choice = ModelChoice(run=run.id), DataChoice(dataset=added.id)
    first = done_here(workspace, workspace.request_analysis(*choice))
    analysis = first.result()
    assert set(analysis.structures.dataset) == {str(path)} and set(analysis.structures.split) == {""}
    assert len(analysis) == 5 and not np.isnan(analysis.labels["energy.forces"].reference).any()
    assert workspace.request_analysis(*choice).path == first.path and not workspace.queue.active()
    added.rename("A better name")
    assert workspace.request_analysis(*choice).path == first.path

    added.write_mapping({**MAPPING, "targets": {"energy": {**MAPPING["targets"]["energy"], "forces": False}}})  # type: ignore[dict-item]
    second = workspace.request_analysis(*choice)
    assert second.path != first.path
    with pytest.raises(JobsError, match="is being compared with a model"):
        workspace.delete_dataset(added.id)
    done_here(workspace, second)
    assert np.isnan(second.result().labels["energy.forces"].reference).all(), "predicted, but nothing to compare with"

    path.write_text("".join(frame(atoms) for atoms in waters(7, seed=9)))
    third = workspace.request_analysis(*choice)
    assert third.path not in (first.path, second.path)
    path.write_text("".join(frame(atoms) for atoms in waters(3, seed=9)))
    assert work_analysis(third) == FAILED and "has changed since" in (third.error() or "")


def test_targets_are_compared_by_name_or_as_chosen(workspace: Workspace, run: RunFolder, tmp_path: Path) -> None:
    added = dataset(workspace, tmp_path / "other.xyz")
    model = ModelChoice(run=run.id)
    energy = MAPPING["targets"]["energy"]  # type: ignore[index]
    added.write_mapping({**MAPPING, "targets": {"energy/pbe": {**energy, "key": "energy"}}})
    folder = done_here(workspace, workspace.request_analysis(model, DataChoice(added.id)))
    assert not np.isnan(folder.result().labels["energy"].reference).any(), "one energy on each side"
    added.write_mapping({**MAPPING, "targets": {"energy/pbe": energy, "energy/scan": energy}})
    with pytest.raises(JobsError, match="the model has `energy`, but the dataset Other waters has `energy/pbe`, `ener"):
        workspace.request_analysis(model, DataChoice(added.id))
    asked = workspace.request_analysis(model, DataChoice(added.id, {"energy": "energy/scan"}))
    assert asked.request().data["targets"]["energy"]["key"] == "energy"
    with pytest.raises(JobsError, match="no target `charge`"):
        workspace.request_analysis(model, DataChoice(added.id, {"charge": "energy/scan"}))
    (added.path / "mapping.json").unlink()
    with pytest.raises(JobsError, match="Map its keys"):
        workspace.request_analysis(model, DataChoice(added.id))


def test_a_damaged_dataset_is_a_sentence(workspace: Workspace, run: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "other.xyz"
    added = dataset(workspace, path)
    path.write_text(path.read_text().replace("O ", "O x", 1))
    folder = workspace.request_analysis(ModelChoice(run=run.id), DataChoice(dataset=added.id))
    assert work_analysis(folder) == FAILED
    assert str(path) in (folder.error() or "") and "frame 0" in (folder.error() or "")
    path.write_text("".join(frame(atoms) for atoms in waters(2, symbols="SH2")))
    folder = workspace.request_analysis(ModelChoice(run=run.id), DataChoice(dataset=added.id))
    assert work_analysis(folder) == FAILED
    assert " S" in (folder.error() or "") and "Traceback" not in (folder.error() or "")
    path.unlink()
    with pytest.raises(JobsError, match="is gone"):
        workspace.request_analysis(ModelChoice(run=run.id), DataChoice(dataset=added.id))


def test_packed_structures_of_the_run_are_built_again_where_they_were_deleted(
    workspace: Workspace, run: RunFolder
) -> None:
    first = done_here(workspace, workspace.request_analysis(ModelChoice(run=run.id))).result()
    shutil.rmtree(run.data_path)
    other = done_here(workspace, workspace.request_analysis(ModelChoice(run=run.id, which="last"))).result()
    np.testing.assert_array_equal(other.positions, first.positions)
    assert not run.data_path.exists(), "the run's own folder is not written into"
    splits = run.splits()
    assert splits is not None
    run.write_splits({**splits, "training": splits["validation"], "validation": splits["training"]})
    folder = workspace.request_analysis(ModelChoice(run=run.id))
    assert work_analysis(folder) == FAILED and "have changed since" in (folder.error() or "")


def test_further_training_while_an_analysis_waits_does_not_change_the_question(
    workspace: Workspace, run: RunFolder
) -> None:
    folder = workspace.request_analysis(ModelChoice(run=run.id))
    best = run.checkpoint_path("best")
    other = best.with_name("other")
    other.write_bytes(b"of a later epoch")
    os.replace(other, best)
    assert done_here(workspace, folder).result().info.model["epoch"] == 2
    with pytest.raises(JobsError, match="can't be read"):
        workspace.request_analysis(ModelChoice(run=run.id))


def test_an_exported_file_says_what_its_run_says_and_no_other_file_is_run(
    workspace: Workspace, run: RunFolder, tmp_path: Path
) -> None:
    before = done_here(workspace, workspace.request_analysis(ModelChoice(run=run.id))).result()
    folder = done_here(workspace, workspace.request_analysis(ModelChoice(file=run.model_file)))
    assert folder.path.parent == workspace.root / "analyses" and folder.id.startswith("file-splits-")
    analysis = folder.result()
    assert (analysis.info.model["kind"], analysis.info.model["epoch"]) == ("file", 2)
    for name, label in before.labels.items():
        np.testing.assert_allclose(analysis.labels[name].prediction, label.prediction, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(analysis.labels[name].reference, label.reference)
    np.testing.assert_array_equal(analysis.structures.map, before.structures.map)
    assert workspace.request_analysis(ModelChoice(file=run.model_file)).path == folder.path
    assert {entry.id for entry in workspace.analyses()} == {folder.id, *(p.name for p in run.path.glob("analyses/*"))}

    copied = tmp_path / "model.pt"
    shutil.copy(run.model_file, copied)
    with pytest.raises(JobsError, match="not in this workspace"):
        workspace.request_analysis(ModelChoice(file=copied))
    inside = workspace.root / "model.pt"
    shutil.copy(run.model_file, inside)
    with pytest.raises(JobsError, match="only those that were made and checked here are run"):
        workspace.request_analysis(ModelChoice(file=inside))
    waiting = workspace.request_analysis(ModelChoice(file=run.model_file), None)
    (waiting.result_path / "analysis.json").unlink()
    waiting = workspace.request_analysis(ModelChoice(file=run.model_file))
    run.model_file.write_bytes(run.model_file.read_bytes() + b"!")
    assert work_analysis(waiting) == FAILED and "has changed since it was exported" in (waiting.error() or "")
    with pytest.raises(JobsError, match="has changed since it was exported"):
        workspace.request_analysis(ModelChoice(file=run.model_file))


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (ModelChoice(), "Choose one model"),
        (ModelChoice(run="nothing"), "no run 'nothing'"),
        (ModelChoice(run="../x"), "no run"),
        (ModelChoice(foundation="nothing"), "no foundation model 'nothing'"),
    ],
)
def test_a_model_that_is_not_there_is_a_sentence(workspace: Workspace, choice: ModelChoice, sentence: str) -> None:
    with pytest.raises(JobsError, match=sentence):
        workspace.request_analysis(choice)
    assert workspace.analyses() == []
