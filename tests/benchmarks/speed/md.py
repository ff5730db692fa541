"""How fast exported models are: molecular dynamics and evaluation, ours beside MACECalculator and metatrain's export.

`python tests/benchmarks/speed/md.py --data FOLDER --cache FOLDER` trains one small model, exports it for metatomic and
for mace-torch, lets metatrain export the latter, and then runs all three, the same weights, in turn and in processes
of their own, with the calculators of metatomic and mace-torch: Langevin dynamics of a periodic box of 198 atoms, and
energies and forces of many molecules, one after the other. `--write` puts the table into docs/performance.md.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
sys.path[:0] = [str(HERE), str(HERE.parent / "learning")]
from compare import TITLES, parse  # noqa: E402
from environments import environment, run_logged  # noqa: E402
from programs import metatrain, studio  # noqa: E402
from setting import ETHANOL, Files, Setting, make_files  # noqa: E402

BEGIN, END = "<!-- dynamics: begin -->", "<!-- dynamics: end -->"
RUN = """
import sys, time, json
import numpy as np, torch
from ase import units
from ase.io import read
from ase.md.langevin import Langevin
kind, path, box, molecules, steps = *sys.argv[1:5], int(sys.argv[5])
torch.set_num_threads(1)
if kind == "metatomic":
    from metatomic_ase import MetatomicCalculator
    calculator = MetatomicCalculator(path, device="cpu")
else:
    from mace.calculators import MACECalculator
    calculator = MACECalculator(model_paths=path, device="cpu", default_dtype="float32")
atoms = read(box)
atoms.calc = calculator
energy, forces = atoms.get_potential_energy(), atoms.get_forces()
dynamics = Langevin(atoms, 0.5 * units.fs, temperature_K=100, friction=0.02, rng=np.random.default_rng(0))
dynamics.run(6)
seconds = []
for _ in range(steps):
    start = time.perf_counter()
    dynamics.run(1)
    seconds.append(time.perf_counter() - start)
frames = read(molecules, ":")
for atoms in frames[:6]:
    atoms.calc = calculator
    atoms.get_forces()
start = time.perf_counter()
for atoms in frames:
    atoms.calc = calculator
    atoms.get_potential_energy(), atoms.get_forces()
each = (time.perf_counter() - start) / len(frames)
print(json.dumps({"step": seconds, "structure": each, "energy": energy, "forces": forces.tolist()}))
"""


def main() -> None:
    arguments = parse()
    cache = arguments.cache / "dynamics"
    cache.mkdir(parents=True, exist_ok=True)
    mtt = arguments.mtt_python or environment("mtt", arguments.cache)
    setting = Setting(ETHANOL, "32x0e + 32x1o", 2)
    files = make_files(ETHANOL, arguments.data, cache, setting.r_max)
    box, molecules = cache / "box.xyz", files.training
    write(box, periodic_box(read(files.training, ":")), format="extxyz")
    ours, theirs = cache / "studio", cache / "metatrain"
    native = ours / "run" / "model.model"

    def from_ours(python: Path, setting: Setting, files: Files, folder: Path) -> list[str]:
        """Weights, baseline and scale come from the file; nothing is trained."""
        return metatrain(python, replace(setting, epochs=0), files, folder, {"mace_model": str(native)})

    for folder, command, python in ((ours, studio, Path(sys.executable)), (theirs, from_ours, mtt)):
        folder.mkdir(exist_ok=True)
        if not list(folder.glob("**/model.pt")):
            here = {"PYTHONPATH": str(REPOSITORY)} if folder == ours else {}
            run_logged(command(python, setting, files, folder), folder, folder / "log", setting.threads, here)
    runs = {
        "studio": (Path(sys.executable), "metatomic", ours / "run" / "model.pt"),
        "metatrain": (mtt, "metatomic", theirs / "model.pt"),
        "mace": (Path(sys.executable), "mace", native),
    }
    results: dict[str, list[dict]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, (python, kind, model) in runs.items():
            results[name].append(measure(python, kind, model, box, molecules))
    check(results)
    text = table(results)
    print(text)
    if arguments.write:
        page = REPOSITORY / "docs" / "performance.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def periodic_box(molecules: list[Atoms]) -> Atoms:
    """22 molecules of ethanol, 14 Å wide."""
    places = [(x, y, z) for x in range(3) for y in range(3) for z in range(3)]
    atoms = Atoms(cell=[14.0, 14.0, 14.0], pbc=True)
    for place, molecule in zip(places[:22], molecules, strict=False):
        centred = molecule.positions - molecule.positions.mean(axis=0)
        atoms += Atoms(molecule.numbers, centred + np.array(place) * 14 / 3 + 1)
    return atoms


def measure(python: Path, kind: str, model: Path, box: Path, molecules: Path) -> dict:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(python), "-W", "ignore", "-c", RUN, kind, str(model), str(box), str(molecules), "20"]
    answer = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"{kind} {model}: {answer.stderr[-2000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def check(results: dict[str, list[dict]]) -> None:
    """All hold the same weights, so they must agree."""
    ours = results["studio"][0]
    for name in ("mace", "metatrain"):
        other = results[name][0]
        forces = np.abs(np.array(ours["forces"]) - np.array(other["forces"])).max()
        energy = abs(ours["energy"] - other["energy"]) / len(ours["forces"])
        print(f"ours and {name}: energies differ by {energy:.1e} eV/atom, forces by at most {forces:.1e} eV/Å")
        assert forces < 1e-4, name
        assert energy < 2e-3, name  # energies of atoms of 10³ eV, which mace-torch sums in float32


def table(results: dict[str, list[dict]]) -> str:
    titles = {**TITLES, "metatrain": "metatrain's export", "mace": "MACECalculator"}
    lines = ["| | " + " | ".join(titles[name] for name in results) + " | ratios |", "|" + "---|" * (len(results) + 2)]
    for title, key in (("milliseconds per step of MD, 198 atoms", "step"), ("per molecule of 9 atoms", "structure")):
        best = {name: 1000 * min(np.min(one[key]) for one in many) for name, many in results.items()}
        ratios = ", ".join(f"{value / best['studio']:.1f}" for name, value in best.items() if name != "studio")
        lines.append(f"| {title} | " + " | ".join(f"{value:.1f}" for value in best.values()) + f" | {ratios} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
