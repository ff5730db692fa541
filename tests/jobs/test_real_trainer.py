"""The supervisor with the worker that people use: everything real, only small."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from real_processes import processes_naming, wait_until

from mace_app.jobs import RunFolder, Workspace
from mace_app.jobs.supervisor import Supervisor

SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "samples" / "ethanol.xyz"
OPTIONS = """
seed: 1
device: cpu
architecture:
  name: experimental.mace
  model: {{r_max: 3.0, hidden_irreps: 4x0e + 4x1o, correlation: 2, max_ell: 2, num_radial_basis: 4, radial_MLP: [8]}}
  training: {{num_epochs: {epochs}, batch_size: 8, checkpoint_interval: 1}}
training_set:
  systems: {path}
  targets: {{energy: {{key: REF_energy, unit: eV, forces: {{key: REF_forces}}}}}}
validation_set: 0.1
"""


@pytest.fixture
def supervisor(workspace: Workspace) -> Iterator[Supervisor]:
    yield Supervisor(workspace, devices={"cpu": {}})
    for worker in processes_naming(workspace.root):
        worker.kill()


def begin(workspace: Workspace, epochs: int) -> RunFolder:
    return workspace.create_run(OPTIONS.format(path=SAMPLE, epochs=epochs), "Ethanol")


def step_until(supervisor: Supervisor, run: RunFolder, condition: str, epochs: int = 0) -> None:
    def reached() -> bool:
        supervisor.step()
        info = run.info()
        assert info.state != "failed", info.reason
        return info.state == condition or (condition == "epochs" and len(run.read_metrics().epochs) > epochs)

    wait_until(reached, 240, condition)


def reaped(supervisor: Supervisor) -> bool:
    supervisor.step()
    return not supervisor._children


@pytest.mark.slow
def test_a_real_training_survives_the_supervisor_is_killed_resumed_and_ends_with_a_model(
    workspace: Workspace, supervisor: Supervisor
) -> None:
    run = begin(workspace, epochs=6)
    step_until(supervisor, run, "epochs", epochs=1)
    second = Supervisor(workspace, devices={"cpu": {}})  # knows no child: it adopts the worker
    os.kill(run.info().pid or 0, signal.SIGKILL)
    step_until(second, run, "interrupted")
    wait_until(lambda: reaped(supervisor), 60, "the first worker's end")
    assert f"Resume continues from epoch {run.last_epoch()}." in (run.info().reason or "")
    workspace.resume_run(run.id)
    step_until(second, run, "finished")
    wait_until(lambda: not second.step(), 60, "the worker's end")
    history = run.metrics()
    assert history.epochs[-1]["epoch"] == 6
    assert history.units["energy.forces"] == "eV/Å"
    assert run.report() is not None
    assert {"model.pt", "report.json", "checkpoints/best.safetensors"} <= {item.name for item in run.downloads()}
    parity = run.parity()
    assert parity is not None
    assert np.isfinite(parity.labels["energy.forces"].prediction).all()


@pytest.mark.slow
def test_a_real_training_that_is_asked_to_stop_leaves_the_best_model(
    workspace: Workspace, supervisor: Supervisor
) -> None:
    run = begin(workspace, epochs=5000)
    step_until(supervisor, run, "epochs", epochs=2)
    workspace.stop_run(run.id)
    step_until(supervisor, run, "stopped")
    wait_until(lambda: not supervisor.step(), 60, "the worker's end")
    assert run.model_file.exists()
    assert "exported" in (run.info().reason or "")


@pytest.mark.slow
def test_a_training_in_two_processes_is_stopped_by_a_page_and_killed_without_leaving_any(
    workspace: Workspace, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACE_APP_PROCESSES", "2")
    text = OPTIONS.format(path=SAMPLE, epochs=50_000).replace("batch_size: 8", "batch_size: 8, distributed: true")
    run = workspace.create_run(text, "Two")
    step_until(supervisor, run, "epochs", epochs=1)
    assert len(processes_naming(workspace.root)) >= 4  # the launcher, torchrun, and two
    os.kill(run.info().pid or 0, signal.SIGKILL)
    step_until(supervisor, run, "interrupted")
    wait_until(lambda: not processes_naming(workspace.root), 15, "the end of all processes")
    before = len(run.read_metrics().epochs)
    workspace.resume_run(run.id)
    step_until(supervisor, run, "epochs", epochs=before + 1)
    workspace.stop_run(run.id)
    step_until(supervisor, run, "stopped")
    assert run.model_file.exists() and "The training has 2 processes." in run.log_file.read_text()
    wait_until(lambda: reaped(supervisor), 60, "the worker's end")
    wait_until(lambda: not processes_naming(workspace.root), 15, "the end of all processes")
