"""The folder of a foundation model, its job and its worker: real processes under the real supervisor."""

import hashlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write
from file_server import Server
from mace_files import TWO_HEADS, build, save
from metatomic_ase import MetatomicCalculator

from mace_app.jobs import FoundationFolder, FoundationProgress, Workspace, WorkspaceError
from mace_app.jobs.queue import Job
from mace_app.jobs.supervisor import Supervisor, worker_command

HERE = Path(__file__).resolve().parent


def step_until(supervisor: Supervisor, condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was awaited did not come"
        supervisor.step()
        time.sleep(0.05)


def worked(workspace: Workspace, folder: FoundationFolder, server: Server | None = None) -> list[FoundationProgress]:
    """Start what was requested, wait for its end, and give what could be seen of it meanwhile."""

    def redirected(job: Job, path: Path) -> list[str]:
        assert server is not None
        return [sys.executable, str(HERE / "redirected_worker.py"), server.root, str(path)]

    supervisor = Supervisor(workspace, devices={"cpu": {}}, command=redirected if server else worker_command)
    workspace.start_foundation(folder)
    seen: list[FoundationProgress] = []

    def over() -> bool:
        now = folder.progress()
        if not seen or now != seen[-1]:
            seen.append(now)
        return not workspace.queue.active()

    step_until(supervisor, over)
    return seen


def test_an_upload_with_one_head_is_read_and_exported_at_once(workspace: Workspace, small_file: Path) -> None:
    content = small_file.read_bytes()
    folder = workspace.add_foundation("My model", io.BytesIO(content), "../My model.model")
    assert (folder.state(), folder.facts(), folder.exports()) == ("new", None, [])
    seen = worked(workspace, folder)
    assert (folder.state(), folder.error()) == ("done", None), folder.output_file.read_text()

    facts, sha256 = folder.facts(), hashlib.sha256(content).hexdigest()
    assert facts is not None and folder.info().sha256 == facts["sha256"] == sha256
    assert (facts["file"], facts["bytes"], facts["elements"]) == ("My_model.model", len(content), ["H", "C", "O"])
    assert (facts["layer_irreps"], facts["feature_kinds"]) == (["4x0e + 4x1o", "4x0e"], ["0e", "1o"])

    (export,) = folder.exports()
    assert (export.head, export.name, export.refused) == ("Default", "My_model.pt", None)
    assert export.path is not None
    assert export.report["sha256"] == hashlib.sha256(export.path.read_bytes()).hexdigest()
    assert export.report["precision"] == "float64" and export.report["source_sha256"] == sha256
    assert {"energy", "energy.forces", "energy.stress"} <= {check["label"] for check in export.report["checks"]}
    table = {row["formula"]: row["differences"] for row in export.report["structures"]}
    assert 0 <= table["H2O"]["energy"] < 1e-9 and "energy.stress" not in table["H2O"]
    atoms = Atoms("H2O", positions=[[0, 0, 0], [0, 0, 1], [0, 1, 0]], calculator=MetatomicCalculator(export.path))
    assert atoms.get_potential_energy() < 0

    assert [now.fraction for now in seen[:-1]] == sorted(now.fraction for now in seen[:-1])
    assert {"waiting", "reading", "comparing"} <= {now.phase for now in seen}
    assert all(later.updated - now.updated > 0.3 for now, later in pairwise(seen[1:-1]))
    assert not (folder.path / "progress.json").exists()


def test_of_several_heads_those_that_were_chosen_are_exported_and_compared_on_the_users_structures(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = save(build(**TWO_HEADS), tmp_path / "two.model")
    folder = workspace.add_foundation("", path)
    assert folder.name == "two"
    worked(workspace, folder)
    assert (folder.state(), folder.exports()) == ("done", []), "a person has to choose first"
    with pytest.raises(WorkspaceError, match="no head `pbe`; it has `dft`, `ccsd`"):
        folder.request_export(["pbe"])

    own = folder.store(io.BytesIO(b""), "own.xyz", below="structures")
    write(own, Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.1]]))
    folder.request_export(["ccsd", "dft"], own, "float32")
    worked(workspace, folder)
    assert folder.state() == "done", folder.error()
    exports = folder.exports()
    assert [(e.head, e.name) for e in exports] == [("dft", "two-dft.pt"), ("ccsd", "two-ccsd.pt")]
    for export in exports:
        assert export.report["structures"][-1]["source"] == "own.xyz, structure 0"
        assert export.report["precision"] == "float32"
        assert export.path is not None and MetatomicCalculator(export.path)._dtype is not None

    path.write_bytes(save(build(seed=4), tmp_path / "other.model").read_bytes())
    folder.request_export([])
    worked(workspace, folder)
    facts = folder.facts()
    assert facts is not None and facts["heads"] == ["Default"]
    assert folder.exports() == [], "exports of another content are gone"


def test_what_goes_wrong_is_one_sentence_and_the_job_can_be_repeated(workspace: Workspace, small_file: Path) -> None:
    folder = workspace.add_foundation("Half", io.BytesIO(small_file.read_bytes()[:1000]), "half.model")
    worked(workspace, folder)
    assert folder.state() == "failed" and folder.facts() is None
    assert "`half.model` is cut off or damaged" in (folder.error() or "")
    folder.source_path.write_bytes(small_file.read_bytes())
    own = folder.store(io.BytesIO(b""), "own.xyz", below="structures")
    write(own, Atoms("Fe"))
    folder.request_export(None, own)
    worked(workspace, folder)
    assert folder.state() == "failed" and folder.facts() is not None, "the file is known, the structures don't fit"
    assert "does not know Fe" in (folder.error() or "")
    folder.source_path.unlink()
    worked(workspace, folder)
    assert "is gone" in (folder.error() or "")


