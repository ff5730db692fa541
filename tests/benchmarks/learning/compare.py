"""Which program learns better from the same data with the same hyperparameters: ours, `mtt train`, `mace_run_train`.

`python tests/benchmarks/learning/compare.py --data FOLDER --cache FOLDER` trains with each program, one after the
other, evaluates the model file each leaves behind on the validation set, with the same code, and prints a table;
`--write` puts it into docs/learning.md. Results are kept in the cache, and only what is missing is run. The
environments of the other programs are made there from the requirements files beside this script, unless interpreters
are named.
"""

import argparse
import json
import math
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ase.io import read
from environments import environment, run_logged, versions
from programs import PROGRAMS, Program
from setting import DATA_FILE, Setting, Split, make_split
from table import page

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]


def main() -> None:
    arguments = parse()
    setting = Setting(
        epochs=arguments.epochs,
        training=arguments.training,
        validation=arguments.validation,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    data = arguments.data / DATA_FILE if arguments.data.is_dir() else arguments.data
    split = make_split(data, setting, arguments.cache)
    results = []
    for program in PROGRAMS:
        stored = arguments.cache / "results" / f"{program.name}-{setting.key(program.name, data)}.json"
        if program.name in arguments.again or (program.name in arguments.programs and not stored.exists()):
            result = measure(program, setting, split, arguments)
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps(result, indent=1))
        if stored.exists():
            results.append(json.loads(stored.read_text()))
    text = page(setting, split.avg_num_neighbors, results)
    print(text)
    if arguments.write:
        (REPOSITORY / "docs" / "learning.md").write_text(text)


def parse() -> argparse.Namespace:
    names = [program.name for program in PROGRAMS]
    shared = os.environ.get("MACE_APP_TEST_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared, help=f"{DATA_FILE} or its folder; or MACE_APP_TEST_DATA")
    parser.add_argument("--cache", type=Path, required=True, help="folder for environments, runs and results")
    parser.add_argument("--epochs", type=int, default=Setting.epochs)
    parser.add_argument("--training", type=int, default=Setting.training, help="number of training structures")
    parser.add_argument("--validation", type=int, default=Setting.validation, help="number of validation structures")
    parser.add_argument(
        "--seed", type=int, default=Setting.seed, help="of weights and order; the split is always the same"
    )
    parser.add_argument("--threads", type=int, default=Setting.threads)
    parser.add_argument("--programs", nargs="*", choices=names, default=names, help="run these where no result is kept")
    parser.add_argument("--again", nargs="*", choices=names, default=[], help="run these even where a result is kept")
    parser.add_argument("--mtt-python", type=Path, help="interpreter with metatrain, instead of an own environment")
    parser.add_argument("--mace-python", type=Path, help="interpreter with mace-torch, instead of an own environment")
    parser.add_argument("--write", action="store_true", help="write docs/learning.md")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the data with --data or MACE_APP_TEST_DATA")
    arguments.cache = arguments.cache.resolve()
    return arguments


def interpreter(program: Program, arguments: argparse.Namespace) -> Path:
    """Ours runs where this script does; the others have an environment each."""
    if program.name == "studio":
        return Path(sys.executable)
    return getattr(arguments, f"{program.name}_python") or environment(program.name, arguments.cache)


def measure(program: Program, setting: Setting, split: Split, arguments: argparse.Namespace) -> dict:
    """Train with `program` and evaluate the file it leaves."""
    python = interpreter(program, arguments)
    folder = arguments.cache / "runs" / f"{program.name}-{setting.training}-{setting.epochs}-{setting.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "output.log"
    command = program.command(python, setting, split, folder)
    print(f"{program.name}: {setting.epochs} epochs; output in {log}", flush=True)
    began = time.perf_counter()
    path = {"PYTHONPATH": str(REPOSITORY)} if program.name == "studio" else {}
    cpu_seconds = run_logged(command, folder, log, setting.threads, path)
    seconds = time.perf_counter() - began
    own = program.own(folder, log)
    errors = evaluate(program, python, setting, split, folder)
    return {
        "program": program.name,
        "versions": versions(python, program.packages),
        **errors,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "machine": f"{platform.machine()}, {setting.threads} thread{'s' if setting.threads > 1 else ''}",
        "own": {key: None if value != value else value for key, value in asdict(own).items()},
    }


def evaluate(program: Program, python: Path, setting: Setting, split: Split, folder: Path) -> dict[str, float]:
    """Errors of the exported model on the validation set; see `errors_of`."""
    out = folder / "predictions.npz"
    command = [str(python), str(HERE / "predict.py"), program.calculator]
    command += [str(program.model(folder)), str(split.validation), str(out)]
    run_logged(command, folder, folder / "predict.log", setting.threads)
    errors = errors_of(out, split.validation)
    if not all(map(math.isfinite, errors.values())):
        raise RuntimeError(f"{program.name}: the model predicts numbers that are not finite")
    return errors


def errors_of(predictions: Path, structures: Path) -> dict[str, float]:
    """MAE of force components (meV/Å) and of energies (meV/atom), the latter also without their mean error."""
    found = np.load(predictions)
    frames = read(structures, ":")
    sizes = np.array([len(atoms) for atoms in frames])
    energies = np.array([atoms.info["REF_energy"] for atoms in frames])
    forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in frames])
    deviations = 1000 * (found["energies"] - energies) / sizes
    return {
        "energy_mae": float(np.abs(deviations).mean()),
        "energy_mae_without_offset": float(np.abs(deviations - deviations.mean()).mean()),
        "forces_mae": float(1000 * np.abs(found["forces"] - forces).mean()),
    }


if __name__ == "__main__":
    main()
