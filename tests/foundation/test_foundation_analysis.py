"""A foundation file compared with labelled structures says what mace-torch's own calculator says."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from mace_files import TWO_HEADS, build, save
from test_foundation_parity import ask_mace

from mace_app.analysis import read_analysis
from mace_app.jobs import DataChoice, JobsError, ModelChoice, Workspace
from mace_app.tasks.analyse import analyse_model
from mace_app.tasks.analysis_job import DONE, work_analysis
from mace_app.tasks.foundation_job import work_foundation


def structures() -> list[Atoms]:
    water = Atoms("OH2", [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])
    crystal = Atoms("CO2H", np.eye(4, 3) * 1.3, cell=[4.0, 4.5, 5.0], pbc=True)
    found = [water, crystal]
    for number, atoms in enumerate(found):
        atoms.info["E"] = -5.0 * number
        atoms.set_array("F", np.full((len(atoms), 3), 0.1 * number))
    return found


def test_a_head_of_a_foundation_model_agrees_with_its_calculator(workspace: Workspace, tmp_path: Path) -> None:
    path, data = save(build(**TWO_HEADS), tmp_path / "two.model"), tmp_path / "data.xyz"
    ase.io.write(data, structures(), format="extxyz")
    added = workspace.add_dataset("Both", data)
    energy = {"quantity": "energy", "key": "E", "unit": "eV", "forces": {"key": "F"}}
    added.write_mapping({"length_unit": "angstrom", "targets": {"energy/ccsd": energy}})
    folder = workspace.add_foundation("Two", path)
    choice = ModelChoice(foundation=folder.id, head="ccsd")
    with pytest.raises(JobsError, match="has not been read yet"):
        workspace.request_analysis(choice, DataChoice(added.id))
    folder.request_export([])
    work_foundation(folder)
    with pytest.raises(JobsError, match="several heads; choose one of `dft`, `ccsd`"):
        workspace.request_analysis(ModelChoice(foundation=folder.id), DataChoice(added.id))
    with pytest.raises(JobsError, match="no structures of its own"):
        workspace.request_analysis(choice)

    asked = workspace.request_analysis(choice, DataChoice(added.id))
    assert asked.path.parent == folder.path / "analyses" and "head ccsd" in asked.title
    workspace.queue.cancel(workspace.queue.active()[0].folder)  # this process does it
    assert work_analysis(asked) == DONE, asked.error()
    analysis = asked.result()
    answers = ask_mace(tmp_path, [["two", str(path), "ccsd"]], structures())
    for number in range(2):
        for label, name in (("energy", "energy"), ("energy.forces", "forces"), ("energy.stress", "stress")):
            ours = analysis.labels[label].prediction[analysis.rows(label, number)]
            if f"two:{number}:{name}" in answers:
                theirs = answers[f"two:{number}:{name}"]
                np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=0, atol=1e-9)
            else:
                assert np.isnan(ours).all(), "no stress without a volume"
    np.testing.assert_array_equal(analysis.labels["energy"].reference[:, 0], [0.0, -5.0])
    assert np.isnan(analysis.labels["energy.stress"].reference).all()
    assert analysis.info.model["head"] == "ccsd" and analysis.info.uncertainty is None

    written = tmp_path / "data.yaml"
    written.write_text(
        f"systems: {{read_from: {data}, length_unit: angstrom}}\ntargets: {{energy: {{key: E, unit: eV}}}}"
    )
    assert "Analysis:" in analyse_model(path, [written], tmp_path / "result", head="dft", device="cpu")
    other = read_analysis(tmp_path / "result")
    assert np.abs(other.labels["energy"].prediction - analysis.labels["energy"].prediction).max() > 1e-3
    path.write_bytes(save(build(seed=5, **TWO_HEADS), tmp_path / "new.model").read_bytes())
    workspace.delete_analysis(asked.id)
    again = workspace.request_analysis(choice, DataChoice(added.id))
    assert work_analysis(again) != DONE and "no longer the file" in (again.error() or "")
