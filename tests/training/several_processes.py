"""Real processes that train together, and what they are asked to do. Started once, because importing takes seconds."""

import multiprocessing
import os
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from small_training import WATER, Memory, begin, options

from mace_app.data import load_prepared, prepare
from mace_app.options import parse_options

TARGETS = {"energy": {"key": "energy", "unit": "eV", "forces": {"key": "forces"}, "stress": {"key": "stress"}}}


def write_patchy(folder: Path) -> Path:
    """13 structures to train on and 5 to validate, of 3 to 9 atoms, crystals and molecules, with weights of their own.
    Some lack the energy, the forces, one atom's forces or the stress. The data prepared from them, as a folder."""
    random = np.random.default_rng(5)
    frames = []
    for number in range(18):
        count = 1 + number % 3
        positions = np.concatenate([WATER + np.array([2.2 * n, 0, 0]) for n in range(count)])
        atoms = Atoms("OHH" * count, positions + 0.1 * random.normal(size=positions.shape))
        forces = random.normal(size=positions.shape)
        if number % 4 == 1:
            forces[0] = np.nan
        info = [f"config_weight={1 + number % 2}"]
        if number % 5:
            info.append(f"energy={random.normal() - 10 * len(atoms)}")
        if number % 3 == 0:
            stress = " ".join(str(value) for value in np.diag(random.normal(size=3)).ravel())
            info += [f'Lattice="{9 + count} 0 0 0 9 0 0 0 9" stress="{stress}" pbc="T T T"']
        else:
            info.append('pbc="F F F"')
        named = number % 7 != 2
        columns = "species:S:1:pos:R:3" + (":forces:R:3" if named else "")
        lines = [str(len(atoms)), f"Properties={columns} {' '.join(info)}"]
        for symbol, place, force in zip(atoms.symbols, atoms.positions, forces, strict=True):
            numbers = [*place, *force] if named else place
            lines.append(f"{symbol} " + " ".join(f"{value:.12f}" for value in numbers))
        frames.append("\n".join(lines) + "\n")
    (folder / "data.xyz").write_text("".join(frames))
    value = options(folder / "data.xyz", num_epochs=0)
    value["training_set"]["targets"] = TARGETS
    value["validation_set"] = 5 / 18
    prepare(parse_options(value), folder / "data")
    return folder / "data"


class Team:
    """So many processes; ``call(function, …)`` runs ``function(processes, …)`` in all of them at once."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        # Kept until all have ended: torch's file store waits for half an hour when its folder is gone.
        self.folder = tempfile.TemporaryDirectory()
        self.calls = 0
        self.pipes = []
        self.members = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            member = context.Process(target=_member, args=(rank, size, theirs), daemon=True)
            member.start()
            self.pipes.append(ours)
            self.members.append(member)

    def call(self, function, *arguments, answering=None):
        """What each process gives, or the first ``answering`` do; AssertionError with the traceback of a failed one."""
        self.calls += 1
        for pipe in self.pipes:
            pipe.send((function, arguments, f"file://{self.folder.name}/{self.calls}"))
        answers = []
        deadline = time.monotonic() + 100
        for pipe in self.pipes[:answering]:
            assert pipe.poll(max(0.0, deadline - time.monotonic())), "a process does not answer"
            answers.append(pipe.recv())
        for good, answer in answers:
            assert good, answer
        return [answer for _, answer in answers]

    def close(self) -> None:
        for member in self.members:
            with suppress(OSError):
                member.kill()
            member.join()
        self.folder.cleanup()


def _member(rank: int, size: int, pipe) -> None:
    import torch.distributed as dist

    from mace_app.training import Group

    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    while True:
        function, arguments, store = pipe.recv()
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
        try:
            pipe.send((True, function(Group("cpu"), *arguments)))
        except Exception:  # noqa: BLE001 - told to the test
            pipe.send((False, traceback.format_exc()))
        finally:
            dist.destroy_process_group()


def trainer(processes, data: Path, folder: Path, looks=None, seed=3, **training):
    """As ``begin``; every process but the first starts from other weights, which must not matter."""
    prepared = load_prepared(data)
    own = seed + 100 * processes.rank
    return begin(prepared, folder, looks, own, processes=processes, order_seed=seed, targets=TARGETS, **training)


def first_gradients(processes, data: Path, folder: Path, training: dict):
    """After one step; None where a weight has none."""
    made, _ = trainer(processes, data, folder, **training)
    step = made.order.steps(1)[0]
    parts = [processes.part(indices, made.prepared.training) for indices in step]
    made._step([len(indices) for indices in step], iter([made._load(part) for part in parts]), 1)
    return [None if weight.grad is None else weight.grad.numpy() for weight in made.weights], [len(p) for p in parts]


def whole_run(processes, data: Path, folder: Path, looks, resume: bool, training: dict):
    """What a run tells; the files are in ``folder``."""
    made, memory = trainer(processes, data, folder, looks, **training)
    result = made.run(folder / "last.safetensors" if resume else None)
    return {
        "result": result,
        "records": memory.records,
        "lines": memory.lines,
        "parity": memory.arrays,
        "progress": len(memory.fields),
        "weights": {name: weight.detach().numpy() for name, weight in made.model.named_parameters()},
        "sums": (made.state.losses.sums.numpy(), made.state.errors.sums.numpy(), made.state.losses.structures),
    }


def poisoned_run(processes, data: Path, folder: Path, structure: int, training: dict):
    """A run in which the energy of one structure is infinite, whichever process has it."""
    made, _ = trainer(processes, data, folder, **training)
    load = made._load

    def damaged(indices):
        ready = load(indices)
        if structure in indices:
            ready.normalised["energy"][list(indices).index(structure)] = torch.inf
        return ready

    made._load = damaged
    return made.run()


def lost_run(processes, data: Path, folder: Path, training: dict):
    """The second process ends in its second step; what the first says."""
    from mace_app.training import ProcessLost

    made, _ = trainer(processes, data, folder, **training)
    step = made._step

    def ending(*arguments):
        if processes.rank == 1 and made.state.step == 1:
            os._exit(1)
        step(*arguments)

    made._step = ending
    try:
        made.run()
    except ProcessLost as error:
        return str(error)


__all__ = ["Memory", "Team", "first_gradients", "lost_run", "poisoned_run", "whole_run", "write_patchy"]
