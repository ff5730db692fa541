"""A training as a SLURM job: the script, and submitit's executor for this machine."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from small_data import options, write_options, write_waters

from mace_app.__main__ import main
from mace_app.jobs import RunFolder
from mace_app.jobs.slurm_script import SlurmError, SlurmJob, minutes, script, script_with_options
from mace_app.options import load_options
from mace_app.tasks.slurm import submit

FAST = {"final_eval": False}
# An environment with nothing but this in PATH is one in which srun runs its command once.
SRUN = '#!/bin/bash\nexec "$@"\n'


@pytest.fixture
def file(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = write_waters(tmp_path / "data.xyz", 16)
    value = options(data, num_epochs=2, distributed=True, distributed_port=port) | FAST
    return write_options(tmp_path / "options.yaml", value)


def test_the_script_asks_for_what_was_asked_and_continues_when_it_is_handed_in_again(
    file, tmp_path, capsys, monkeypatch
):
    command = ["sbatch", str(file), "-o", str(tmp_path / "my run"), "--nodes", "2", "--tasks", "4", "--account", "x"]
    assert main([*command, "--cpus", "8", "--time", "2-00:00:00"]) == 0
    written = tmp_path / "my run.sbatch"
    assert str(written) in capsys.readouterr().out
    text = written.read_text()
    for line in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=8", "--time=2-00:00:00"):
        assert f"\n#SBATCH {line}\n" in text
    assert "\n##SBATCH --partition=\n" in text and "\n#SBATCH --account=x\n" in text
    subprocess.run(["bash", "-n", str(written)], check=True)

    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for word in ("Finished.", "Resumed after epoch 2."):
        done = subprocess.run(["bash", str(written)], capture_output=True, text=True)
        assert done.returncode == 0 and word in done.stderr, done.stderr
    assert RunFolder(tmp_path / "my run").info().state == "finished"


def test_submitit_starts_two_processes_that_train_together(file, tmp_path):
    job = submit(SlurmJob(file, tmp_path / "run", tasks=2, gpus=False, cpus=1), cluster="local")
    try:
        assert job.results() == [0, 0]
    finally:
        job.cancel()
    run = RunFolder(tmp_path / "run")
    assert run.info().state == "finished" and "The training has 2 processes." in run.log_file.read_text()


def test_what_is_wrong_is_said_before_anything_is_handed_in(file, tmp_path, monkeypatch, capsys):
    alone = write_options(tmp_path / "alone.yaml", options(tmp_path / "data.xyz"))
    assert main(["sbatch", str(alone), "-o", str(tmp_path / "run"), "--tasks", "2"]) == 2
    assert "distributed: true" in capsys.readouterr().err
    with pytest.raises(SlurmError, match="at least 1"):
        submit(SlurmJob(file, tmp_path / "run", nodes=0))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SlurmError, match="no SLURM here"):
        submit(SlurmJob(file, tmp_path / "run"), cluster="slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SlurmError, match="pip install submitit"):
        submit(SlurmJob(file, tmp_path / "run"))


def test_times_are_read_as_sbatch_reads_them():
    found = [minutes(time) for time in ("90", "90:30", "1:30:00", "1-0", "2-12:30", "1-00:00:01")]
    assert found == [90, 91, 90, 1440, 3630, 1441]
    with pytest.raises(SlurmError, match="no time that sbatch reads"):
        minutes("tomorrow")


def test_a_script_for_one_process_without_gpu_asks_for_none():
    text = script(SlurmJob(Path("o.yaml"), Path("run"), gpus=False))
    assert "\n##SBATCH --gpus-per-node=\n" in text and "--ntasks-per-node=1" in text


def test_a_script_that_carries_its_options_trains_where_it_is_handed_in(file, tmp_path, monkeypatch):
    """Two processes are asked for, so `distributed` is set; srun starts one of them here, which waits for no other."""
    wanted = load_options(file)
    job = SlurmJob(Path("water.yaml"), Path("water run"), tasks=2, gpus=False)
    text = script_with_options(job, wanted)
    assert "\n#SBATCH --ntasks-per-node=2\n" in text
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "job.sbatch").write_text(text)
    place = tmp_path / "on the cluster"
    place.mkdir()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(place))
    done = subprocess.run(["bash", str(tmp_path / "job.sbatch")], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "Finished." in done.stderr, done.stderr
    (file,) = place.glob("*.yaml")
    assert file.stem.startswith("water run-")
    written = load_options(file)
    assert written.architecture.training.distributed
    assert written.training_datasets[0].systems.read_from == str(tmp_path / "data.xyz")
    assert RunFolder(place / file.stem).info().state == "finished"
    other = script_with_options(job, wanted.model_copy(update={"seed": 5}))
    assert f"{file.stem}.yaml" not in other, "other options are another run"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": "24:00:00\n#SBATCH --reboot"}, "no time that sbatch reads"),
        ({"partition": "gpu\n#SBATCH"}, "no name of a partition"),
        ({"account": "a b"}, "no name of an account"),
        ({"cpus": 0}, "at least 1"),
        ({"time": "1:2:3:4"}, "no time that sbatch reads"),
        ({"time": "0"}, "no time that sbatch reads"),
    ],
)
def test_what_would_write_another_line_is_refused(file, change, words):
    with pytest.raises(SlurmError, match=words):
        script_with_options(SlurmJob(Path("o.yaml"), Path("run"), **change), load_options(file))
