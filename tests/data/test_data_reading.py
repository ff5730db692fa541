"""Files are read frame by frame, and every fault is named with its place."""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from water_files import water, waters

from mace_app.data import DataError, frame_of, iter_frames
from mace_app.data.reading import read_frames

Write = Callable[..., Path]


@pytest.mark.parametrize(
    "name",
    ["ethanol_rmd17_train.xyz", "carbon_virial_100.xyz", "qm9_100.xyz", "solvents_xtb_200.xyz"],
)
def test_structures_are_the_same_as_ase_reads(name: str, published_data: Path) -> None:
    ours = list(read_frames(published_data / name))
    theirs = ase.io.read(published_data / name, ":")
    assert len(ours) == len(theirs)
    for frame, atoms in zip(ours, theirs, strict=True):
        assert np.array_equal(frame.numbers, atoms.numbers) and np.array_equal(frame.pbc, atoms.pbc)
        assert np.array_equal(frame.positions, atoms.positions) and np.array_equal(frame.cell, atoms.cell.array)
        for key, value in {**atoms.info, **(atoms.calc.results if atoms.calc else {})}.items():
            mine = frame.info[key] if key in frame.info else frame.arrays[key]
            assert np.array_equal(np.asarray(mine), np.asarray(value))


BROKEN = {
    "a row too many": (water() + water().replace("3\n", "2\n", 1) + water(), ["frame 2", "line 10", "number of atoms"]),
    "a row too few": (water() + water().replace("3\n", "4\n", 1) + water(), ["frame 1", "line 11", "declares 4 atoms"]),
    "a garbled number": (water() + water().replace("0.93", "0.9x3"), ["frame 1", "line 10", "`0.9x3`", "`pos`"]),
    "a missing column": (water() + water().replace(" 0.2\n", "\n"), ["frame 1", "line 10", "6 columns", "declares 7"]),
    "a column too many": (water() + water().replace(" 0.2\n", " 0.2 1\n"), ["frame 1", "line 10", "8 columns"]),
    "a cut-off last frame": (water() + "".join(water().splitlines(True)[:4]), ["frame 1", "after 2 of 3 atoms"]),
    "nothing but a number at the end": (water() + "3\n", ["frame 1", "line 6", "ends after the number of atoms"]),
    "a huge number of atoms": ("999999999999\n" + water().split("\n", 1)[1], ["frame 0", "after 3 of 999999999999"]),
    "an unknown element": (water().replace("O 0", "Xx 0"), ["frame 0", "line 3", "`Xx`", "element"]),
    "a stress of six values": (
        water(comment='stress="1 2 3 4 5 6"'),
        ["frame 0", "line 2", "`stress`", "nine numbers"],
    ),
    "broken properties": (water().replace("pos:R:3", "pos:Q:3"), ["frame 0", "line 2", "`Properties`", "`Q`"]),
    "no positions": (water().replace("pos:R:3", "poz:R:3"), ["line 2", "no positions"]),
    "no atoms": (water() + "0\n\n", ["frame 1", "line 6", "no atoms"]),
    "text that is no xyz": ("hello\nworld\n", ["frame 0", "line 1", "`hello`"]),
    "wrong periodicity": (water().replace("F F F", "yes"), ["frame 0", "line 2", "`pbc`"]),
    "only empty lines": ("\n\n\n", ["empty"]),
    "cell vectors of ADF": (water() + "VEC1 1 0 0\n", ["line 6", "Lattice"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_frame_and_line(case: str, write: Write) -> None:
    text, said = BROKEN[case]
    path = write(text)
    with pytest.raises(DataError) as caught:
        list(read_frames(path))
    assert str(caught.value).startswith(str(path))
    for part in said:
        assert part in str(caught.value)


def test_missing_empty_binary_and_undecodable_files_are_refused(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            list(read_frames(path))
        return str(caught.value)

    assert "no such file" in message(tmp_path / "nowhere.xyz")
    assert "no file" in message(tmp_path)
    for name, content, said in (
        ("empty.xyz", b"", "empty"),
        ("binary.xyz", bytes(range(256)) * 50, "binary"),
        ("latin.xyz", water(comment="note=x").replace("note=x", "note=é").encode("latin-1"), "line 2"),
        ("cut.xyz.gz", gzip.compress(water().encode() * 100)[:-20], "damaged"),
        ("unknown.foo", b"what is this", "format"),
    ):
        (tmp_path / name).write_bytes(content)
        assert said in message(tmp_path / name), name


def test_reading_never_executes_what_a_file_says(tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (mark,))

    script = tmp_path / "atoms.py"
    script.write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nfrom ase import Atoms\natoms = Atoms('H')\n"
    )
    bundle = tmp_path / "old.traj"
    bundle.write_bytes(b"PickleTrajectory" + pickle.dumps(Evil()))
    database = tmp_path / "some.db"
    database.write_bytes(b"")
    for path in (script, bundle):
        with pytest.raises(DataError):
            list(read_frames(path))
    assert not mark.exists()
    database.write_bytes(b"SQLite format 3\0" + bytes(84))
    before = database.read_bytes()
    with pytest.raises(DataError, match="`db` is not read here"):
        list(read_frames(database))
    assert database.read_bytes() == before


def test_file_names_with_an_at_sign_are_names(write: Write) -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0.74, 0, 0]])
    path = write(waters(3), "run@0.xyz")
    assert len(list(read_frames(path))) == 3
    other = path.with_name("run@0:1.traj")
    ase.io.write(path.with_name("plain.traj"), [atoms, atoms])
    path.with_name("plain.traj").rename(other)
    assert len(list(read_frames(other))) == 2


def test_results_are_raw_even_where_atoms_are_fixed(tmp_path: Path) -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0.74, 0, 0]], constraint=FixAtoms([0]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=[[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])
    ase.io.write(tmp_path / "fixed.traj", atoms)
    frame = next(iter(read_frames(tmp_path / "fixed.traj")))
    assert np.array_equal(frame.results["forces"][0], [1.0, 2.0, 3.0])


def test_one_frame_is_found_without_reading_the_others_into_memory(write: Write) -> None:
    path = write([*waters(3), "\n", *waters(2, comment="last=T")])
    expected = list(iter_frames(path))
    for index in (4, 0, 2):
        atoms = frame_of(path, index)
        assert np.array_equal(atoms.positions, expected[index].positions) and atoms.info == expected[index].info
        assert atoms.arrays["forces"].shape == (3, 3)
    with pytest.raises(DataError, match="only 5 frames"):
        frame_of(path, 5)
    path.write_text(path.read_text() + water())
    assert len(frame_of(path, 5)) == 3


def test_compressed_and_plain_xyz_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.extxyz.gz"
    path.write_bytes(gzip.compress("".join(waters(4)).encode()))
    assert [frame.info["energy"] for frame in read_frames(path)][-1] == -2000.03
    plain = tmp_path / "plain.xyz"
    plain.write_text("2\na remark\nH 0 0 0 extra\nH 0 0 0.7 extra\n")
    frame = next(iter(read_frames(plain)))
    assert list(frame.numbers) == [1, 1] and not frame.pbc.any() and frame.arrays == {}


def test_bytes_read_are_reported(write: Write) -> None:
    path = write(waters(120))
    seen: list[int] = []
    list(read_frames(path, seen.append))
    assert len(seen) >= 3 and seen == sorted(seen) and seen[-1] == path.stat().st_size
