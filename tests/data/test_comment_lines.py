"""Comment lines mean what ASE takes them for."""

from typing import Any

import numpy as np
import pytest
from ase.io.extxyz import key_val_str_to_dict

from mace_app.data.comment_lines import read_comment

PIECES = """
energy=-4209.46578 energy=5 energy=+7 energy=007 energy=1e-5 energy=-.5 energy=1. energy=1.5e400 energy=nan energy=1_0
big=123456789012345678901234567890 wide=-999999999999999999 uid=12 uid="1.5" UID=3 name=17.castep flag=T flag=False
x=1,2,3 x="1 2 3" x="1.0 2 3" x="1.0, 2.0" x="1.0  2.0 " x=" 1.5" x="T T F" x="T 1" x="" x=" " x={1.0} x=[1,2,3]
stress="1 2 3" virial="1. 2. 3. 4. 5. 6. 7. 8. 9." Lattice="1 0 0 0 1 0 0 0 1" Lattice="1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0"
alone "alone" a=b=c a= =b = a="b"c a="b=c" a=b\\ c "a b"=c a='"' a="{1}" a=_JSON j="_JSON null" j="_JSON 5" x='a b' x="a
j="_JSON {" näme=größe x=٣ x="1.0\t2.0" pbc="T T F" pbc=T pbc=[T,T,F] dict={a=1} text="650 eV" x=1..5 x=--1 flag=t
j="_JSON [1, 2]" Lattice=1.5 stress="1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 2.0"
"""


def pieces() -> list[str]:
    """Each with its quotes, also where these hold a space."""
    found: list[str] = []
    for line in PIECES.strip().splitlines():
        for word in line.split(" "):
            if found and found[-1].count('"') % 2 and not found[-1].endswith('x="a'):
                found[-1] += f" {word}"
            else:
                found.append(word)
    return found


def outcome(read: Any, line: str) -> tuple[Any, ...]:
    try:
        return ("value", read(line))
    except Exception as error:  # noqa: BLE001 - whatever it raises must be the same
        return ("error", type(error), str(error))


def same(mine: Any, theirs: Any) -> bool:
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, dict):
        return list(mine) == list(theirs) and all(same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, np.ndarray | np.generic):
        return mine.dtype == theirs.dtype and np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
    return bool(mine == theirs)


def test_every_piece_is_read_as_ase_reads_it_alone_and_beside_others() -> None:
    alone = pieces()
    random = np.random.default_rng(3)
    joined = [
        random.choice([" ", "  ", "\t"]).join(random.choice(alone, random.integers(1, 6)).tolist()) for _ in range(4000)
    ]
    for line in [*alone, *joined]:
        line = line.strip()
        mine, theirs = outcome(read_comment, line), outcome(key_val_str_to_dict, line)
        assert mine == theirs if theirs[0] == "error" else mine[0] == "value" and same(mine[1], theirs[1]), line


@pytest.mark.parametrize("line", ['flags="T F" name=x', 'x="1 2 3"'])
def test_remembered_values_are_copies(line: str) -> None:
    first = read_comment(line)
    key = next(iter(first))
    first[key][0] = 9
    assert not np.array_equal(read_comment(line)[key], first[key])
