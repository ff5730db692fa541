import io
import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from mace_app.jobs import RunFolder, Workspace, WorkspaceError
from mace_app.options import OptionsError

OPTIONS = """
seed: 3
device: cpu
architecture: {name: experimental.mace, training: {num_epochs: 2}}
training_set: {systems: ethanol.xyz, targets: {energy: {key: energy, unit: eV}}}
validation_set: 0.1
"""
HOSTILE_NAMES = [
    "../outside",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b",
    "..\\..\\x",
    "\x00",
    "~root",
    "é" * 300,
    "-rf",
    "\n",
]


def everything_outside(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.iterdir() if path.name != "workspace"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_or_file_name_leads_out_of_the_workspace(workspace: Workspace, tmp_path: Path, name: str) -> None:
    dataset = workspace.add_dataset(name, io.BytesIO(b"3\n"), name)
    run = workspace._create_run("seed: 1\n", name, None, None)
    assert dataset.path.parent == workspace.datasets_path
    assert dataset.source_path.parent == dataset.path / "source"
    assert run.path.parent == workspace.runs_path
    assert dataset.name.isprintable()
    assert everything_outside(tmp_path) == []
    assert [item.id for item in workspace.datasets()] == [dataset.id]
    assert [item.id for item in workspace.runs()] == [run.id]


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "../datasets", "absent"])
def test_what_is_no_dataset_or_run_is_not_found_and_not_deleted(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    (tmp_path / "outside").mkdir()
    for look in (workspace.dataset, workspace.run, workspace.delete_run, workspace.delete_dataset, workspace.stop_run):
        with pytest.raises(WorkspaceError, match="There is no"):
            look(name)
    assert (tmp_path / "outside").is_dir()
    assert workspace.datasets_path.is_dir()


def test_names_readers_know_formats_by_are_kept(workspace: Workspace) -> None:
    for given, kept in (("OUTCAR", "OUTCAR"), ("C:\\data\\set 1.extxyz", "set_1.extxyz"), (".traj", "traj")):
        assert workspace.add_dataset("x", io.BytesIO(b"1"), given).source_path.name == kept


def test_an_upload_goes_to_disk_in_pieces(workspace: Workspace) -> None:
    class Upload(io.RawIOBase):
        left = 64 << 20

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= 4 << 20
            size = min(size, self.left)
            self.left -= size
            return b"x" * size

    seen: list[int] = []
    tracemalloc.start()
    dataset = workspace.add_dataset("big", Upload(), "big.xyz", progress=seen.append)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.source_path.stat().st_size == seen[-1] == 64 << 20
    assert peak < 16 << 20


def test_an_upload_that_breaks_off_leaves_nothing(workspace: Workspace) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("connection lost")

    with pytest.raises(WorkspaceError, match="connection lost"):
        workspace.add_dataset("x", Broken())  # type: ignore[arg-type]
    assert list(workspace.datasets_path.iterdir()) == []


def test_a_file_of_this_machine_is_not_copied_and_survives_the_dataset(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "ethanol.xyz"
    path.write_text("3\n")
    first = workspace.add_dataset("Ethanol", path)
    second = workspace.add_dataset("Ethanol", str(path))
    assert (first.id, second.id) == ("ethanol", "ethanol-2")
    assert first.source_path == path
    assert not first.info().uploaded
    workspace.delete_dataset("ethanol")
    assert path.exists()
    assert [item.id for item in workspace.datasets()] == ["ethanol-2"]
    path.unlink()
    with pytest.raises(WorkspaceError, match="is gone"):
        _ = second.source_path


def test_paths_that_hold_no_file_give_sentences(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="There is no file"):
        workspace.add_dataset("x", tmp_path / "absent.xyz")
    with pytest.raises(WorkspaceError, match="is not a file"):
        workspace.add_dataset("x", tmp_path)
    with pytest.raises(WorkspaceError, match="cannot be used"):
        workspace.add_dataset("x", "a\x00b")
    assert workspace.datasets() == []


def test_a_mapping_is_kept_and_a_damaged_one_gives_a_sentence(workspace: Workspace) -> None:
    dataset = workspace.add_dataset("x", io.BytesIO(b"1"))
    assert dataset.mapping() is None
    mapping = {"energy": {"key": "energy", "unit": "eV", "forces": {"key": "forces"}}}
    dataset.write_mapping(mapping)
    assert dataset.mapping() == mapping
    dataset.rename("  My\nset ")
    assert dataset.name == "My set"
    (dataset.path / "mapping.json").write_text("{")
    with pytest.raises(WorkspaceError, match=r"mapping\.json"):
        dataset.mapping()


def test_a_run_stores_complete_options_that_mean_the_same_from_every_folder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run = workspace.create_run(OPTIONS, "Ethanol, small")
    monkeypatch.chdir("/")
    options = run.options()
    assert options.training_datasets[0].systems.read_from == str(tmp_path / "ethanol.xyz")
    assert "num_epochs: 2" in run.options_text()
    assert "learning_rate" in run.options_text()
    info = run.info()
    assert (info.id, info.name, info.state, info.seed) == (run.id, "Ethanol, small", "queued", 3)
    assert run.id.endswith("-ethanol-small")
    assert [(job.folder, job.requested_device) for job in workspace.queue.active()] == [(f"runs/{run.id}", "cpu")]


def test_options_that_do_not_hold_make_no_run(workspace: Workspace) -> None:
    for text in ("", "a: [", "- 1", OPTIONS.replace("num_epochs: 2", "num_epoch: 2")):
        with pytest.raises(OptionsError):
            workspace.create_run(text, "x")
    assert workspace.runs() == []
    assert workspace.queue.active() == []


def test_runs_of_one_second_get_different_folders_and_are_listed_newest_first(workspace: Workspace) -> None:
    runs = [workspace._create_run("seed: 1\n", "same", None, None) for _ in range(5)]
    assert len({run.id for run in runs}) == 5
    assert all(run.info().id == run.id for run in runs)
    newest = RunFolder.create(workspace.runs_path / "29990101-000000-late", "seed: 1\n", "late")
    assert workspace.runs()[0].id == newest.id


def test_only_runs_that_are_over_are_deleted_and_damaged_ones_can_be(workspace: Workspace) -> None:
    run = workspace._create_run("seed: 1\n", "x", None, None)
    with pytest.raises(WorkspaceError, match="not over"):
        workspace.delete_run(run.id)
    workspace.stop_run(run.id)
    run.run_file.write_text("{")
    assert [item.id for item in workspace.runs()] == [run.id]
    workspace.delete_run(run.id)
    assert list(workspace.runs_path.iterdir()) == []


def test_a_waiting_run_stops_at_once_and_resumes_into_the_queue(workspace: Workspace) -> None:
    run = workspace._create_run("device: cuda:1\n", "x", "cuda:1", None)
    workspace.stop_run(run.id)
    assert run.info().state == "stopped"
    assert workspace.queue.active() == []
    with pytest.raises(WorkspaceError, match="already stopped"):
        workspace.stop_run(run.id)
    workspace.resume_run(run.id)
    assert run.info().state == "queued"
    assert workspace.queue.active()[0].requested_device == "cuda:1"
    with pytest.raises(WorkspaceError, match="can be resumed"):
        workspace.resume_run(run.id)


def test_a_waiting_run_whose_queue_was_lost_can_be_resumed_or_stopped(workspace: Workspace) -> None:
    runs = [workspace._create_run("seed: 1\n", name, None, None) for name in "ab"]
    for path in workspace.root.glob("queue.sqlite*"):
        path.unlink()
    again = Workspace(workspace.root)
    again.resume_run(runs[0].id)
    assert [job.folder for job in again.queue.active()] == [f"runs/{runs[0].id}"]
    again.stop_run(runs[1].id)
    assert runs[1].info().state == "stopped"


def test_a_dataset_an_unfinished_run_needs_is_not_deleted(workspace: Workspace) -> None:
    dataset = workspace.add_dataset("x", io.BytesIO(b"1"))
    run = workspace._create_run(f"training_set: {dataset.source_path}\n", "x", None, None)
    with pytest.raises(WorkspaceError, match="Stop the run first"):
        workspace.delete_dataset(dataset.id)
    workspace.stop_run(run.id)
    workspace.delete_dataset(dataset.id)


def test_the_workspace_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACE_APP_WORKSPACE", str(tmp_path / "mine"))
    assert Workspace().root == tmp_path / "mine"
    monkeypatch.delenv("MACE_APP_WORKSPACE")
    monkeypatch.chdir(tmp_path)
    assert Workspace().root == tmp_path / "workspace"
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be made"):
        Workspace(tmp_path / "file" / "x")


def test_a_folder_stays_valid_when_it_is_copied_elsewhere(workspace: Workspace, tmp_path: Path) -> None:
    dataset = workspace.add_dataset("x", io.BytesIO(b"1"), "a.xyz")
    run = workspace._create_run("seed: 1\n", "x", None, None)
    other = tmp_path / "other"
    shutil.copytree(workspace.root, other)
    shutil.rmtree(workspace.root)
    moved = Workspace(other)
    assert moved.dataset(dataset.id).source_path.read_text() == "1"
    assert moved.run(run.id).info().state == "queued"
    assert moved.queue.place(f"runs/{run.id}") == 1


def test_the_package_imports_in_a_moment_and_without_torch_or_streamlit() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import mace_app.jobs, mace_app.jobs.supervisor; "
        "import json; print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    seconds, modules = json.loads(answer.stdout)
    assert not {"torch", "streamlit", "mace", "e3nn", "numpy", "ase"} & set(modules)
    assert seconds < 1.0  # 0.06 s on an idle machine
