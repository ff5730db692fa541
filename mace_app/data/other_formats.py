"""Formats other than extended xyz, through ASE.

Only formats on a list are read. ASE also knows formats that execute what the file says (Python scripts), that hold
pickles, or that change the file while reading it (its databases); a file from a stranger must not choose those.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import ase.io
import ase.io.formats
import numpy as np
from ase import Atoms

from mace_app.data.errors import DataError, at, excerpt
from mace_app.data.frames import Frame

_NAMES = """
    abinit-in abinit-out aims aims-output castep-castep castep-cell castep-geom castep-md castep-phonon cfg cif
    cjson cp2k-dcd cp2k-restart crystal cube dftb dlp4 dlp-history dmol-arc dmol-car eon espresso-in espresso-out
    gaussian-in gaussian-out gen gpaw-out gpumd gromacs gromos jsv lammps-data lammps-dump-binary lammps-dump-text
    magres mol netcdftrajectory nwchem-in nwchem-out octopus-in orca-output proteindatabank qbox res rmc6f
    runnerdata sdf siesta-xv struct traj turbomole turbomole-gradient v-sim vasp vasp-out vasp-xdatcar vasp-xml
    wout xsf
"""
SAFE_FORMATS = frozenset(_NAMES.split())
# What ASE's many parsers raise when a file is not as they expect.
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def format_of(path: Path) -> str:
    """ASE's name of the file's format, checked against the list; DataError if it is unknown or not on the list."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = ase.io.formats.filetype(str(path.absolute()))
    except _FAILURES as error:
        raise DataError(
            f"{path}: the format can't be recognised ({_said(error)}). Convert the file to extended xyz, for example "
            "with `ase convert`."
        ) from error
    if name in ("extxyz", "xyz") or name in SAFE_FORMATS:
        return name
    why = "is not read here" if name in ase.io.formats.ioformats else "is unknown to ASE"
    raise DataError(
        f"{path}: the format `{name}` {why}. Formats that could execute code or change the file while it is read are "
        "left out; convert the file to extended xyz, for example with `ase convert`."
    )


def read_other(path: Path, name: str) -> Iterator[Frame]:
    """Every frame of a file in one of ``SAFE_FORMATS``."""
    frames = ase.io.iread(str(path.absolute()), index=":", format=name, do_not_split_by_at_sign=True)
    index = 0
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                atoms = next(frames, None)
                frame = None if atoms is None else _frame(atoms, index)
        except _FAILURES as error:
            raise DataError(
                f"{at(path, index)}: ASE can't read this as `{name}` ({_said(error)}). Check the file or convert it "
                "to extended xyz."
            ) from error
        if frame is None:
            return
        if len(frame) == 0:
            raise DataError(f"{at(path, index)}: the structure has no atoms. Remove it from the file.")
        yield frame
        index += 1


def _frame(atoms: Atoms, index: int) -> Frame:
    own = {"numbers", "positions"}
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    return Frame(
        index=index,
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions.astype(float),
        cell=np.array(atoms.cell.array, dtype=float),
        pbc=np.array(atoms.pbc, dtype=bool),
        info=dict(atoms.info),
        arrays={name: values for name, values in atoms.arrays.items() if name not in own},
        results={name: value for name, value in results.items() if value is not None},
    )


def _said(error: BaseException) -> str:
    text = excerpt(" ".join(str(error).split()), 160)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
