"""Run folders in every state, written through the same class that training writes them with."""

import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from mace_app.files import write_json
from mace_app.jobs import RunFolder, Workspace
from mace_app.jobs.checkpoint_files import KEY
from mace_app.jobs.processes import ProcessIdentity
from mace_app.options import parse_options

LABELS = ["energy", "energy.forces", "mtt::dipole"]
UNITS = {"energy": "eV/atom", "energy.forces": "eV/Å", "mtt::dipole": "e·Å"}
VALIDATION_STRUCTURES, ATOMS = 40, 9


def options_mapping(data: str = "ethanol.xyz", **training: object) -> dict[str, object]:
    return {
        "device": "cpu",
        "architecture": {
            "name": "experimental.mace",
            "atomic_types": [1, 6, 8],
            "model": {"hidden_irreps": "16x0e + 16x1o", "r_max": 4.0},
            "training": {"batch_size": 8, "num_epochs": 60, **training},
        },
        "training_set": {
            "systems": {"read_from": data, "length_unit": "angstrom"},
            "targets": {
                "energy": {"quantity": "energy", "unit": "eV", "forces": True, "stress": False},
                "mtt::dipole": {"unit": "e*Angstrom", "type": {"cartesian": {"rank": 1}}},
            },
        },
        "validation_set": 0.1,
        "test_set": 0.0,
    }


def make_run(space: Workspace, name: str, state: str, reason: str | None = None) -> RunFolder:
    """A run of this state without a process behind it; queued ones stay in the queue."""
    run = space.create_run(parse_options(options_mapping()), name)
    if state == "queued":
        return run
    space.queue.cancel(f"runs/{run.id}")
    started = datetime.now(UTC) - timedelta(minutes=3)
    run.update(
        lambda info: replace(
            info,
            state=state,  # type: ignore[arg-type]
            reason=reason,
            started=started.isoformat(timespec="seconds"),
            ended=None if state in ("running", "stopping") else datetime.now(UTC).isoformat(timespec="seconds"),
            device="cpu",
            parameters=123_456,
            data=[{"path": "/data/ethanol.xyz", "sha256": "0" * 64, "structures": 1000}],
        )
    )
    run.append_log("Reading ethanol.xyz")
    run.start_metrics(UNITS, LABELS)
    run.write_splits({"training": list(range(360)), "validation": list(range(600, 600 + VALIDATION_STRUCTURES))})
    return run


def pose_as_worker(run: RunFolder) -> None:
    """Make this process the one that trains, so that nobody takes the run for dead."""
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None
    run.update(**identity.to_json())


def pose_as_supervisor(space: Workspace) -> None:
    """Make this process the supervisor, so that pages start none and waiting runs wait."""
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None
    write_json(space.supervisor_file, identity.to_json())


