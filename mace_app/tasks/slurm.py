"""A training as a SLURM job: a batch script to edit and hand in, or handed in at once through submitit. No torch."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mace_app.files import write_text
from mace_app.jobs import JobsError
from mace_app.jobs.names import display_name
from mace_app.options import load_options
from mace_app.tasks.launching import LAUNCHER, place_of

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
# So long before its time is over a job is asked to stop, save, and export the best epoch.
WARNING_SECONDS = 300


class SlurmError(JobsError):
    """What is wrong with the job, and what to do."""


@dataclass(frozen=True)
class SlurmJob:
    """``tasks`` processes on each of ``nodes`` machines, with a GPU each unless ``gpus`` is False; ``time`` as sbatch
    reads it, such as ``24:00:00`` or ``2-00:00:00``."""

    options: Path
    folder: Path
    nodes: int = 1
    tasks: int = 1
    gpus: bool = True
    cpus: int = 4
    time: str = "24:00:00"
    partition: str | None = None
    account: str | None = None

    def check(self) -> None:
        """OptionsError for options that are wrong, SlurmError where they don't fit the job."""
        options = load_options(self.options, check_files=True)
        if min(self.nodes, self.tasks, self.cpus) < 1:
            raise SlurmError("Machines, processes and cores of a job must be at least 1.")
        if self.nodes * self.tasks > 1 and not options.architecture.training.distributed:
            raise SlurmError(
                f"{self.options} trains in one process. For {self.nodes * self.tasks} write `distributed: true` under "
                "`architecture.training`, or ask for one."
            )

    @property
    def name(self) -> str:
        return display_name(self.folder.name, "mace")


def script(job: SlurmJob) -> str:
    """The text for ``sbatch``. Handed in again it continues the run."""
    given = {
        "job-name": shlex.quote(job.name),
        "nodes": job.nodes,
        "ntasks-per-node": job.tasks,
        "gpus-per-node": job.tasks if job.gpus else None,
        "cpus-per-task": job.cpus,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "signal": f"TERM@{WARNING_SECONDS}",
        "output": "%x-%j.out",
    }
    lines = [f"#SBATCH --{key}={value}" if value is not None else f"##SBATCH --{key}=" for key, value in given.items()]
    options, folder = (shlex.quote(str(path.absolute())) for path in (job.options, job.folder))
    return "\n".join(
        [
            "#!/bin/bash",
            "# Written by MACE Studio; edit what your cluster needs. Lines with ## are not read by sbatch.",
            *lines,
            "",
            "# Load modules or activate an environment here.",
            f"export PYTHONPATH={shlex.quote(str(PACKAGE_PARENT))}${{PYTHONPATH:+:$PYTHONPATH}}",
            "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
            "",
            f"run={folder}",
            'resume=""',
            'if [ -f "$run/run.json" ]; then resume="--resume"; fi',
            "# The processes find each other over the first machine of the job and `distributed_port` of the options.",
            f'srun {shlex.quote(sys.executable)} -m mace_app train {options} -o "$run" $resume',
            "",
        ]
    )


def write_script(job: SlurmJob, file: Path) -> None:
    job.check()
    write_text(file, script(job))


def submit(job: SlurmJob, cluster: str | None = None, logs: Path | None = None) -> Any:
    """Hand the job in through submitit, whose job is returned. ``cluster``: None for SLURM, ``local`` for processes of
    this machine. SlurmError where submitit is not installed or there is no SLURM here."""
    job.check()
    try:
        import submitit
    except ImportError:
        raise SlurmError(
            "Handing in a job from here needs the package submitit: `pip install submitit`. Without it, write the file "
            "and hand it in with `sbatch`."
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=logs or job.folder.parent / f"{job.folder.name}-slurm", cluster=cluster)
    except RuntimeError as error:
        raise SlurmError(f"There is no SLURM here ({error}). Run this on a login node.") from error
    given: dict[str, Any] = {"nodes": job.nodes, "tasks_per_node": job.tasks, "cpus_per_task": job.cpus}
    given |= {"timeout_min": _minutes(job.time), "name": job.name}
    if job.gpus:
        given["gpus_per_node"] = job.tasks
    for key, value in (("slurm_partition", job.partition), ("slurm_account", job.account)):
        if value is not None:
            given[key] = value
    executor.update_parameters(**given)
    return executor.submit(work_in_job, str(job.options.absolute()), str(job.folder.absolute()), cluster is None)


def work_in_job(options: str, folder: str, gpus: bool = True) -> int:
    """What submitit runs in every process of the job; its status. RuntimeError if the training failed."""
    from submitit import JobEnvironment

    task = JobEnvironment()
    if task.num_tasks > 1:
        port = load_options(options).architecture.training.distributed_port
        os.environ.update(
            RANK=str(task.global_rank),
            WORLD_SIZE=str(task.num_tasks),
            LOCAL_RANK=str(task.local_rank),
            MASTER_ADDR=str(task.hostnames[0]) if gpus else "127.0.0.1",
            MASTER_PORT=str(port),
        )
        os.environ[LAUNCHER] = "{}"  # these names are meant for us
    place = place_of(os.environ)
    if place is not None and place.rank > 0:
        from mace_app.tasks.group import follow

        status = follow(place, None)
    else:
        from mace_app.tasks.folders import continued_run, new_run
        from mace_app.tasks.terminal import Terminal
        from mace_app.tasks.train import train_run

        file, target = Path(options), Path(folder)
        if (target / "run.json").is_file():
            run = continued_run(file, target)
        else:
            run = new_run(load_options(file, check_files=True), target, file.stem)
        status = 0 if train_run(run, Terminal(), place=place) in ("finished", "stopped") else 2
    if status:
        raise RuntimeError(f"The training in {folder} ended with status {status}; its run.json says why.")
    return status


def _minutes(time: str) -> int:
    """Of ``minutes``, ``hours:minutes:seconds``, ``days-hours``, ``days-hours:minutes`` and the like."""
    days, dash, rest = time.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        if dash:
            hours, minutes, seconds = [*parts, 0, 0][:3]
            return int(days) * 1440 + hours * 60 + minutes + (seconds > 0)
        if len(parts) == 3:
            return parts[0] * 60 + parts[1] + (parts[2] > 0)
        return parts[0] + (len(parts) == 2 and parts[1] > 0)
    except ValueError:
        raise SlurmError(f"`{time}` is no time that sbatch reads. Write for example 24:00:00 or 2-00:00:00.") from None
