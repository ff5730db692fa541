"""Exported files hold the corrected weights, and are compared with the model that has the corrections."""

from pathlib import Path

import numpy as np
import pytest
import torch
from graph_fixtures import DIPOLE, ENERGY, Graphs, crystal, ethanol, slab, small_model

from mace_app.export import ExportMetadata, export_metatomic, export_native
from mace_app.model import LoRA, MaceModel

STRUCTURES = Graphs([ethanol(), crystal(), slab()])


def corrected(dtype: torch.dtype) -> MaceModel:
    model = small_model([ENERGY, DIPOLE], dtype)
    model.baseline.set("energy", np.array([[-13.6], [-1028.5], [-2041.25]]))
    model.add_corrections(LoRA(2, 1.0))
    assert model.corrections is not None
    with torch.no_grad():
        for factor in model.corrections.parameters():
            factor.normal_(std=0.5)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_metatomic_file_of_a_model_with_corrections_agrees_with_it(dtype: torch.dtype, tmp_path: Path) -> None:
    model = corrected(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = export_metatomic(model, tmp_path / "model.pt", ExportMetadata(name="corrected"), STRUCTURES)
    assert {"energy", "energy.forces", "mtt::dipole", "mtt::aux::mace_features"} <= {c.label for c in report.checks}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_native_file_of_a_model_with_corrections_agrees_with_it(tmp_path: Path) -> None:
    report = export_native(corrected(torch.float64), tmp_path / "model.model", STRUCTURES, "angstrom")
    assert {"energy", "energy.forces", "energy.stress"} == {check.label for check in report.checks}
