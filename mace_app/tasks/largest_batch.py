"""The largest batch that a training could have on this machine, and the fastest one."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from mace_app.data import prepare
from mace_app.options import load_options
from mace_app.tasks.group import make_trainer
from mace_app.tasks.setting import choose_device, device_name, set_seed, set_threads
from mace_app.tasks.starting import Start
from mace_app.tasks.train import make_model
from mace_app.training import Processes
from mace_app.training.probe import Attempt, Probe
from mace_app.training.recorder import Silent
from mace_app.training.sampling import BatchLimits

WIDTHS = (10, 8, 12, 10, 12)
HEADER = ("structures", "atoms", "pairs", "MiB", "structures/s")


def largest_batch(path: Path, say: Callable[[str], None], threads: int | None = None) -> str:
    """Try batches of twice the size of the last, the heaviest that a training meets; ``say`` gets a line for each.

    Gives the result in a sentence. Raises OptionsError, DataError and TaskError as a training would.
    """
    options = load_options(path / "options.yaml" if path.is_dir() else path)
    set_threads(threads)
    device = choose_device(options.device)
    options = options.model_copy(update={"seed": options.seed or 0})
    with tempfile.TemporaryDirectory(prefix="mace-studio-") as folder:
        start = Start.of(options)
        prepared = prepare(options if start is None else start.options(options), Path(folder))
        set_seed(0)
        model = make_model(options, prepared, start).to(device)
        trainer = make_trainer(model, prepared, options, Silent(), device, Processes())
        probe = Probe(trainer)
        attempts: list[Attempt] = []
        probe.attempt(probe.heaviest(BatchLimits(1)))  # what is made once, at the first call, doesn't count
        say(f"On {device_name(device)}, with the {len(prepared.training)} training structures:")
        say(_row(HEADER))

        def report(attempt: Attempt) -> None:
            attempts.append(attempt)
            memory = "?" if attempt.memory is None else f"{attempt.memory / 2**20:.0f}"
            speed = f"{attempt.structures_per_second:.3g}"
            say(_row((f"{attempt.structures}", f"{attempt.atoms}", f"{attempt.pairs}", memory, speed)))

        most, known = probe.largest(report)
    if most == 0:
        return "Not even one structure fits. Choose a smaller model: lower `hidden_irreps`, `correlation` or `r_max`."
    fastest = max(attempts, key=lambda attempt: attempt.structures_per_second)
    if most == len(prepared.training):
        told = "All of them fit into one batch"
    elif known:
        told = f"`batch_size: {most}` fits, even in the heaviest batch of a training"
    else:
        told = f"At least `batch_size: {most}` fits; twice as much might fill the memory of the machine"
    return f"{told}. Fastest: {fastest.structures} at once, {fastest.structures_per_second:.3g} structures a second."


def _row(cells: tuple[str, ...]) -> str:
    return "".join(cell.rjust(width + 2) for cell, width in zip(cells, WIDTHS, strict=True))
