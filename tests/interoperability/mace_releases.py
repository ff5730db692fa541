"""Files written by other releases of mace-torch, opened here without loading them, against what those releases say.

    python tests/interoperability/mace_releases.py --release 0.3.6=PYTHON [--release 0.3.10=PYTHON …] [--train]

``PYTHON`` is the interpreter of an environment with that release. With ``--train`` its own training runs for two
epochs with EMA and stage two, and then again as fine-tuning of what it made (naive, and multi-head where it knows
that), so that files are also written by its own hands. Energies, forces and stress have to agree to 1e-9 in float64.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from graph_fixtures import predict  # noqa: E402 — found where the line above says

from mace_app.model import ModelError  # noqa: E402
from mace_app.model.foundation import AtomsGraphs, Judge, foundation_model, open_foundation, rebuild  # noqa: E402

ALLOWED = {torch.float64: 1e-9, torch.float32: 2e-4}

# mace-torch 0.3.14 let heads see each other in the middle of this readout, and no release since does; a file does not
# say which release wrote it, and today's mace-torch reads it as we do.
KNOWN = {("0.3.14", "newest_two_heads:dft"), ("0.3.14", "newest_two_heads:ccsd")}


def structures() -> list[Atoms]:
    generator = np.random.default_rng(5)
    crystal = bulk("CO", "rocksalt", a=4.1) * (2, 1, 1)
    slab = Atoms("C2H2O", positions=generator.uniform(0, 4, (5, 3)), cell=[4.5, 4.6, 9], pbc=[True, True, False])
    found = [molecule("CH3CH2OH"), crystal, slab, Atoms("O")]
    for atoms in found[:2]:
        atoms.positions += generator.uniform(-0.1, 0.1, atoms.positions.shape)
    return found


def training_set(path: Path) -> None:
    """Isolated atoms, and molecules with labels that only have to be numbers."""
    generator = np.random.default_rng(6)
    frames = []
    for symbol, energy in (("H", -13.6), ("C", -1028.5), ("O", -2041.2)):
        atoms = Atoms(symbol, info={"config_type": "IsolatedAtom"}, cell=[20, 20, 20])
        frames.append((atoms, energy))
    for _ in range(12):
        atoms = molecule("CH3OH")
        atoms.positions += generator.uniform(-0.1, 0.1, atoms.positions.shape)
        frames.append((atoms, -3125.0 + float(generator.normal())))
    labelled = []
    for atoms, energy in frames:
        forces = generator.normal(size=(len(atoms), 3)) * (len(atoms) > 1)
        atoms.info["REF_energy"] = energy
        atoms.arrays["REF_forces"] = forces
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        labelled.append(atoms)
    write(path, labelled, format="extxyz")


def train(python: str, folder: Path, log: Path) -> None:
    """What the release's own training writes, into ``folder``; a kind that it does not know is left out."""
    training_set(folder / "train.xyz")
    common = [
        *("--train_file", "train.xyz", "--valid_fraction", "0.25", "--batch_size", "4", "--valid_batch_size", "4"),
        *("--max_num_epochs", "2", "--eval_interval", "1", "--device", "cpu", "--default_dtype", "float64"),
        *("--energy_key", "REF_energy", "--forces_key", "REF_forces", "--seed", "3", "--num_workers", "0"),
    ]
    small = ["--r_max", "3.5", "--hidden_irreps", "4x0e + 4x1o", "--max_ell", "2", "--MLP_irreps", "5x0e"]
    # Fine-tuning in these releases takes it for granted that the file has the correlation and widths of the defaults.
    small += ["--E0s", "IsolatedAtom"]
    averages = ["--ema", "--ema_decay", "0.9", "--swa", "--start_swa", "1"]
    first = str(folder / "usual_run.model")
    runs = {
        "usual_run": [*small, *averages],
        "plain_run": [*small, "--model", "MACE", "--default_dtype", "float32"],
        "naive_run": [
            *("--foundation_model", first, "--E0s", "IsolatedAtom", "--multiheads_finetuning", "False"),
        ],
        "multihead_run": [
            *("--foundation_model", first, "--E0s", "IsolatedAtom", "--multiheads_finetuning", "True"),
            *("--pt_train_file", "train.xyz", "--num_samples_pt", "8", "--atomic_numbers", "[1, 6, 8]"),
        ],
    }
    environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
    with log.open("a", encoding="utf-8") as stream:
        for name, arguments in runs.items():
            command = [python, "-m", "mace.cli.run_train", "--name", name, *common, *arguments]
            for _ in range(4):  # an option that this release does not know is left out
                done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
                stream.write(f"\n$ {' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n")
                unknown = done.stderr.strip().splitlines()[-1:] if done.returncode == 2 else []
                rejected = [word for word in unknown[0].split() if word.startswith("--")] if unknown else []
                if not rejected or any(word in ("--foundation_model",) for word in rejected):
                    break
                for word in rejected:
                    place = command.index(word)
                    del command[place : place + 2]
            print(f"    {name}: code {done.returncode}", flush=True)


