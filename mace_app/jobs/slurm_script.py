"""The text of a SLURM job that trains."""

import hashlib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mace_app.jobs.errors import JobsError
from mace_app.jobs.names import display_name
from mace_app.options import RunOptions, dump_options, load_options, with_absolute_paths

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
# So long before its time is over a job is asked to stop, save, and export the best epoch.
WARNING_SECONDS = 300
END_OF_OPTIONS = "END_OF_OPTIONS"


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
        self.check_numbers()
        if self.nodes * self.tasks > 1 and not options.architecture.training.distributed:
            raise SlurmError(
                f"{self.options} trains in one process. For {self.nodes * self.tasks} write `distributed: true` under "
                "`architecture.training`, or ask for one."
            )

    def check_numbers(self) -> None:
        """SlurmError for what sbatch would refuse or misread."""
        if min(self.nodes, self.tasks, self.cpus) < 1:
            raise SlurmError("Machines, processes and cores of a job must be at least 1.")
        minutes(self.time)
        for what, word in (("a partition", self.partition), ("an account", self.account)):
            if word is not None and not re.fullmatch(r"[\w.,+-]+", word):
                raise SlurmError(f"`{word}` is no name of {what}: letters, digits and . , + - _ only.")

    @property
    def name(self) -> str:
        return display_name(self.folder.name, "mace")


def script(job: SlurmJob) -> str:
    """The text for ``sbatch``. Handed in again it continues the run."""
    options, folder = (shlex.quote(str(path.absolute())) for path in (job.options, job.folder))
    return _text(job, [f"options={options}", f"run={folder}"])


def script_with_options(job: SlurmJob, options: RunOptions) -> str:
    """One that carries its options: it writes them and the run folder where it is handed in, under the name of the
    job's folder and a checksum of the options. Paths to data become absolute; ``distributed`` is set for several
    processes.

    Raises SlurmError where the job can't be.
    """
    job.check_numbers()
    if job.nodes * job.tasks > 1:
        training = options.architecture.training.model_copy(update={"distributed": True})
        architecture = options.architecture.model_copy(update={"training": training})
        options = options.model_copy(update={"architecture": architecture})
    written = dump_options(with_absolute_paths(options))
    # Other options are another run, even under the same name in the same folder.
    name = f"{job.folder.name}-{hashlib.sha256(written.encode()).hexdigest()[:6]}"
    if END_OF_OPTIONS in written.splitlines():
        raise SlurmError(f"A line of the options is `{END_OF_OPTIONS}`, which ends them in the script.")
    here = '"${SLURM_SUBMIT_DIR:-$PWD}"'
    lines = [
        f"options={here}/{shlex.quote(name + '.yaml')}",
        f"run={here}/{shlex.quote(name)}",
        f"cat >\"$options\" <<'{END_OF_OPTIONS}' || exit 1",
        written.rstrip("\n"),
        END_OF_OPTIONS,
    ]
    return _text(job, lines)


def _text(job: SlurmJob, places: Sequence[str]) -> str:
    """``places`` are lines that set the variables ``options`` and ``run``."""
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
    return "\n".join(
        [
            "#!/bin/bash",
            "# Written by MACE Studio; edit what your cluster needs. Lines with ## are not read by sbatch.",
            *lines,
            "",
            "# Load modules or activate an environment here.",
            "# Where Python and MACE Studio are; change it, and the paths of data, if the cluster has them elsewhere.",
            f"python={shlex.quote(sys.executable)}",
            f"studio={shlex.quote(str(PACKAGE_PARENT))}",
            'export PYTHONPATH="$studio${PYTHONPATH:+:$PYTHONPATH}"',
            "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
            "",
            *places,
            'resume=""',
            'if [ -f "$run/run.json" ]; then resume="--resume"; fi',
            "# The processes find each other over the first machine of the job and `distributed_port` of the options.",
            'srun "$python" -m mace_app train "$options" -o "$run" $resume',
            "",
        ]
    )


def minutes(time: str) -> int:
    """A time of sbatch in minutes: ``minutes``, ``hours:minutes:seconds``, ``days-hours:minutes`` and the like."""
    days, dash, rest = time.rpartition("-")
    try:
        if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", time) or not re.search("[1-9]", time):
            raise ValueError
        parts = [int(part) for part in rest.split(":")]
        if dash:
            hours, minutes, seconds = [*parts, 0, 0][:3]
            return int(days) * 1440 + hours * 60 + minutes + (seconds > 0)
        if len(parts) == 3:
            return parts[0] * 60 + parts[1] + (parts[2] > 0)
        return parts[0] + (len(parts) == 2 and parts[1] > 0)
    except ValueError:
        raise SlurmError(f"`{time}` is no time that sbatch reads. Write for example 24:00:00 or 2-00:00:00.") from None
