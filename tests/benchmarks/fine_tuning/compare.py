"""What fine-tuning is worth: a foundation file on 20 structures of another kind, with and without data of the old kind.

`python tests/benchmarks/fine_tuning/compare.py --data FOLDER --cache FOLDER` trains, through the command line,

* from scratch: an architecture like the file's, with random weights, on 20 ethanol molecules;
* from the file: the same 20, all weights, energies of atoms estimated;
* with replay: the same 20 and structures of the file's own kind, each with a head of its own;

and evaluates each on ethanol molecules and on structures of the old kind that no training saw. `--write` puts the table
into docs/fine-tuning-measured.md. Results are kept in the cache, and only what is missing is run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import yaml
from ase.io import read, write

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs" / "fine-tuning-measured.md"
FILE, NEW, OLD = "solvents_2024.model", "ethanol_rmd17_train.xyz", "solvents_xtb_200.xyz"
LEARNED, WATCHED, TESTED = 20, 20, 200  # new structures to train, validate and test on
REPLAYED, OLD_WATCHED = 60, 20  # old structures to train and validate on; the rest is for the test
NEW_ENERGY = {"key": "energy", "unit": "eV", "forces": {"key": "forces"}}
OLD_ENERGY = {"quantity": "energy", "key": "energy_xtb", "unit": "eV", "forces": {"key": "forces_xtb"}}
# The architecture of the file, as `python -m mace_app inspect` prints it.
ALIKE = {
    "r_max": 4.0,
    "hidden_irreps": "32x0e",
    "max_ell": 2,
    "correlation": 2,
    "interaction_first": "RealAgnosticInteractionBlock",
}
KINDS = ("scratch", "file", "replay")
TITLES = {
    "scratch": "from scratch, 20 ethanols",
    "file": "from the file, 20 ethanols",
    "replay": f"from the file, 20 ethanols and {REPLAYED} old structures",
}


def main() -> None:
    arguments = parse()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    parts = split(arguments.data, arguments.cache)
    results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for seed in range(1, arguments.seeds + 1):
        for kind in KINDS:
            stored = arguments.cache / f"{kind}-{arguments.epochs}-{seed}.json"
            if not stored.exists():
                stored.write_text(json.dumps(measure(kind, seed, parts, arguments), indent=1))
            results[kind].append(json.loads(stored.read_text()))
    before = original(parts, arguments)
    text = page(before, results, arguments)
    print(text)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")


def parse() -> argparse.Namespace:
    shared = os.environ.get("MACE_APP_TEST_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared, help=f"folder of {FILE}; or MACE_APP_TEST_DATA")
    parser.add_argument("--cache", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate of what starts from the file")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the data with --data or MACE_APP_TEST_DATA")
    arguments.cache, arguments.data = arguments.cache.resolve(), Path(arguments.data).resolve()
    return arguments


def split(data: Path, cache: Path) -> dict[str, Path]:
    """Evenly through the files: neighbours in a trajectory are alike, and old structures are sorted by kind."""
    new = read(data / NEW, ":")
    step = len(new) // (LEARNED + WATCHED + TESTED)
    chosen = new[:: max(1, step)][: LEARNED + WATCHED + TESTED]
    every = (LEARNED + WATCHED + TESTED) // LEARNED
    learned, watched = chosen[::every][:LEARNED], chosen[1::every][:WATCHED]
    tested = [atoms for place, atoms in enumerate(chosen) if place % every not in (0, 1)]
    old = [atoms for atoms in read(data / OLD, ":") if len(atoms) > 1]
    third = max(1, len(old) // (REPLAYED + OLD_WATCHED + 1))
    replayed, old_watched = old[::third][:REPLAYED], old[1::third][:OLD_WATCHED]
    seen = {id(atoms) for atoms in (*replayed, *old_watched)}
    old_tested = [atoms for atoms in old if id(atoms) not in seen]
    sets = {
        "learned": learned,
        "watched": watched,
        "tested": tested,
        "replayed": replayed,
        "old_watched": old_watched,
        "old_tested": old_tested,
    }
    for name, structures in sets.items():
        write(cache / f"{name}.xyz", structures, format="extxyz")
    return {name: cache / f"{name}.xyz" for name in sets}


def options(kind: str, seed: int, parts: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    training: dict[str, Any] = {
        "num_epochs": arguments.epochs,
        "batch_size": 5,
        "learning_rate": 0.01,
        "lr_scheduler": "CosineAnnealingLR",
    }
    model: dict[str, Any] = ALIKE
    if kind != "scratch":
        model = {"mace_model": str(arguments.data / FILE)}
        training |= {"learning_rate": arguments.rate, "atomic_baseline": {"energy": "estimated"}}
    sets = {
        "training_set": [dataset(parts["learned"], "energy")],
        "validation_set": [dataset(parts["watched"], "energy")],
    }
    if kind == "replay":
        model["more_mace_heads"] = {"energy/replay": None}
        training["atomic_baseline"]["energy/replay"] = "estimated"
        sets["training_set"].append(dataset(parts["replayed"], "energy/replay"))
        sets["validation_set"].append(dataset(parts["old_watched"], "energy/replay"))
    return {"seed": seed, "device": "cpu", "architecture": {"model": model, "training": training}, **sets}


def dataset(file: Path, target: str) -> dict[str, Any]:
    return {"systems": str(file), "targets": {target: NEW_ENERGY if target == "energy" else OLD_ENERGY}}


def studio(*words: str) -> str:
    command = [sys.executable, "-m", "mace_app", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout


def measure(kind: str, seed: int, parts: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    folder = arguments.cache / f"{kind}-{arguments.epochs}-{seed}"
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(options(kind, seed, parts, arguments)))
    print(f"{kind}, seed {seed}: {arguments.epochs} epochs in {folder}", flush=True)
    began = time.perf_counter()
    studio("train", str(file), "-o", str(folder), "--threads", "2", *(["--resume"] if folder.exists() else []))
    return {
        "seconds": time.perf_counter() - began,
        "new": errors(folder, parts["tested"], "energy", "energy"),
        # Asked of the head that was trained on them, or of the only one.
        "old": errors(folder, parts["old_tested"], "energy/replay" if kind == "replay" else "energy", "energy_xtb"),
    }


def original(parts: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    file = arguments.data / FILE
    return {
        "new": errors(file, parts["tested"], "energy", "energy"),
        "old": errors(file, parts["old_tested"], "energy", "energy_xtb"),
    }


def errors(model: Path, structures: Path, target: str, key: str) -> dict[str, float]:
    """MAE of force components (meV/Å), and of energies per atom (meV) after the best shift of each element."""
    described = structures.with_name(f"{structures.stem}-{target.replace('/', '-')}.yaml")
    forces = {"energy": "forces", "energy_xtb": "forces_xtb"}[key]
    own = {"quantity": "energy", "key": key, "unit": "eV", "forces": {"key": forces}}
    described.write_text(yaml.safe_dump({"systems": str(structures), "targets": {target: own}}))
    predicted = described.with_suffix(f".{os.getpid()}.npz")
    found = json.loads(studio("evaluate", str(model), str(described), "--json", "-o", str(predicted)))["errors"]
    return {
        "forces": 1000 * found[f"{target}.forces"]["mae"],
        "energy": 1000 * without_levels(predicted, structures, target, key),
    }


def without_levels(predicted: Path, structures: Path, target: str, key: str) -> float:
    """MAE in eV/atom after the best shift of each element."""
    frames = read(structures, ":")
    with np.load(predicted) as arrays:
        energies = np.asarray(arrays[target]).reshape(-1)
    predicted.unlink()
    sizes = np.array([len(atoms) for atoms in frames])
    labels = np.array([atoms.get_potential_energy() if key == "energy" else atoms.info[key] for atoms in frames])
    difference = (energies - labels) / sizes
    fractions = np.array([[(atoms.numbers == z).sum() for z in (1, 6, 8)] for atoms in frames]) / sizes[:, None]
    shifts, *_ = np.linalg.lstsq(fractions, difference, rcond=1e-10)
    return float(np.abs(difference - fractions @ shifts).mean())


def page(before: dict[str, Any], results: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> str:
    def cell(kind: str, which: str, label: str) -> str:
        values = [result[which][label] for result in results[kind]]
        return f"{mean(values):.3g}" + (f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else "")

    rows = [
        "| model | ethanol: forces | ethanol: energy | old structures: forces | old structures: energy | minutes |",
        "|---|---|---|---|---|---|",
        f"| the file itself | {before['new']['forces']:.3g} | {before['new']['energy']:.3g} | "
        f"{before['old']['forces']:.3g} | {before['old']['energy']:.3g} | |",
    ]
    for kind in KINDS:
        cells = [cell(kind, which, label) for which in ("new", "old") for label in ("forces", "energy")]
        minutes = mean(result["seconds"] for result in results[kind]) / 60
        rows.append(f"| {TITLES[kind]} | {' | '.join(cells)} | {minutes:.1f} |")

    def average(kind: str, which: str, label: str = "forces") -> float:
        return mean(result[which][label] for result in results[kind])

    gain = average("scratch", "new") / average("file", "new")
    kept = {label: average("replay", "old", label) / before["old"][label] - 1 for label in ("forces", "energy")}
    lost = average("file", "old") / before["old"]["forces"]
    table = "\n".join(rows)
    return f"""# What fine-tuning is worth