def compare(folder: Path, shown: list[Atoms]) -> list[tuple[str, str]]:
    """For each file and head a sentence; empty where all agrees."""
    kinds: dict[str, list[Any]] = json.loads((folder / "kinds.json").read_text(encoding="utf-8"))
    results = []
    with np.load(folder / "answers.npz") as answers:
        for kind, heads in kinds.items():
            path = folder / f"{kind}.model"
            path = path if path.exists() else folder / "trained" / f"{kind}.model"
            for head in heads:
                key = f"{kind}:{head}"
                try:
                    results.append((key, _difference(path, head, key, answers, shown)))
                except ModelError as error:
                    results.append((key, str(error)))
    return results


def _difference(path: Path, head: Any, key: str, answers: Any, shown: list[Atoms]) -> str:
    foundation = open_foundation(path)
    judge = Judge(rebuild(foundation), foundation.architecture, foundation.head_index(head))
    model = foundation_model(foundation, head, dtype=torch.float64)
    graphs = AtomsGraphs(shown, foundation.architecture.r_max)
    allowed, worst = ALLOWED[foundation.dtype], ""
    for index, atoms in enumerate(shown):
        ours, judged = predict(model, atoms), judge(graphs.collate([index]))
        for label, name in (("energy", "energy"), ("forces", "energy.forces"), ("stress", "energy.stress")):
            if f"{key}:{index}:{label}" not in answers:
                continue
            theirs = answers[f"{key}:{index}:{label}"]
            size = max(1.0, float(np.abs(answers[f"{key}:{index}:forces"]).max()))
            for who, values in (("our model", ours[name]), ("the rebuilt one", judged[label])):
                difference = float(np.abs(values.reshape(theirs.shape) - theirs).max())
                if not difference <= allowed * size:
                    worst = f"{who} differs by {difference:.3g} in {label} of structure {index}"
    return worst


def main() -> int:
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)  # as the calculators of these releases do, see ``Judge``
    parser = argparse.ArgumentParser(description="Files of other releases of mace-torch, opened here.")
    parser.add_argument("--release", action="append", required=True, metavar="NAME=PYTHON")
    parser.add_argument("--train", action="store_true", help="also let each release train")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave the files")
    arguments = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        top = arguments.keep or Path(temporary)
        top.mkdir(exist_ok=True)
        shown = structures()
        write(top / "structures.traj", shown)
        for release in arguments.release:
            name, _, python = release.partition("=")
            folder = top / name
            (folder / "trained").mkdir(parents=True, exist_ok=True)
            print(f"mace-torch {name}", flush=True)
            if arguments.train:
                train(python, folder / "trained", folder / "train.log")
            writer = Path(__file__).with_name("write_with_mace.py")
            environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
            command = [python, str(writer), str(folder), str(top / "structures.traj")]
            with (folder / "writer.log").open("w", encoding="utf-8") as stream:
                subprocess.run(command, env=environment, check=True, stdout=stream, stderr=stream)
            results = compare(folder, shown)
            wrong = [(key, sentence) for key, sentence in results if sentence]
            left_out = json.loads((folder / "left_out.json").read_text(encoding="utf-8"))
            print(f"    {len(results) - len(wrong)} of {len(results)} agree; {len(left_out)} kinds it can't build")
            for key, sentence in wrong:
                known = (name, key) in KNOWN
                print(f"    {key}: {sentence}{' (as is known)' if known else ''}", flush=True)
                failures += not known
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
