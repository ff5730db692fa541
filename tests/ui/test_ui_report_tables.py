from mace_app.ui.report_tables import error_rows


def test_a_label_has_one_unit_on_every_split() -> None:
    splits = {
        "training": {"energy.forces": {"mae": 0.0404, "unit": "eV/Angstrom"}},
        "validation": {"energy.forces": {"mae": 0.118, "unit": "eV/Angstrom"}},
    }
    rows = error_rows({"splits": splits})
    assert [(row["Split"], row["MAE"], row["Unit"]) for row in rows] == [
        ("Training", "40.4", "meV/Å"),
        ("Validation", "118", "meV/Å"),
    ]