def test_a_job_is_cancelled_within_moments_while_it_compares(workspace: Workspace, small_file: Path) -> None:
    folder = workspace.add_foundation("Small", small_file)
    supervisor = Supervisor(workspace, devices={"cpu": {}})
    workspace.start_foundation(folder)
    with pytest.raises(WorkspaceError, match="is being worked on"):
        workspace.start_foundation(folder)
    with pytest.raises(WorkspaceError, match="Cancel that, then delete it"):
        workspace.delete_foundation(folder.id)
    step_until(supervisor, lambda: folder.progress().phase == "comparing")
    workspace.cancel_foundation(folder)
    asked = time.monotonic()
    step_until(supervisor, lambda: not workspace.queue.active())
    assert time.monotonic() - asked < 10
    assert (folder.state(), folder.error(), folder.exports()) == ("cancelled", None, [])
    assert not list(folder.path.glob("exports/*/.*")), "nothing half written is left"
    workspace.delete_foundation(folder.id)
    assert small_file.exists() and workspace.foundations() == []


def test_a_waiting_job_is_cancelled_at_once(workspace: Workspace, small_file: Path) -> None:
    folder = workspace.add_foundation("Small", small_file)
    workspace.start_foundation(folder)
    assert folder.state() == "queued"
    workspace.cancel_foundation(folder)
    assert folder.state() == "cancelled" and not workspace.queue.active()


def test_a_killed_worker_is_noticed_and_said(workspace: Workspace, small_file: Path) -> None:
    folder = workspace.add_foundation("Small", small_file)
    supervisor = Supervisor(workspace, devices={"cpu": {}})
    workspace.start_foundation(folder)
    step_until(supervisor, lambda: folder.state() == "running")
    (job,) = workspace.queue.active()
    assert job.process is not None
    os.kill(job.process.pid, signal.SIGKILL)
    step_until(supervisor, lambda: not workspace.queue.active())
    assert folder.state() == "failed"
    assert "ended without a word (killed by SIGKILL" in (folder.error() or "")


def test_a_published_file_is_fetched_by_the_job(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"no commercial use.* Accept the licence"):
        workspace.add_published("mh-1")
    with pytest.raises(WorkspaceError, match="no published model 'polar-1-s'"):
        workspace.add_published("polar-1-s")
    folder = workspace.add_published("mh-1", licence_accepted=True)
    info = folder.info()
    assert (info.name, info.path, info.original) == ("MACE-MH-1", None, "mace-mh-1.model")
    assert info.licence_accepted is not None and "ASL" in info.licence_accepted["licence"]
    with pytest.raises(WorkspaceError, match="not been downloaded yet"):
        _ = folder.source_path

    server.behaviour = "slow"
    supervisor = Supervisor(
        workspace,
        devices={"cpu": {}},
        command=lambda job, path: [sys.executable, str(HERE / "redirected_worker.py"), server.root, str(path)],
    )
    workspace.start_foundation(folder)
    step_until(supervisor, lambda: (folder.progress().done or 0) > 0)
    now = folder.progress()
    assert (now.phase, now.done, now.total) == ("downloading", 1000, len(server.content))
    assert now.eta_seconds is not None
    workspace.cancel_foundation(folder)
    asked = time.monotonic()
    step_until(supervisor, lambda: not workspace.queue.active())
    assert time.monotonic() - asked < 10 and folder.state() == "cancelled"
    assert [path.name for path in (tmp_path / "cache" / "mace").iterdir()] == [".mh-1.lock"]

    server.behaviour = "file"
    folder.request_export([])
    worked(workspace, folder, server)
    assert folder.state() == "done", folder.error()
    facts = folder.facts()
    assert facts is not None and (facts["title"], facts["file"]) == ("MACE-MH-1", "mace-mh-1.model")
    assert folder.source_path.parent == tmp_path / "cache" / "mace"
    assert folder.info().sha256 == hashlib.sha256(server.content).hexdigest()
    assert folder.info().licence_accepted == info.licence_accepted


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "", "\x00", "é" * 300])
def test_no_name_leads_out_of_the_workspace(workspace: Workspace, name: str) -> None:
    folder = workspace.add_foundation(name, io.BytesIO(b"PK"), name)
    assert folder.path.parent == workspace.foundations_path
    assert folder.source_path.parent == folder.path / "source"
    workspace.rename_foundation(folder.id, name)
    assert folder.name.isprintable() and folder.name
    for look in (workspace.foundation, workspace.delete_foundation):
        with pytest.raises(WorkspaceError, match="There is no foundation model"):
            look(name)


@pytest.mark.parametrize("file", ["source.json", "state.json", "facts.json", "progress.json"])
@pytest.mark.parametrize("content", ["{", "[]", '{"state": "?", "phase": "?"}'])
def test_a_damaged_folder_gives_a_sentence(workspace: Workspace, file: str, content: str) -> None:
    folder = workspace.add_foundation("Small", io.BytesIO(b"PK"), "small.model")
    (folder.path / file).write_text(content)
    look = {
        "source.json": folder.info,
        "state.json": folder.state,
        "facts.json": folder.facts,
        "progress.json": folder.progress,
    }[file]
    if file == "facts.json" and content.startswith('{"'):
        return
    with pytest.raises(WorkspaceError, match=file):
        look()
