"""Make ethanol.xyz: distorted ethanol molecules at PBE/def2-SVP, and the isolated atoms at the same level.

Needs packages that the app itself does not: ``pip install pyscf==2.14.0 ase==3.29.0``, in an environment of its own.
Run ``OMP_NUM_THREADS=1 python make_ethanol.py`` (about half an hour on one core). Every finished structure is kept in
``work/``; started again, the script goes on where it stopped. ``--check`` compares forces with differences of the
energy instead.

How the geometries are made. The trans and the gauche conformer are relaxed and their Hessians calculated. A structure
is a conformer displaced along its harmonic modes with the classical amplitude at 500 K, sigma = sqrt(kT) / omega. The
two torsions (O-H and CH3) are left out there, since a straight line along them would stretch bonds; they are rotated
instead: O-H anywhere, CH3 by 20 degrees (standard deviation). At last the molecule is turned at random, so that
vector labels have no preferred direction.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read, write
from ase.optimize import BFGS
from pyscf import dft, gto, lo
from scipy.spatial.transform import Rotation

FUNCTIONAL = "pbe"
BASIS = "def2-svp"
GRID_LEVEL = 3
TEMPERATURE = 500.0  # K
STRUCTURES = 180
SEED = 20260711
UNPAIRED_ELECTRONS = {"H": 1, "C": 2, "O": 2}

# Positions in ase.build.molecule("CH3CH2OH"); 4 and 5 are the hydrogens of CH2.
C_OF_CH3, C_OF_CH2, OXYGEN, H_OF_OH, H_OF_CH3 = 0, 1, 2, 3, (6, 7, 8)


class PBE(Calculator):
    """PySCF's density-fitted Kohn-Sham DFT of a closed-shell molecule, in eV, eV/Å, e·Å and e."""

    implemented_properties = ("energy", "forces", "dipole", "charges")

    def __init__(self) -> None:
        super().__init__()
        self.density = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.field = kohn_sham(self.atoms)
        energy = self.field.kernel(dm0=self.density)
        if not self.field.converged:
            raise RuntimeError("The self-consistent field did not converge")
        self.density = self.field.make_rdm1()
        gradient = self.field.nuc_grad_method()
        gradient.grid_response = True  # forces are then the exact derivative of the energy on this grid
        self.results = {
            "energy": energy * units.Hartree,
            "forces": -gradient.kernel() * units.Hartree / units.Bohr,
            "dipole": self.field.dip_moment(unit="AU", verbose=0) * units.Bohr,
            "charges": loewdin_charges(self.field),
        }


def kohn_sham(atoms: Atoms, unpaired: int = 0):
    """PySCF's mean-field object of `atoms`; unrestricted when electrons are unpaired."""
    mol = gto.M(
        atom=list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)),
        basis=BASIS,
        spin=unpaired,
        verbose=0,
    )
    field = (dft.UKS if unpaired else dft.RKS)(mol, xc=FUNCTIONAL).density_fit()
    field.grids.level = GRID_LEVEL
    field.conv_tol = 1e-10
    return field


def loewdin_charges(field) -> np.ndarray:
    """Charges [N] in e: Z − Σ diag(S½ D S½), P.-O. Löwdin, J. Chem. Phys. 18, 365 (1950)."""
    root = lo.orth.lowdin(field.get_ovlp())  # S to the power −½
    half = field.get_ovlp() @ root  # S to the power ½
    populations = np.einsum("pi,pq,qi->i", half, field.make_rdm1(), half)
    charges = field.mol.atom_charges().astype(float)
    for population, (atom, *_) in zip(populations, field.mol.ao_labels(fmt=None), strict=True):
        charges[atom] -= population
    return charges


def conformer(name: str, work: Path) -> tuple[Atoms, np.ndarray]:
    """The relaxed conformer and its Hessian [3N, 3N] in eV/Å²."""
    path = work / f"{name}.json"
    if path.exists():
        stored = json.loads(path.read_text())
        return Atoms(stored["symbols"], stored["positions"]), np.array(stored["hessian"])
    atoms = molecule("CH3CH2OH")
    if name == "gauche":
        atoms.set_dihedral(C_OF_CH3, C_OF_CH2, OXYGEN, H_OF_OH, 60.0, indices=[H_OF_OH])
    atoms.calc = PBE()
    BFGS(atoms, logfile=None).run(fmax=0.003)
    blocks = atoms.calc.field.Hessian().kernel()  # [N, N, 3, 3] in Hartree/Bohr²
    size = 3 * len(atoms)
    hessian = blocks.transpose(0, 2, 1, 3).reshape(size, size) * units.Hartree / units.Bohr**2
    stored = {
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions.tolist(),
        "hessian": hessian.tolist(),
    }
    path.write_text(json.dumps(stored))
    return Atoms(stored["symbols"], atoms.positions), hessian


