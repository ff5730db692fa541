"""One training in several processes: the first does everything that a single one does, the others follow it."""

import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist

from mace_app.data import PreparedData
from mace_app.data.prepared import load_prepared
from mace_app.jobs import RunFolder
from mace_app.model import MaceModel, ModelConfig
from mace_app.options import RunOptions, resolve_loss
from mace_app.tasks.errors import TaskError
from mace_app.tasks.failures import end_of
from mace_app.tasks.launching import Place, end_with
from mace_app.tasks.setting import set_seed, set_threads
from mace_app.training import Group, Processes, ProcessLost, Recorder, Trainer
from mace_app.training.processes import PATIENCE
from mace_app.training.recorder import Silent


def join(place: Place) -> None:
    """Meet the other processes. The addresses are in the environment, where torchrun or ``place_of`` put them."""
    if os.environ.get("MASTER_ADDR") in ("127.0.0.1", "localhost"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        dist.init_process_group("gloo", rank=place.rank, world_size=place.size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TaskError(f"The processes of the training do not find each other ({error}).") from error


def group_on(device: torch.device) -> Processes:
    """The processes that joined, for a training on ``device``; this one alone if none did."""
    return Group(device) if dist.is_initialized() else Processes()


def own_device(device: torch.device, local: int) -> torch.device:
    """Of the process number ``local`` of this machine, where the first one trains on ``device``."""
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count()
    if count == 0:
        raise TaskError("The first process trains on a GPU, and there is none for another one. Check the machine.")
    # srun may show each process its own GPU only.
    device = torch.device("cuda", local % count)
    torch.cuda.set_device(device)
    return device


def make_trainer(
    model: MaceModel,
    prepared: PreparedData,
    options: RunOptions,
    recorder: Recorder,
    device: torch.device,
    processes: Processes,
) -> Trainer:
    """As the options ask; the seed must be known."""
    training = options.architecture.training
    targets = model.config.trained_targets
    loss = resolve_loss(training, targets)
    later = None if training.stage_two_loss is None else resolve_loss(training.in_stage_two(), targets)
    length_unit = options.training_datasets[0].systems.length_unit
    assert options.seed is not None
    return Trainer(
        model,
        prepared,
        training,
        loss,
        recorder,
        device,
        options.seed,
        length_unit,
        stage_two_loss=later,
        processes=processes,
    )


def call_others(run: RunFolder, model: MaceModel, device: torch.device, resume: bool) -> Processes:
    """The first process is ready to train; what the others need to follow."""
    if not dist.is_initialized():
        return Processes()
    precision = 32 if model.dtype == torch.float32 else 64
    told = {"config": model.config.to_json(), "precision": precision, "device": device.type, "resume": resume}
    own = own_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    box = [{"run": str(run.path), "told": json.dumps(told)}]
    _share(box)
    return group_on(own)


def _share(box: list[dict[str, str] | None] | list[dict[str, str]]) -> None:
    try:
        dist.broadcast_object_list(box)
    except RuntimeError as error:
        raise ProcessLost(error) from error


def follow(place: Place, threads: int | None) -> int:
    """The life of every process but the first: prepare as it says, train with it. The status to end with.

    What goes wrong here alone is written into the run, and the first ends when this process does.
    """
    status = _follow(place, threads)
    with suppress(Exception):
        dist.destroy_process_group()
    return status


def leave(status: int) -> NoReturn:
    """End at once: what connects the processes has threads of its own, which an ordinary end aborts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _follow(place: Place, threads: int | None) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the first decides, and tells
    end_with(place.launcher)
    set_threads(threads)
    run: RunFolder | None = None
    try:
        join(place)
        box: list[dict[str, str] | None] = [None]
        _share(box)
        assert box[0] is not None
        run = RunFolder(Path(box[0]["run"]))
        _train_with(run, json.loads(box[0]["told"]), place)
    except ProcessLost:
        return 0  # the first says why
    except Exception as error:  # noqa: BLE001 - written down where its reader looks, whatever it is
        if run is None:
            traceback.print_exc()
            return 1
        with suppress(Exception):
            end = end_of(error, run.options(), "Resume continues from the last checkpoint.")
            run.append_log(f"In process {place.rank}:\n{traceback.format_exc()}")
            run.append_log(f"{end.outcome.capitalize()}: {end.reason}")
            run.set_state(end.outcome, end.reason, end.failure)
        return 1
    return 0


def _train_with(run: RunFolder, told: dict[str, object], place: Place) -> None:
    options = run.options()
    assert options.seed is not None
    prepared = load_prepared(run.data_path)
    if prepared is None:
        raise TaskError(f"{run.data_path} holds no prepared data for this process. Is the folder on a shared disk?")
    device = own_device(torch.device(str(told["device"])), place.local)
    set_seed(options.seed)
    config = ModelConfig.from_json(told["config"])  # type: ignore[arg-type]
    model = MaceModel(config, torch.float32 if told["precision"] == 32 else torch.float64).to(device)
    trainer = make_trainer(model, prepared, options, Silent(), device, group_on(device))
    trainer.run(run.checkpoint_path("last") if told["resume"] else None)
