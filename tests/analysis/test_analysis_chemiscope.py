import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from analysis_samples import made_up

from mace_app.analysis.chemiscope import chemiscope_file
from mace_app.analysis.errors import Look, by_structure, pairs


def test_every_structure_has_its_atoms_its_errors_and_its_arrows() -> None:
    analysis = made_up(12, periodic=True)
    rows = [7, 2]
    value = json.loads(gzip.decompress(chemiscope_file(analysis, rows, "A <name>")))
    assert value["meta"]["name"] == "A <name>" and [s["size"] for s in value["structures"]] == [
        int(analysis.structures.n_atoms[row]) for row in rows
    ]
    atoms = analysis.atoms(7)
    assert value["structures"][0]["names"] == atoms.get_chemical_symbols() and len(value["structures"][0]["cell"]) == 9
    np.testing.assert_allclose(value["structures"][0]["x"], atoms.positions[:, 0], atol=1e-6)
    rmse = by_structure(analysis, pairs(analysis, Look("energy.forces")))
    shown = value["properties"]["RMSE energy.forces"]
    assert shown["values"] == pytest.approx(rmse[rows].tolist()) and shown["units"] == "eV/Å"
    arrows = value["shapes"]["reference forces"]["parameters"]["atom"]
    label = analysis.labels["energy.forces"]
    assert len(arrows) == analysis.structures.n_atoms[rows].sum()
    np.testing.assert_allclose(arrows[0]["vector"], label.reference[analysis.rows("energy.forces", 7)][0], atol=1e-5)
    used = value["settings"]["map"]
    assert {used["x"]["property"], used["y"]["property"], used["color"]["property"]} <= set(value["properties"])


def test_what_one_of_them_lacks_is_left_out() -> None:
    analysis = made_up(12)
    analysis.labels["energy"].reference[2] = np.nan
    analysis = replace(analysis, structures=replace(analysis.structures, map=np.full((12, 2), np.nan)))
    value = json.loads(gzip.decompress(chemiscope_file(analysis, [7, 2], "x")))
    assert not {"RMSE energy", "error energy", "map 1"} & set(value["properties"])
    assert value["settings"]["map"]["x"]["property"] == "frame" and "cell" not in value["structures"][0]
    assert "error energy" in json.loads(gzip.decompress(chemiscope_file(analysis, [7], "x")))["properties"]
