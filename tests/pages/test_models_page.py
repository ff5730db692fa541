"""The Models page without a browser, and its lines for ASE with a model that was really trained and exported."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from run_samples import add_epochs, finish, make_run, pose_as_supervisor
from streamlit.testing.v1 import AppTest

from mace_app.jobs import RunFolder, Workspace
from mace_app.options import TargetInfo, dump_options, parse_options
from mace_app.ui.ase_code import ase_code
from mace_app.ui.model_facts import checkpoint_header, model_facts

ROOT = Path(__file__).resolve().parents[2]
OpenPage = Callable[..., AppTest]


def words(app: AppTest) -> str:
    elements = (*app.title, *app.header, *app.subheader, *app.markdown, *app.caption, *app.warning, *app.error)
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


def downloads(app: AppTest) -> list[dict[str, str]]:
    lists = [element.proto for element in app.get("bidi_component")]
    return [
        file
        for proto in lists
        if proto.component_name == "mace_download_list"
        for file in json.loads(proto.json)["files"]
    ]


@pytest.fixture
def space(workspace_path: Path) -> Workspace:
    space = Workspace(workspace_path)
    pose_as_supervisor(space)
    return space


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A model of copper with energy, forces, stress and one more vector, trained for an epoch by the command line."""
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(0)
    frames = []
    for _ in range(8):
        atoms = ase.build.bulk("Cu", cubic=True)
        atoms.rattle(0.1, rng=random)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["moment"] = random.normal(size=3)
        frames.append(atoms)
    ase.io.write(folder / "copper.xyz", frames)
    options = parse_options(
        {
            "device": "cpu",
            "seed": 1,
            "architecture": {
                "name": "experimental.mace",
                "model": {"hidden_irreps": "4x0e + 4x1o", "r_max": 3.0, "num_interactions": 2, "max_ell": 2},
                "training": {"batch_size": 4, "num_epochs": 1},
            },
            "training_set": {
                "systems": {"read_from": str(folder / "copper.xyz"), "length_unit": "angstrom"},
                "targets": {
                    "energy": {"unit": "eV"},
                    "mtt::moment": {"key": "moment", "unit": "e*angstrom", "type": {"cartesian": {"rank": 1}}},
                },
            },
            "validation_set": 0.25,
            "test_set": 0.0,
        }
    )
    (folder / "options.yaml").write_text(dump_options(options))
    command = [sys.executable, "-m", "mace_app", "train", str(folder / "options.yaml"), "-o", str(folder / "run")]
    subprocess.run(
        [*command, "--threads", "1", "--name", "copper"],
        cwd=ROOT,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return RunFolder(folder / "run")


def test_an_empty_workspace_says_how_a_model_comes_about(open_page: OpenPage) -> None:
    assert "No model has been exported yet" in words(open_page("models"))


def test_a_card_tells_what_a_trained_model_is_and_offers_its_files(
    open_page: OpenPage, space: Workspace, trained: RunFolder
) -> None:
    shutil.copytree(trained.path, space.runs_path / "20250101-000000-copper")
    shown = open_page("models", run="20250101-000000-copper")
    text = words(shown)
    assert "Cu" in text and "3 Å, 2 layers reach 6 Å" in text
    assert "`energy` in eV, with forces and stress" in text and "`mtt::moment` in e·Å" in text
    assert "`copper.xyz` (8 structures)" in text and "parameters" in text
    assert set(shown.table[0].value["Split"]) == {"Training", "Validation"}
    checks = shown.table[1].value
    assert len(checks) >= 4 and all("agrees" in result for result in checks["Result"])
    assert 'MetatomicCalculator("copper-model.pt"' in shown.code[0].value
    files = {file["name"]: file for file in downloads(shown)}
    assert (
        files["model.pt"]["url"] == "/downloads/runs/20250101-000000-copper/model.pt" and files["model.pt"]["primary"]
    )
    assert {"options.yaml", "log.txt", "metrics.jsonl", "report.json", "checkpoints/best.safetensors"} <= set(files)


def test_the_lines_for_ase_run_as_they_are_with_the_exported_file(trained: RunFolder, tmp_path: Path) -> None:
    script = ase_code("copper-model.pt", model_facts(trained).targets)
    (tmp_path / "run.py").write_text(script)
    shutil.copy(trained.model_file, tmp_path / "copper-model.pt")
    ase.io.write(tmp_path / "structure.xyz", ase.build.bulk("Cu", cubic=True))
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert float(printed.split("energy: ")[1].split()[0]) == pytest.approx(0.0, abs=100)
    assert all(title in printed for title in ("forces: ", "stress: ", "mtt::moment: "))


@pytest.mark.parametrize(
    ("targets", "expected", "unexpected"),
    [
        ([TargetInfo("energy", unit="eV", has_forces=True)], "get_forces", "ModelOutput"),
        ([TargetInfo("energy/pbe", unit="eV", has_forces=True)], 'variants={"energy": "pbe"}', "ModelOutput"),
        (
            [TargetInfo("mtt::charge", unit="e", sample_kind="atom")],
            "run_model(atoms, outputs)",
            "get_potential_energy",
        ),
        ([TargetInfo('mtt::"; import os #')], r"mtt::\"; import os #", "\nimport os"),
    ],
)
def test_the_lines_for_ase_fit_the_targets(targets: list[TargetInfo], expected: str, unexpected: str) -> None:
    script = ase_code("model.pt", targets)
    compile(script, "script", "exec")
    assert expected in script and unexpected not in script


def test_without_a_checkpoint_the_card_is_made_from_the_options(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "no checkpoint", "stopped")
    add_epochs(run, 0, 1)
    finish(run, b"model")
    (run.path / "checkpoints" / "best.safetensors").write_bytes(b"\xff" * 100)
    assert checkpoint_header(run.path / "checkpoints" / "best.safetensors") is None
    text = words(open_page("models"))
    assert "H, C, O" in text and "`mtt::dipole`" in text and "4 Å" in text


def test_of_many_models_some_are_shown_and_the_rest_on_request(open_page: OpenPage, space: Workspace) -> None:
    for number in range(12):
        make_run(space, f"model {number}", "finished").model_file.write_bytes(b"model")
    app = open_page("models")
    assert len(app.header) == 8
    next(button for button in app.button if button.label == "Show more (4)").click().run()
    assert len(app.header) == 12


def test_a_run_without_a_model_is_said_to_have_none(open_page: OpenPage, space: Workspace) -> None:
    run = make_run(space, "no model", "failed")
    assert "There is no exported model" in words(open_page("models", run=run.id))
    assert "There is no exported model" in words(open_page("models", run="../../etc"))