def add_epochs(run: RunFolder, first: int, last: int, of: int = 60) -> None:
    """Append epochs, replace parity data and progress, as a training does."""
    random = np.random.default_rng(first)
    for epoch in range(first, last + 1):
        fall = math.exp(-epoch / 15) + 0.03
        noise = float(random.uniform(0.9, 1.1))
        record: dict[str, object] = {
            "epoch": epoch,
            "step": epoch * 45,
            "seconds": 2.0 + 0.2 * noise,
            "learning_rate": 0.01 * 0.8 ** (epoch // 20),
            "structures_per_second": 180.0 * noise,
            "train/loss": 1.2 * fall * noise,
            "validation/loss": 1.4 * fall / noise,
            "monitored": fall,
            "best": epoch > 0 and epoch != last,
        }
        for label, size in zip(LABELS, (0.02, 0.3, 0.05), strict=True):
            for split, factor in (("train", 0.9), ("validation", 1.0)):
                record[f"{split}/{label}/mae"] = size * fall * factor * noise
                record[f"{split}/{label}/rmse"] = 1.4 * size * fall * factor * noise
        for label, share in zip(LABELS, (0.2, 0.7, 0.1), strict=True):
            record[f"loss_share/{label}"] = share
        run.append_metrics(record)
        run.append_log(f"epoch {epoch} of {of}")
    write_parity(run, last, 0.3 * math.exp(-last / 15) + 0.01)
    run.write_progress(
        phase="training",
        message=f"epoch {last} of {of}",
        done=last,
        total=of,
        eta_seconds=2.2 * (of - last),
        epoch=last,
        epochs=of,
        step=12,
        steps=45,
        structures_per_second=178.2,
        memory_mb=812.0,
        best_epoch=max(1, last - 1),
    )


def write_parity(run: RunFolder, epoch: int, error: float) -> None:
    random = np.random.default_rng(3)
    structures = np.arange(VALIDATION_STRUCTURES)
    energy = random.normal(-154.0 / 9, 0.05, VALIDATION_STRUCTURES)
    rows = np.repeat(structures, ATOMS)
    forces = random.normal(0, 1.2, (len(rows), 3))
    dipole = random.normal(0, 0.3, (VALIDATION_STRUCTURES, 3, 1))
    run.write_parity(
        {
            "energy:reference": energy,
            "energy:prediction": energy + random.normal(0, 0.1 * error, energy.shape),
            "energy:structure": structures,
            "energy.forces:reference": forces,
            "energy.forces:prediction": forces + random.normal(0, error, forces.shape),
            "energy.forces:structure": rows,
            "energy.forces:atom": np.tile(np.arange(ATOMS), VALIDATION_STRUCTURES),
            "mtt::dipole:reference": dipole,
            "mtt::dipole:prediction": dipole + random.normal(0, 0.3 * error, dipole.shape),
            "mtt::dipole:structure": structures,
        },
        epoch,
    )


def finish(run: RunFolder, model: bytes = b"") -> None:
    """Report and, in place of an exported model, the given bytes."""
    run.write_progress(phase="done", message="", done=60, total=60, epoch=60, epochs=60, memory_mb=812.0)
    errors = {
        "energy": {"mae": 0.0011, "rmse": 0.0015, "max": 0.006, "r2": 0.9991, "count": 360, "unit": "eV/atom"},
        "energy.forces": {"mae": 0.021, "rmse": 0.031, "max": 0.31, "r2": 0.9982, "count": 9720, "unit": "eV/Å"},
        "mtt::dipole": {"mae": 0.004, "rmse": 0.006, "max": 0.02, "r2": 0.995, "count": 1080, "unit": "e·Å"},
    }
    run.write_report(
        {
            "best_epoch": 59,
            "splits": {"training": errors, "validation": errors},
            "export": {
                "file": "model.pt",
                "sha256": "0" * 64,
                "checks": [
                    {"label": "energy", "max_difference": 2.1e-7, "tolerance": 1e-4, "unit": "eV", "structures": 5},
                    {
                        "label": "energy.forces",
                        "max_difference": 3.0e-6,
                        "tolerance": 1e-4,
                        "unit": "eV/Å",
                        "structures": 5,
                    },
                ],
            },
        }
    )
    checkpoint = run.checkpoint_path("best")
    checkpoint.write_bytes(b"weights" * 1000)
    if model:
        run.model_file.write_bytes(model)


def write_last_checkpoint(run: RunFolder, epoch: int) -> None:
    """One without tensors, of the end of this epoch: enough to be asked how far the run came."""
    header = json.dumps({"__metadata__": {KEY: json.dumps({"epoch": epoch, "step": 0})}}).encode()
    run.checkpoint_path("last").write_bytes(len(header).to_bytes(8, "little") + header)


def full_workspace(root: Path) -> Workspace:
    """One run of every kind; names and reasons try to be more than text."""
    space = Workspace(root)
    pose_as_supervisor(space)
    finished = make_run(space, "ethanol, 32x0e + 32x1o", "finished")
    add_epochs(finished, 0, 60)
    finish(finished, bytes(range(256)) * 4096)
    failed = make_run(
        space,
        "<b>bold</b> *run* [link](http://example.org) $x$",
        "failed",
        "The loss became NaN in epoch 3, step 12: lower `learning_rate` (now 0.01) <script>alert(1)</script>.",
    )
    add_epochs(failed, 0, 3)
    stopped = make_run(space, "stopped early", "stopped", "Stopped by request after epoch 20.")
    add_epochs(stopped, 0, 20)
    finish(stopped, b"model" * 5000)
    make_run(space, "interrupted", "interrupted", "The training process ended without a word (killed).")
    running = make_run(space, "running now", "running")
    pose_as_worker(running)
    add_epochs(running, 0, 25)
    damaged = make_run(space, "damaged", "finished")
    damaged.run_file.write_text('{"format": 1, "id"')
    make_run(space, "waiting", "queued")
    return space
