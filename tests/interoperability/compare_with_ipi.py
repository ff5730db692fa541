"""The same numbers through i-PI's metatomic driver: ``python compare_with_ipi.py RUN_FOLDER STRUCTURES.xyz``.

``i-pi-driver-py -m metatomic`` is started as for a simulation; ASE's socket calculator stands where i-PI would be. The
driver is the program named by MACE_APP_IPI_DRIVER, or the one beside this Python (``pip install ipi``).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.socketio import SocketIOCalculator
from ase.io import write
from comparing import Row, finish, own_predictions, row, structures_of

# The socket speaks atomic units, and the constants of i-PI and of ASE agree to seven digits only (measured: 1e-7).
RELATIVE = 3e-7
TIMEOUT = 120


def driver() -> Path | None:
    named = os.environ.get("MACE_APP_IPI_DRIVER")
    beside = Path(sys.executable).with_name("i-pi-driver-py")
    if named:
        return Path(named)
    return beside if beside.exists() else (Path(found) if (found := shutil.which("i-pi-driver-py")) else None)


def ask(program: Path, model: Path, atoms: Atoms) -> dict[str, np.ndarray]:
    """The driver is told elements by a template, so every structure has one of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "template.xyz", Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
        address = f"mace-studio-{uuid.uuid4().hex[:12]}"
        with SocketIOCalculator(unixsocket=address, timeout=TIMEOUT) as calculator:
            options = f"template={folder}/template.xyz,model={model.resolve()},device=cpu,check_consistency=True"
            command = [str(program), "-u", "-a", address, "-m", "metatomic", "-o", options]
            log = Path(folder) / "driver.log"
            with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as client:
                try:
                    atoms = atoms.copy()
                    atoms.calc = calculator
                    answers = {
                        "energy": np.array([atoms.get_potential_energy()]),
                        "energy.forces": atoms.get_forces(),
                        "energy.stress": atoms.get_stress(voigt=False) if atoms.pbc.all() else np.zeros((0, 3)),
                    }
                except (OSError, TimeoutError) as error:
                    raise SystemExit(f"{error}\n{log.read_text()}") from error
                finally:
                    client.terminate()
        return answers


def compare(run: Path, data: Path, program: Path, at_most: int = 3) -> list[Row]:
    theirs: dict[str, list[np.ndarray]] = {}
    ours: dict[str, list[np.ndarray]] = {}
    pairs = list(zip(structures_of(data), own_predictions(run, data), strict=True))[:at_most]
    for atoms, own in pairs:
        for label, answer in ask(program, run / "model.pt", atoms).items():
            if label in own and answer.size:
                theirs.setdefault(label, []).append(answer.ravel())
                ours.setdefault(label, []).append(own[label].ravel())
    return [row(label, np.concatenate(theirs[label]), np.concatenate(ours[label]), RELATIVE) for label in theirs]


if __name__ == "__main__":
    found = driver()
    if found is None:
        raise SystemExit("There is no i-pi-driver-py; `pip install ipi`, or name it in MACE_APP_IPI_DRIVER.")
    finish(compare(Path(sys.argv[1]), Path(sys.argv[2]), found))
