"""A file that is asked about a batch answers in the form and the units of the model it was made from."""

from pathlib import Path

import numpy as np
from graph_fixtures import batch_of, collate, crystal, ethanol, slab
from test_export_kinds import HIDDEN, TARGETS, small_model

from mace_app.export import ExportMetadata
from mace_app.export.exported import LoadedExport
from mace_app.export.metatomic_file import build_atomistic_model


def test_answers_are_those_of_the_model_in_its_units(tmp_path: Path) -> None:
    some = [TARGETS[0], TARGETS[1], TARGETS[6], TARGETS[10]]  # two units of energy, tensors of atoms, several irreps
    model = small_model(some, hidden_irreps=HIDDEN, correlation=3)
    build_atomistic_model(model, ExportMetadata("m", length_unit="bohr")).save(str(tmp_path / "model.pt"))
    structures = [ethanol(), crystal(), slab()]
    answers = LoadedExport(tmp_path / "model.pt", model.config.targets, "bohr")(
        collate(structures, model.config.cutoff)
    )
    batch = batch_of(model, *structures)
    expected = model.physical(batch, model(batch, model.labels))
    assert set(answers) == set(expected) == model.labels
    for name, values in expected.items():
        assert answers[name].shape == values.shape and str(answers[name].dtype) == "torch.float64"
        if name.endswith(".stress"):
            assert answers[name][[0, 2]].isnan().all(), "not periodic in three directions"
            np.testing.assert_allclose(answers[name][1], values[1], rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_allclose(answers[name], values, rtol=1e-9, atol=1e-10)
