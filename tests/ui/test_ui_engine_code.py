"""Lines for engines and the periodic table, without a page."""

import xml.etree.ElementTree as xml

import pytest
from ase.data import chemical_symbols

from mace_app.jobs import FoundationProgress
from mace_app.ui.engine_code import example_elements, ipi_code, lammps_code
from mace_app.ui.foundation_live import progress_words
from mace_app.ui.periodic_table import place


def test_the_lines_for_lammps_give_an_atomic_number_for_each_type_in_their_order() -> None:
    lines = lammps_code("water.pt", [8, 1]).splitlines()
    assert "pair_style metatomic water.pt" in lines
    assert "pair_coeff * * 1 8" in lines
    assert any(line.startswith("#") and line.endswith("here 1 is H, 2 is O") for line in lines)
    assert lines.index("units metal") < lines.index("read_data structure.data") < lines.index("pair_coeff * * 1 8")


@pytest.mark.parametrize(
    ("elements", "shown"), [([29], [29]), (range(1, 90), [1, 6, 8, 14]), ([21, 22, 23, 24, 25], [21, 22, 23, 24])]
)
def test_of_many_elements_the_example_has_a_few_that_the_model_knows(elements: list[int], shown: list[int]) -> None:
    assert example_elements(elements) == shown


def test_the_lines_for_ipi_are_xml_that_names_the_file() -> None:
    root = xml.fromstring(ipi_code("water.pt"))
    assert root.findtext("ffdirect/pes").strip() == "metatomic"  # type: ignore[union-attr]
    assert "model: water.pt," in (root.findtext("ffdirect/parameters") or "")
    force = root.find("system/forces/force")
    assert force is not None and force.get("forcefield") == root.find("ffdirect").get("name")  # type: ignore[union-attr]


def test_every_element_has_a_place_of_its_own_in_the_periodic_table() -> None:
    places = {chemical_symbols[z]: place(z) for z in range(1, 119)}
    assert len(set(places.values())) == 118
    # As in any textbook: columns are groups, and the two long rows stand below.
    groups = {1: "H Li Na K Rb Cs Fr", 2: "Be Mg Ca Sr Ba Ra", 17: "F Cl Br I At Ts", 18: "He Ne Ar Kr Xe Rn Og"}
    for column, members in groups.items():
        assert {places[symbol][1] for symbol in members.split()} == {column}
    assert places["Hf"] == (6, 4) and places["Au"] == (6, 11) and places["B"] == (2, 13)
    assert [places[symbol][0] for symbol in ("La", "Lu", "Ac", "Lr")] == [8, 8, 9, 9]


def test_progress_is_told_in_words() -> None:
    downloading = FoundationProgress("downloading", done=12e6, total=40e6, eta_seconds=8.2)
    assert progress_words(downloading) == "Downloading · 12 MB of 40 MB · about 8 s left"
    comparing = FoundationProgress("comparing", head="a*b", done=1, total=4)
    assert progress_words(comparing) == "Comparing with the original MACE · head `a*b` · 1 of 4 structures"
    assert progress_words(comparing, several=False) == "Comparing with the original MACE · 1 of 4 structures"
    assert progress_words(FoundationProgress()) == "Waiting"
