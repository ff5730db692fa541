"""A run folder from elsewhere is data: checked, copied, never followed, never executed."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mace_app.jobs import RunFolder, Workspace, WorkspaceError, run_import
from mace_app.jobs.data_roots import DATA_ROOTS_VARIABLE
from mace_app.options import dump_options, parse_options

OPTIONS = "seed: 3\ndevice: cpu\n"


@pytest.fixture
def elsewhere(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "elsewhere", OPTIONS, "From the cluster", seed=3)
    run.start_metrics({"energy": "eV/atom"}, ["energy"])
    for epoch in range(4):
        run.append_metrics({"epoch": epoch, "validation/energy/mae": 1.0})
    write_checkpoint(run.checkpoint_path("last"), 3)
    write_checkpoint(run.checkpoint_path("best"), 2)
    run.write_parity({f"energy:{part}": np.zeros(3) for part in ("reference", "prediction", "structure")}, 3)
    run.write_report({"best_epoch": 2, "splits": {}})
    run.append_log("Hello")
    run.update(best_epoch=2, versions={"torch": "2"}, data=[{"path": "/x", "sha256": "ab", "structures": 9}])
    run.set_state("finished")
    return run


def write_checkpoint(path: Path, epoch: int) -> None:
    save_file({"weights": np.arange(7.0)}, path, {"mace_studio": json.dumps({"epoch": epoch, "step": 0})})


def change(run: RunFolder, **values: Any) -> None:
    run.run_file.write_text(json.dumps({**json.loads(run.run_file.read_text()), **values}))


def test_a_run_comes_over_whole_under_a_name_of_its_own(workspace: Workspace, elsewhere: RunFolder) -> None:
    imported = workspace.import_run(elsewhere.path)
    run, info = imported.run, imported.run.info()
    assert imported.left_out == []
    assert run.path.parent == workspace.runs_path and run.id.endswith("-from-the-cluster") and info.id == run.id
    assert (info.state, info.name, info.seed, info.best_epoch) == ("finished", "From the cluster", 3, 2)
    assert (info.pid, info.command, info.versions) == (None, None, {"torch": "2"})
    assert info.imported == {"from": str(elsewhere.path), "id": elsewhere.id}
    assert len(run.metrics().epochs) == 4
    assert run.parity() is not None and run.report() is not None and run.last_epoch() == 3
    assert run.log_tail()[-1].endswith("Hello")
    assert workspace.queue.active() == []
    assert workspace.import_run(elsewhere.path, "Mine").run.info().name == "Mine"
    assert elsewhere.info().state == "finished", "what is imported stays as it is"


def test_a_run_that_was_at_work_elsewhere_can_be_resumed_here(workspace: Workspace, elsewhere: RunFolder) -> None:
    for state in ("running", "queued", "stopping"):
        change(elsewhere, state=state, pid=1, pid_started=1.0)
        run = workspace.import_run(elsewhere.path).run
        assert run.info().state == "interrupted"
        assert f"It was {state} when it was imported" in (run.info().reason or "")
        assert run.info().pid is None


def test_exported_models_are_programs_and_stay_behind(workspace: Workspace, elsewhere: RunFolder) -> None:
    for name in ("model.pt", "model.model"):
        (elsewhere.path / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    imported = workspace.import_run(elsewhere.path)
    assert not imported.run.model_file.exists() and not imported.run.native_file.exists()
    assert len(imported.left_out) == 2 and "an exported model is a program" in imported.left_out[0]


def test_links_pipes_and_foreign_files_stay_behind(workspace: Workspace, elsewhere: RunFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    for name in ("log.txt", "splits.json"):
        (elsewhere.path / name).unlink(missing_ok=True)
        (elsewhere.path / name).symlink_to(secret)
    (elsewhere.path / "output.txt").unlink(missing_ok=True)
    os.mkfifo(elsewhere.path / "output.txt")
    (elsewhere.path / "run.py").write_text("import os")
    (elsewhere.path / "checkpoints" / "evil.safetensors").write_text("x")
    shutil.rmtree(elsewhere.path / "parity")
    (tmp_path / "parity").mkdir()
    (tmp_path / "parity" / "validation.npz").write_bytes(b"x")
    (elsewhere.path / "parity").symlink_to(tmp_path / "parity")
    imported = workspace.import_run(elsewhere.path)
    names = {path.name for path in imported.run.path.rglob("*") if path.is_file()}
    assert names == {
        "options.yaml",
        "run.json",
        ".run.lock",
        "metrics.jsonl",
        "report.json",
        "last.safetensors",
        "best.safetensors",
    }
    for name in ("log.txt", "splits.json", "output.txt", "validation.npz"):
        assert any(sentence.startswith(name) for sentence in imported.left_out), name
    assert not any(
        "s3cret" in path.read_text(errors="ignore") for path in imported.run.path.rglob("*.*") if path.is_file()
    )


def damaged_checkpoints() -> dict[str, bytes]:
    def file(header: Any, body: bytes = b"") -> bytes:
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body

    own = {"__metadata__": {"mace_studio": '{"epoch": 3}'}}
    tensor = {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}
    return {
        "empty": b"",
        "a length beyond the file": (1 << 60).to_bytes(8, "little") + b"{}",
        "no header": (2).to_bytes(8, "little") + b"[]",
        "foreign": file({"w": tensor}, bytes(8)),
        "cut short": file({**own, "w": tensor}, bytes(7)),
        "too long": file({**own, "w": tensor}, bytes(9)),
        "overlapping": file({**own, "w": tensor, "v": tensor}, bytes(8)),
        "another size than its shape": file({**own, "w": {**tensor, "shape": [2]}}, bytes(8)),
        "negative": file({**own, "w": {**tensor, "shape": [-1]}}, bytes(8)),
        "unknown type": file({**own, "w": {**tensor, "dtype": "O"}}, bytes(8)),
        "deeply nested": (200_000).to_bytes(8, "little") + b"[" * 200_000,
        "no epoch": file({"__metadata__": {"mace_studio": "{}"}}),
        "a pickle": b"\x80\x04cposix\nsystem\n",
    }


@pytest.mark.parametrize("kind", damaged_checkpoints())
def test_what_is_no_checkpoint_stays_behind(workspace: Workspace, elsewhere: RunFolder, kind: str) -> None:
    elsewhere.checkpoint_path("last").write_bytes(damaged_checkpoints()[kind])
    imported = workspace.import_run(elsewhere.path)
    assert [sentence.split(" ")[0] for sentence in imported.left_out] == ["last.safetensors"]
    assert imported.run.last_epoch() is None
    assert imported.run.checkpoint_path("best").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.json", None, r"holds no run\.json"),
        ("run.json", b"{", "is damaged"),
        ("run.json", b"[" * 100_000, "is damaged"),
        ("run.json", b'{"format": 99}', "has format 99"),
        ("run.json", b'{"format": 1, "state": "happy", "id": "x", "name": "x", "created": "x"}', "unknown state"),
        ("options.yaml", None, r"holds no options\.yaml"),
        ("options.yaml", b"a: [", "not valid YAML"),
        ("options.yaml", b"!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("options.yaml", b"- 1", "holds no options"),
    ],
)
def test_a_folder_that_is_no_run_leaves_nothing_behind(
    workspace: Workspace, elsewhere: RunFolder, name: str, content: bytes | None, words: str
) -> None:
    path = elsewhere.path / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(WorkspaceError, match=words):
        workspace.import_run(elsewhere.path)
    assert list(workspace.runs_path.iterdir()) == []


def test_files_larger_than_a_run_writes_them_stay_behind(
    workspace: Workspace, elsewhere: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run_import.FILES, "metrics.jsonl", 100)
    with zipfile.ZipFile(elsewhere.parity_file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("energy:reference.npy", bytes(50_000_000))
    monkeypatch.setitem(run_import.FILES, "parity/validation.npz", 10_000_000)
    imported = workspace.import_run(elsewhere.path)
    assert any("metrics.jsonl was left out, because it is larger" in sentence for sentence in imported.left_out)
    assert any("validation.npz was left out" in sentence for sentence in imported.left_out)


def test_words_in_a_foreign_record_are_words(workspace: Workspace, elsewhere: RunFolder) -> None:
    change(
        elsewhere,
        name="<script>alert(1)</script>\n\x00",
        reason=7,
        note=["x"],
        tags="abc",
        versions=[1],
        data=[{"path": 1}, "x"],
        device={"a": 1},
        best_epoch="2",
        parameters=True,
        failure={"cause": "defect"},
        archived="yes",
        automatic="x",
    )
    info = workspace.import_run(elsewhere.path).run.info()
    assert info.name == "<script>alert(1)</script>"
    assert (info.reason, info.note, info.tags, info.versions, info.data) == ("7", "", [], {}, [])
    assert (info.device, info.best_epoch, info.parameters, info.failure, info.archived) == (
        None,
        None,
        None,
        None,
        False,
    )


def test_the_workspace_does_not_import_itself(workspace: Workspace, elsewhere: RunFolder, tmp_path: Path) -> None:
    own = workspace._create_run("seed: 1\n", "x", None, None)
    for path in (own.path, workspace.runs_path, workspace.root, tmp_path):
        with pytest.raises(WorkspaceError, match="belongs to this workspace already"):
            workspace.import_run(path)
    with pytest.raises(WorkspaceError, match="is no folder"):
        workspace.import_run(elsewhere.run_file)
    with pytest.raises(WorkspaceError, match=r"is no folder|cannot be used"):
        workspace.import_run("a\x00b")


def test_with_data_roots_only_runs_below_them_come_in_and_go_on(
    workspace: Workspace, elsewhere: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = tmp_path / "data"
    roots.mkdir()
    (tmp_path / "secret.xyz").write_text("1\nenergy=0.0\nH 0 0 0\n")
    monkeypatch.setenv(DATA_ROOTS_VARIABLE, str(roots))
    with pytest.raises(WorkspaceError, match="outside the folders"):
        workspace.import_run(elsewhere.path)
    assert workspace.runs() == []
    options = parse_options(
        {
            "training_set": {"systems": str(tmp_path / "secret.xyz"), "targets": {"energy": {"key": "energy"}}},
            "validation_set": 0.1,
            "test_set": 0.0,
            "architecture": {"name": "experimental.mace"},
        }
    )
    elsewhere.write_options(dump_options(options))
    change(elsewhere, state="stopped")
    shutil.move(elsewhere.path, roots / "run")
    run = workspace.import_run(roots / "run").run
    with pytest.raises(WorkspaceError, match=r"secret\.xyz lies outside the folders"):
        workspace.resume_run(run.id)
    assert workspace.queue.active() == [] and run.info().state == "stopped"


def test_what_a_run_started_from_comes_over_unless_it_is_damaged(workspace: Workspace, elsewhere: RunFolder) -> None:
    told = {"file": "a.model", "sha256": "ab", "title": None, "licence": "MIT", "heads": {"energy": "Default"}}
    elsewhere.write_foundation(told)
    assert workspace.import_run(elsewhere.path).run.foundation() == told
    elsewhere.write_foundation({"file": ["a.model"], "heads": ["Default"]})
    assert workspace.import_run(elsewhere.path).run.foundation() == {**dict.fromkeys(told), "heads": {}}
    (elsewhere.path / "foundation.json").write_text("[1]")
    imported = workspace.import_run(elsewhere.path)
    assert imported.left_out == ["foundation.json was left out, because it holds no JSON object."]
    assert imported.run.foundation() is None
