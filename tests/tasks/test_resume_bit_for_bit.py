"""A run that was killed and resumed ends with the bits of one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_data import options, write_options, write_waters

from mace_app.__main__ import main
from mace_app.jobs import RunFolder

REPOSITORY = Path(__file__).resolve().parents[2]


def killed_in_mid_epoch(command: list[str], folder: Path, epoch: int) -> None:
    """Start a training and kill it between two steps of ``epoch`` or a later one."""
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            assert process.poll() is None, "the training ended before it could be killed"
            progress = RunFolder(folder).progress() if (folder / "progress.json").exists() else None
            if progress is not None and (progress.epoch or 0) >= epoch and 0 < (progress.step or 0) < progress.steps:
                os.kill(process.pid, signal.SIGKILL)
                return
            time.sleep(0.01)
        pytest.fail(f"epoch {epoch} was not reached in time")
    finally:
        process.kill()
        process.wait()


def same_bits(first: Path, second: Path) -> None:
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if not name.startswith("rng/"):
            assert torch.equal(tensor, two[name]), name


def test_killing_and_resuming_gives_the_weights_of_an_uninterrupted_run(tmp_path, capsys):
    data = write_waters(tmp_path / "data.xyz", 40)
    value = options(data, num_epochs=5, batch_size=1) | {"final_eval": False}
    file = write_options(tmp_path / "options.yaml", value)
    alone, resumed = tmp_path / "alone", tmp_path / "resumed"

    command = [sys.executable, "-m", "mace_app", "train", str(file), "-o", str(resumed), "--threads", "1"]
    killed_in_mid_epoch(command, resumed, epoch=2)
    interrupted = json.loads((resumed / "run.json").read_text())
    assert interrupted["state"] == "running"  # it had no time to say anything
    again = subprocess.run([*command, "--resume"], cwd=REPOSITORY, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "Resumed after epoch" in again.stderr

    assert main(["train", str(file), "-o", str(alone), "--threads", "1"]) == 0, capsys.readouterr().err
    for kind in ("last", "best"):
        same_bits(alone / "checkpoints" / f"{kind}.safetensors", resumed / "checkpoints" / f"{kind}.safetensors")
    assert RunFolder(resumed).info().state == "finished"
    ours, theirs = (RunFolder(folder).metrics().epochs for folder in (alone, resumed))
    assert [record["epoch"] for record in ours] == list(range(6))
    for one, two in zip(ours, theirs, strict=True):
        for key in one.keys() - {"seconds", "structures_per_second"}:
            assert one[key] == two[key], key
