"""Units as people write them reach metatomic in the spelling it reads."""

import pytest
from graph_fixtures import small_model
from metatomic.torch import unit_conversion_factor

from mace_app.export import ExportMetadata, ExportRefused
from mace_app.export.metatomic_file import build_atomistic_model, check_exportable
from mace_app.export.names import metatomic_unit
from mace_app.options import TargetInfo


@pytest.mark.parametrize(
    ("written", "read"),
    [("e·Å", "e*Angstrom"), ("eV/Å³", "eV/Angstrom^3"), ("Å", "Angstrom"), ("Ha", "Hartree"), ("eV", "eV"), ("", "")],
)
def test_a_unit_is_translated_and_metatomic_knows_it(written: str, read: str) -> None:
    assert metatomic_unit(written) == read
    assert unit_conversion_factor(metatomic_unit(written), read) == pytest.approx(1.0)


def test_a_target_of_ones_own_keeps_a_unit_that_metatomic_does_not_know_in_words() -> None:
    model = small_model([TargetInfo("mtt::Cv", unit="cal/mol/K", description="Heat capacity")])
    output = build_atomistic_model(model, ExportMetadata("m")).capabilities().outputs["mtt::Cv"]
    assert (output.unit, output.description) == ("", "Heat capacity, in cal/mol/K")


def test_a_standard_quantity_needs_a_unit_that_engines_can_convert() -> None:
    model = small_model([TargetInfo("charge", unit="cal/mol/K", sample_kind="atom")])
    with pytest.raises(ExportRefused, match="`cal/mol/K` of `charge` is none that simulation engines know"):
        check_exportable(model, ExportMetadata("m"))