def displaced(atoms: Atoms, hessian: np.ndarray, random: np.random.Generator) -> Atoms:
    """`atoms` at 500 K: classical harmonic modes, free O-H torsion, 20° of CH3 torsion, turned at random."""
    root_mass = np.sqrt(np.repeat(atoms.get_masses(), 3))
    curvature, modes = np.linalg.eigh(hessian / np.outer(root_mass, root_mass))
    stiff = slice(8, None)  # six of translation and rotation, then the two torsions
    amplitude = np.sqrt(units.kB * TEMPERATURE / curvature[stiff]) * random.normal(size=len(curvature) - 8)
    result = atoms.copy()
    result.positions += ((modes[:, stiff] @ amplitude) / root_mass).reshape(-1, 3)
    result.rotate_dihedral(C_OF_CH3, C_OF_CH2, OXYGEN, H_OF_OH, random.uniform(-180, 180), indices=[H_OF_OH])
    result.rotate_dihedral(OXYGEN, C_OF_CH2, C_OF_CH3, H_OF_CH3[0], random.normal(0, 20), indices=H_OF_CH3)
    result.positions -= result.get_center_of_mass()
    result.positions = Rotation.random(rng=random).apply(result.positions)
    return result


def plain(atoms: Atoms) -> Atoms:
    return Atoms(atoms.get_chemical_symbols(), np.round(atoms.positions, 8), pbc=False)


def geometries(work: Path) -> list[Atoms]:
    random = np.random.default_rng(SEED)
    conformers = [conformer(name, work) for name in ("trans", "gauche")]
    return [plain(displaced(*conformers[index % 2], random)) for index in range(STRUCTURES)]


def labelled(atoms: Atoms, calculator: PBE) -> Atoms:
    atoms.calc = calculator
    results = {"energy": atoms.get_potential_energy(), **calculator.results}
    atoms.calc = None
    bonds = [C_OF_CH3, C_OF_CH2, OXYGEN, H_OF_OH]
    torsion = atoms.get_dihedral(*bonds)
    atoms.info["config_type"] = "trans" if 120 <= torsion <= 240 else "gauche"
    atoms.info["REF_energy"] = float(results["energy"])
    atoms.info["REF_dipole"] = results["dipole"]
    atoms.arrays["REF_forces"] = results["forces"]
    atoms.arrays["REF_charges"] = results["charges"]
    return atoms


def isolated_atom(symbol: str) -> Atoms:
    atoms = Atoms(symbol, [[0.0, 0.0, 0.0]], pbc=False)
    field = kohn_sham(atoms, UNPAIRED_ELECTRONS[symbol])
    energy = field.kernel()
    if not field.converged:
        raise RuntimeError(f"The self-consistent field of {symbol} did not converge")
    atoms.info = {"config_type": "IsolatedAtom", "REF_energy": energy * units.Hartree}
    return atoms


def check(work: Path) -> None:
    """Print forces beside central differences of the energy, and the sum of charges."""
    step = 1e-3
    atoms = geometries(work)[0]
    atoms.calc = PBE()
    forces = atoms.get_forces()
    print(f"Sum of the forces {np.abs(forces.sum(axis=0)).max():.1e} eV/Å")
    print(f"Sum of the charges {atoms.get_charges().sum():.1e} e")
    largest = 0.0
    for index in range(len(atoms)):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.calc = atoms.calc
                moved.positions[index, axis] += sign * step
                energies.append(moved.get_potential_energy())
            difference = -(energies[0] - energies[1]) / (2 * step)
            largest = max(largest, abs(difference - forces[index, axis]))
            print(f"atom {index} axis {axis}: {forces[index, axis]:9.5f} {difference:9.5f} eV/Å", flush=True)
    print(f"Largest difference {largest:.1e} eV/Å")


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=here / "work", help="folder for finished structures")
    parser.add_argument("--output", type=Path, default=here / "ethanol.xyz")
    parser.add_argument(
        "--check", action="store_true", help="compare forces with differences of the energy, write nothing"
    )
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.check:
        check(arguments.work)
        return
    frames = [isolated_atom(symbol) for symbol in UNPAIRED_ELECTRONS]
    calculator = PBE()
    for index, atoms in enumerate(geometries(arguments.work)):
        path = arguments.work / f"{index:04d}.xyz"
        if not path.exists():
            temporary = path.with_suffix(".part")
            write(temporary, labelled(atoms, calculator), format="extxyz")
            temporary.rename(path)
            print(f"{index + 1} of {STRUCTURES}", flush=True)
        frames.append(read(path))
    write(arguments.output, frames, format="extxyz")


if __name__ == "__main__":
    main()