A small foundation file (32x0e, two layers, cutoff 4 Å; trained in 2024 on GFN2-xTB energies and forces of carbonate
solvents) and {LEARNED} ethanol molecules of rMD17, which are PBE: another molecule and another level of theory. Mean
absolute errors on {TESTED} other ethanols and on old structures that no training saw; forces in meV/Å, energies in
meV/atom after the best shift of each element, since the levels differ by just that. Means of {arguments.seeds} seeds,
in brackets the lowest and the highest.

{table}

* From the file, the same {LEARNED} structures give {gain:.2g} times smaller force errors than from scratch.
* Without old data the model forgets: its force errors on old structures grow to {lost:.2g} times those of the file.
* With {REPLAYED} old structures beside them, errors on other old structures change by {kept["forces"]:+.0%} (forces)
  and {kept["energy"]:+.0%} (energies) against the file.

All runs: the architecture of the file, {arguments.epochs} epochs, batches of 5, {WATCHED} further ethanols to choose
the best epoch by (and {OLD_WATCHED} old structures with replay), float64, a cosine from a learning rate of 0.01
(from scratch) and {arguments.rate:g} (from the file). Minutes are those of a shared machine with two cores.

Made by:

```
python tests/benchmarks/fine_tuning/compare.py --data FOLDER --cache FOLDER \\
    --epochs {arguments.epochs} --seeds {arguments.seeds} --write
```
"""


if __name__ == "__main__":
    main()
