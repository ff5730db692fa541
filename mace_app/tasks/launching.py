"""Starting the processes of one training: through torchrun on one machine, or found in what srun started. No torch."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from mace_app.jobs import Failure, RunFolder
from mace_app.jobs.devices import detect_devices
from mace_app.jobs.processes import ProcessIdentity, python_command
from mace_app.jobs.run_state import FINAL_STATES
from mace_app.options import RunOptions

COUNT = "MACE_APP_PROCESSES"
LAUNCHER = "MACE_APP_LAUNCHER"
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is; ``local`` counts those of one machine, ``launcher`` lives as long as they
    may, ``command`` is what a person or the supervisor started."""

    rank: int
    size: int
    local: int
    launcher: ProcessIdentity | None = None
    command: list[str] | None = None


def place_of(environment: Mapping[str, str], port: int = 0) -> Place | None:
    """What torchrun or srun say; None for a process that is alone. For srun's the variables that torch needs are set in
    ``os.environ``: the first machine of the job and ``port``."""
    launched = environment.get(LAUNCHER)
    # torchrun names all three; a program that merely runs inside of another one's group must not join it.
    if "RANK" in environment and "MASTER_ADDR" in environment and (launched or "TORCHELASTIC_RUN_ID" in environment):
        known = json.loads(launched) if launched else {}
        return Place(
            int(environment["RANK"]),
            int(environment["WORLD_SIZE"]),
            int(environment["LOCAL_RANK"]),
            ProcessIdentity.from_json(known),
            known.get("command"),
        )
    size = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))  # in a batch script itself there is no step
    if size < 2 or "SLURM_PROCID" not in environment:
        return None
    rank = int(environment["SLURM_PROCID"])
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "localhost")
    os.environ.setdefault("MASTER_ADDR", first_node(nodes))
    os.environ.setdefault("MASTER_PORT", str(port))
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=environment.get("SLURM_LOCALID", "0"))
    return Place(rank, size, int(environment.get("SLURM_LOCALID", "0")))


def first_node(nodes: str) -> str:
    """The first name of SLURM's short form, such as ``gpu[03-07,9],login``."""
    head, bracket, rest = nodes.partition("[")
    if not bracket or "," in head:
        return nodes.split(",")[0]
    numbers, _, tail = rest.partition("]")
    return head + numbers.split(",")[0].split("-")[0] + tail.split(",")[0]


def local_processes(options: RunOptions, environment: Mapping[str, str]) -> int:
    """How many processes this machine shall train with: one for each GPU, or as MACE_APP_PROCESSES says."""
    if not options.architecture.training.distributed:
        return 1
    if environment.get(COUNT, "").isdecimal():
        return max(1, int(environment[COUNT]))
    if options.device == "cpu":
        return 1
    return max(1, sum(device.startswith("cuda") for device in detect_devices()))


def launch(
    run: RunFolder, options: RunOptions, count: int, command: Sequence[str], threads: int | None, quiet: bool
) -> bool:
    """Train in ``count`` processes and wait for their end; whether the run ended well.

    SIGTERM and the first Ctrl-C ask for a stop that keeps the best epoch, a second Ctrl-C ends everything. If this
    process is killed, the others notice and end too.
    """
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None
    variables = {**os.environ, LAUNCHER: json.dumps({**identity.to_json(), "command": list(command)})}
    if threads is None:
        variables.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    paths = [str(Path(__file__).resolve().parents[2]), variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    training = options.architecture.training
    where = ["--standalone"]
    if training.changed("distributed_port"):
        where = ["--nnodes=1", "--master-addr=127.0.0.1", f"--master-port={training.distributed_port}"]
    member = ["-m", "mace_app", "work", str(run.path), *(() if quiet else ("--aloud",))]
    if threads is not None:
        member += ["--threads", str(threads)]
    started = python_command("-m", "torch.distributed.run", *where, f"--nproc-per-node={count}", *member)
    # In a session of its own, so that the keyboard's Ctrl-C and signals to our group reach us alone.
    child = subprocess.Popen(started, env=variables, start_new_session=True)

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(OSError):
            run.request_stop("best")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        child.wait()
    except KeyboardInterrupt:
        run.set_state("interrupted", "Interrupted at the keyboard. Resume continues from the last checkpoint.")
        raise
    finally:
        _end(child)
        for number, handler in before.items():
            signal.signal(number, handler)
    info = run.info()
    if info.state not in FINAL_STATES:
        reason = "A process of the training ended without a word. Resume continues from the last checkpoint."
        run.conclude("interrupted", reason, info.process, Failure("killed"))
    return run.info().state in ("finished", "stopped")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """torchrun ends its processes when it is asked to end; they notice our end themselves."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def end_with(launcher: ProcessIdentity | None) -> None:
    """From now on this process ends at once when ``launcher`` does: torchrun puts each into a session of its own, where
    no signal to the launcher's group reaches it."""
    if launcher is None:
        return
    # torchrun ends all when one fails. What a person asks for reaches the launcher; the first one's last words must
    # not be cut short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while launcher.alive():
            time.sleep(LOOK_SECONDS)
        print("The process that started this training is gone; ending.", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, name="launcher", daemon=True).start()
