import json
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from analysis_samples import made_up

from mace_app.analysis import Analysis, AnalysisError, Label, read_analysis, read_info, store, write_analysis
from mace_app.analysis.store import exchange, is_whole


def with_more(analysis: Analysis) -> Analysis:
    """A tensor with a hole, charges, and several splits."""
    random = np.random.default_rng(1)
    tensor = random.normal(size=(len(analysis), 3, 3, 1))
    hole = tensor.copy()
    hole[3] = np.nan
    charges = random.normal(size=(len(analysis.numbers), 1))
    return replace(
        analysis,
        labels={
            **analysis.labels,
            "mtt::alpha": Label("mtt::alpha", "", False, True, hole, tensor),
            "charge": Label("charge", "e", True, False, charges, charges + 0.1),
        },
    )


def test_what_was_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    before = with_more(made_up(periodic=True))
    write_analysis(tmp_path / "one", before)
    after = read_analysis(tmp_path / "one")
    for name in (field.name for field in fields(before.structures)):
        np.testing.assert_array_equal(getattr(after.structures, name), getattr(before.structures, name))
    np.testing.assert_array_equal(after.numbers, before.numbers)
    np.testing.assert_array_equal(after.positions, before.positions)
    assert list(after.labels) == list(before.labels)
    for name, label in before.labels.items():
        for part in ("reference", "prediction", "baseline"):
            np.testing.assert_array_equal(getattr(after.labels[name], part), getattr(label, part))
        assert (after.labels[name].unit, after.labels[name].per_atom) == (label.unit, label.per_atom)
    assert after.info.targets == before.info.targets and after.info.model == before.info.model
    atoms = after.atoms(7)
    rows = after.rows("energy.forces", 7)
    assert len(atoms) == before.structures.n_atoms[7] == rows.stop - rows.start and atoms.pbc.all()
    np.testing.assert_array_equal(after.structure_of_atom[rows], 7)


def test_other_programs_find_the_columns(tmp_path: Path) -> None:
    write_analysis(tmp_path / "one", with_more(made_up()))
    structures = pyarrow.parquet.read_table(tmp_path / "one" / "structures.parquet").to_pandas()
    assert {"split", "frame", "formula", "energy:reference", "energy:baseline"} <= set(structures.columns)
    assert len(structures["mtt::alpha:reference"][0]) == 9 and np.isnan(structures["mtt::alpha:reference"][3]).all()
    atoms = pyarrow.parquet.read_table(tmp_path / "one" / "atoms.parquet").to_pandas()
    assert len(atoms["energy.forces:prediction"][0]) == 3 and len(atoms) == structures["n_atoms"].sum()


def test_a_second_analysis_takes_the_place_of_the_first(tmp_path: Path) -> None:
    write_analysis(tmp_path / "one", made_up(20))
    write_analysis(tmp_path / "one", made_up(30))
    assert len(read_analysis(tmp_path / "one")) == 30
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_while_an_analysis_is_replaced_one_is_always_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    write_analysis(folder, made_up(20))
    if not exchange(folder, folder):
        pytest.skip("this system can't exchange two folders in one step")
    move = os.replace

    def moved(source: Path, to: Path) -> None:
        move(source, to)
        assert len(read_analysis(folder)) in (20, 30)

    monkeypatch.setattr(os, "replace", moved)
    write_analysis(folder, made_up(30))
    assert len(read_analysis(folder)) == 30 and [path.name for path in tmp_path.iterdir()] == ["one"]


def test_where_folders_can_not_be_exchanged_they_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "exchange", lambda first, second: False)
    test_a_second_analysis_takes_the_place_of_the_first(tmp_path)


@pytest.mark.parametrize("file", ["analysis.json", "structures.parquet", "atoms.parquet"])
@pytest.mark.parametrize("how", ["missing", "cut", "other"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, file: str, how: str) -> None:
    write_analysis(tmp_path / "one", made_up(20))
    path = tmp_path / "one" / file
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        write_analysis(tmp_path / "two", made_up(21))
        path.write_bytes((tmp_path / "two" / file).read_bytes() if file != "analysis.json" else b"[1, 2]")
    with pytest.raises(AnalysisError, match="analyse the model again"):
        read_analysis(tmp_path / "one")


def test_the_facts_alone_are_read_without_the_tables(tmp_path: Path) -> None:
    write_analysis(tmp_path / "one", made_up(20))
    (tmp_path / "one" / "atoms.parquet").unlink()
    info = read_info(tmp_path / "one")
    assert info.labels["energy"] == {"unit": "eV", "per_atom": False, "divide_by_atoms": True, "shape": [1]}
    value = json.loads((tmp_path / "one" / "analysis.json").read_text())
    (tmp_path / "one" / "analysis.json").write_text(json.dumps(value | {"format": 2}))
    with pytest.raises(AnalysisError, match="newer version"):
        read_info(tmp_path / "one")


def test_structures_are_in_angstrom_whatever_the_data_are_in() -> None:
    analysis = made_up(5, periodic=True)
    bohr = replace(analysis, info=replace(analysis.info, length_unit="bohr"))
    np.testing.assert_allclose(bohr.atoms(2).positions, 0.529177210903 * analysis.atoms(2).positions)
    np.testing.assert_allclose(bohr.atoms(2).cell, 0.529177210903 * analysis.atoms(2).cell)
    np.testing.assert_array_equal(bohr.atoms(2, in_angstrom=False).positions, analysis.atoms(2).positions)


@pytest.mark.parametrize("file", ["analysis.json", "structures.parquet", "atoms.parquet"])
def test_a_result_without_its_end_is_not_whole(tmp_path: Path, file: str) -> None:
    write_analysis(tmp_path / "one", made_up(20))
    assert is_whole(tmp_path / "one")
    (tmp_path / "one" / file).write_bytes(b"")
    assert not is_whole(tmp_path / "one")
