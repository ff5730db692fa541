"""Units as people write them reach metatomic in the spelling it reads."""

import pytest
from metatomic.torch import unit_conversion_factor

from mace_app.export.names import metatomic_unit


@pytest.mark.parametrize(
    ("written", "read"),
    [("e·Å", "e*Angstrom"), ("eV/Å³", "eV/Angstrom^3"), ("Å", "Angstrom"), ("Ha", "Hartree"), ("eV", "eV"), ("", "")],
)
def test_a_unit_is_translated_and_metatomic_knows_it(written: str, read: str) -> None:
    assert metatomic_unit(written) == read
    assert unit_conversion_factor(metatomic_unit(written), read) == pytest.approx(1.0)
