"""A training as a SLURM job: a batch script in a file, or handed in at once through submitit. No torch."""

import os
from pathlib import Path
from typing import Any

from mace_app.files import write_text
from mace_app.jobs.slurm_script import SlurmError, SlurmJob, minutes, script
from mace_app.options import load_options
from mace_app.tasks.launching import LAUNCHER, place_of


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
    given |= {"timeout_min": minutes(job.time), "name": job.name}
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
