"""Beside the real metatrain: it accepts what we write for it, we run what it writes, and both give the same kind of
model. Runs where MACE_APP_MTT names its ``mtt`` program."""

import csv
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from mace_app.jobs import RunFolder
from mace_app.options import load_options
from mace_app.tasks.folders import new_run
from mace_app.tasks.options_files import written_options
from mace_app.tasks.train import train_run

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
MODEL = {
    "r_max": 3.0,
    "hidden_irreps": "4x0e + 4x1o",
    "num_radial_basis": 4,
    "radial_MLP": [8],
    "MLP_irreps": "4x0e",
    "max_ell": 1,
    "correlation": 2,
}
ETHANOL = {
    "energy": {"unit": "eV", "key": "REF_energy"},
    "mtt::dipole": {"unit": "e·Å", "key": "REF_dipole", "type": {"cartesian": {"rank": 1}}},
    "charge": {"unit": "e", "key": "REF_charges", "sample_kind": "atom"},
}
COPPER = {"energy": {"unit": "eV", "key": "REF_energy", "stress": "REF_stress"}}
UNITS = {"meV": 1e-3, "eV": 1.0, "meV/A": 1e-3, "eV/A": 1.0, "me": 1e-3, "e": 1.0}


@pytest.fixture
def mtt() -> str:
    program = os.environ.get("MACE_APP_MTT")
    if not program:
        pytest.skip("set MACE_APP_MTT to metatrain's `mtt` program")
    return program


def write_frames(source: str, word: str, count: int, path: Path) -> None:
    """The first frames of a sample whose comment holds ``word``."""
    lines, kept, start = (SAMPLES / source).read_text().splitlines(), [], 0
    while start < len(lines) and len(kept) < count:
        end = start + int(lines[start]) + 2
        if word in lines[start + 1]:
            kept.append("\n".join(lines[start:end]) + "\n")
        start = end
    path.write_text("".join(kept))


def last_errors(folder: Path) -> dict[str, float]:
    """Validation errors of metatrain's last epoch in eV, Å and e, under its own names."""
    table = list(csv.reader((folder / "train.csv").read_text().splitlines()))
    names, units, values = table[0], table[1], table[-1]
    return {
        name.strip(): float(value) * UNITS.get(unit.strip(), 1.0)
        for name, unit, value in zip(names, units, values, strict=True)
        if name.strip().startswith("validation ")
    }


@pytest.mark.parametrize(
    ("source", "word", "targets", "loss"),
    [
        ("ethanol.xyz", "REF_dipole", ETHANOL, {"energy": {"type": "huber", "forces": {"weight": 10}}}),
        ("copper_emt.xyz", "bulk", COPPER, "universal"),
    ],
    ids=["ethanol", "copper"],
)
def test_metatrain_runs_our_options_and_we_run_its(
    mtt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, word: str, targets: dict, loss: object
) -> None:
    from metatomic.torch import load_atomistic_model

    monkeypatch.chdir(tmp_path)
    write_frames(source, word, 20, Path("data.xyz"))
    training = {"num_epochs": 2, "batch_size": 4, "loss": loss, "warmup_steps": 2}
    tree = {
        "seed": 1,
        "device": "cpu",
        "architecture": {"model": MODEL, "training": training},
        "training_set": {"systems": {"read_from": "data.xyz", "length_unit": "angstrom"}, "targets": targets},
        "validation_set": {"indices": [1, 5, 9, 13, 17]},
    }
    Path("ours.yaml").write_text(yaml.safe_dump(tree))
    text, said = written_options(Path("ours.yaml"), "mtt")
    assert any("warmup_steps" in sentence for sentence in said), "what is lost is said"
    content = yaml.safe_load(text)
    content["training_set"]["indices"] = [number for number in range(20) if number not in (1, 5, 9, 13, 17)]
    Path("theirs.yaml").write_text(text if word != "bulk" else yaml.safe_dump(content))
    done = subprocess.run([mtt, "train", "theirs.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = next(Path("outputs").glob("*/*"))

    again = load_options(outputs / "options_restart.yaml", check_files=True)
    run = new_run(again, tmp_path / "run", "again")
    assert train_run(run, threads=1) == "finished", RunFolder(run.path).info().reason
    theirs, mine = load_atomistic_model("model.pt").capabilities(), load_atomistic_model(run.model_file).capabilities()
    for name in targets:
        assert mine.outputs[name].unit == theirs.outputs[name].unit, name
        assert mine.outputs[name].sample_kind == theirs.outputs[name].sample_kind, name
    assert (mine.atomic_types, mine.interaction_range) == (theirs.atomic_types, theirs.interaction_range)
    assert (mine.length_unit, mine.dtype) == (theirs.length_unit, theirs.dtype)
    assert set(theirs.outputs) <= {*mine.outputs, "charges"}, "nothing that metatrain's model offers is missing"

    errors = last_errors(outputs)
    report = run.report()["splits"]["validation"]
    assert errors["validation forces MAE"] / report["energy.forces"]["mae"] == pytest.approx(1, abs=0.5)
