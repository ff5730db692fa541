"""How long a published MACE file takes to become a checked metatomic file, from the start of the command to its end.

    python tests/benchmarks/foundation_export.py [--repeats 3] [--other FOLDER] [KIND …]

Files of the size and kind of published ones are made with random weights. ``--other`` names another checkout of this
program, which is timed in turns with this one. Seconds on the clock are what a person waits; seconds of CPU hardly
change when the machine has other work.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "foundation")]

from mace_files import build, save  # noqa: E402 — found where the line above says

ELEMENTS = list(range(1, 90))
LARGE: dict[str, Any] = {
    "r_max": 6.0,
    "num_bessel": 10,
    "max_ell": 3,
    "MLP_irreps": "16x0e",
    "atomic_energies": -np.linspace(1, 20, len(ELEMENTS)),
    "avg_num_neighbors": 60.0,
    "atomic_numbers": ELEMENTS,
    "correlation": 3,
    "radial_MLP": [64, 64, 64],
}
DENSITY = {
    "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
    "interaction_cls_first": "RealAgnosticDensityInteractionBlock",
    "distance_transform": "Agnesi",
    "pair_repulsion": True,
}
FILES: dict[str, dict[str, Any]] = {
    "128x0e, float64 (as MP-0 small)": {"hidden_irreps": "128x0e", "dtype": torch.float64},
    "128x0e + 128x1o, float32": DENSITY | {"hidden_irreps": "128x0e + 128x1o", "dtype": torch.float32},
    "128x0e + 128x1o, float64": DENSITY | {"hidden_irreps": "128x0e + 128x1o", "dtype": torch.float64},
    "128x0e + 128x1o + 128x2e, float32": DENSITY
    | {"hidden_irreps": "128x0e + 128x1o + 128x2e", "dtype": torch.float32},
    "128x0e + 128x1o + 128x2e, float64": DENSITY
    | {"hidden_irreps": "128x0e + 128x1o + 128x2e", "dtype": torch.float64},
}


def export(code: Path, file: Path, output: Path) -> tuple[float, float]:
    """Seconds on the clock and of CPU, with all processes that were started."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "mace_app", "export", str(file), "-o", str(output)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Time from a MACE file to a checked metatomic file.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="words that a line must contain (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--other", type=Path, metavar="FOLDER", help="another checkout to compare with")
    arguments = parser.parse_args()
    codes = {"this": ROOT} if arguments.other is None else {"other": arguments.other.resolve(), "this": ROOT}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, median of {arguments.repeats}\n")
    print("| file | parameters | MB | " + " | ".join(f"{name}: s | CPU s" for name in codes) + " |")
    print("|---|---|---|" + "---|---|" * len(codes))
    for name, changes in FILES.items():
        if not all(word in name for word in arguments.kinds):
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = build(**(LARGE | changes))
            parameters = sum(parameter.numel() for parameter in model.parameters())
            file = save(model, Path(folder) / "large.model")
            del model
            taken: dict[str, list[tuple[float, float]]] = {code: [] for code in codes}
            for _ in range(arguments.repeats):
                for code, root in codes.items():
                    taken[code].append(export(root, file, Path(folder) / "model.pt"))
            cells = [
                f"{statistics.median(column):.1f}" for times in taken.values() for column in zip(*times, strict=True)
            ]
            print(f"| {name} | {parameters:,} | {file.stat().st_size / 1e6:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
