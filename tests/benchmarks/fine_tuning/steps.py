"""CPU time of a training step when all weights are trained, some are frozen, or corrections of low rank are trained.

``python tests/benchmarks/fine_tuning/steps.py [--channels 64] [--steps 6]`` prints a table for docs/fine-tuning.md. The
weights are random: how long a step takes does not depend on them.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from mace_app.data import PreparedData, prepare
from mace_app.model import Batch, MaceModel, ModelConfig, add_asked_corrections, freeze, parameter_groups
from mace_app.model.fine_tuning import trained_and_all
from mace_app.options import TrainingHypers, parse_options
from mace_app.training.optimiser import make_optimiser

SETTINGS: dict[str, dict[str, Any]] = {
    "all weights": {},
    "`lora_rank: 4`": {"lora_rank": 4},
    "`freeze: layers`": {"freeze": "layers"},
    "`freeze: backbone`": {"freeze": "backbone"},
}
SAMPLE = Path(__file__).resolve().parents[3] / "docs" / "samples" / "ethanol.xyz"
DIPOLE = "mtt::dipole"
STRUCTURES = 8


def data(folder: Path, channels: int) -> tuple[PreparedData, Any]:
    options = parse_options(
        {
            "seed": 1,
            "architecture": {"model": {"hidden_irreps": f"{channels}x0e + {channels}x1o"}},
            "training_set": {
                "systems": str(SAMPLE),
                "targets": {
                    "energy": {"key": "REF_energy", "unit": "eV", "forces": "REF_forces"},
                    DIPOLE: {"key": "REF_dipole", "type": {"cartesian": {"rank": 1}}},
                },
            },
        }
    )
    return prepare(options, folder), options


def seconds(config: ModelConfig, arrays: Any, labels: set[str], values: dict[str, Any], steps: int) -> Any:
    """CPU seconds of a step (the median), and the numbers of weights that are trained and that there are."""
    torch.manual_seed(1)
    training = TrainingHypers.model_validate(values)
    model = MaceModel(config, torch.float32)
    add_asked_corrections(model, training)
    freeze(model, training)
    optimiser = make_optimiser(parameter_groups(model, training.weight_decay), training)
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    batch = Batch.from_arrays(arrays, config.atomic_types, "cpu", torch.float32)
    times = []
    for _ in range(steps + 1):
        start = time.process_time()
        optimiser.zero_grad(set_to_none=True)
        found = model(batch, labels, create_graph=True)
        torch.stack([value.square().mean() for value in found.values()]).sum().backward(inputs=weights)
        optimiser.step()
        times.append(time.process_time() - start)
    return median(times[1:]), *trained_and_all(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        prepared, options = data(Path(folder), given.channels)
        neighbours = prepared.training.avg_num_neighbors()
        config = ModelConfig(options.architecture.model, prepared.atomic_types, prepared.targets, neighbours)
        arrays = prepared.training.collate(range(STRUCTURES))
        asked = {"energy and forces": {"energy", "energy.forces"}, "a dipole": {DIPOLE}}
        print(f"| trained | weights | {' | '.join(f'{name}, ms a step' for name in asked)} |")
        print("|---|---|" + "---|" * len(asked))
        usual: dict[str, float] = {}
        for name, values in SETTINGS.items():
            cells = []
            for what, labels in asked.items():
                time_, trained, count = seconds(config, arrays, labels, values, given.steps)
                usual.setdefault(what, time_)
                cells.append(f"{1000 * time_:.0f} ({time_ / usual[what]:.2f})")
            print(f"| {name} | {trained:,} of {count:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
