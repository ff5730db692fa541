"""What is wrong is said in sentences, without a traceback, and nothing is trained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_data import frame, options, waters, write_options, write_waters

from mace_app.__main__ import main

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def said(tmp_path, capsys, monkeypatch):
    """Train with these options in a fresh folder; gives what a person reads after the failure."""
    monkeypatch.setenv("MACE_APP_WORKSPACE", str(tmp_path / "workspace"))

    def train(value):
        file = write_options(tmp_path / "options.yaml", value)
        code = main(["train", str(file), "-o", str(tmp_path / "run")])
        text = capsys.readouterr().err
        assert code == 2, text
        assert "Traceback" not in text
        return text.splitlines()[-1]

    return train


def data(tmp_path, text):
    file = tmp_path / "data.xyz"
    file.write_text(text)
    return file


def test_an_empty_file(tmp_path, said):
    assert "empty" in said(options(data(tmp_path, "")))


def test_a_broken_frame_in_the_middle(tmp_path, said):
    frames = [frame(atoms) for atoms in waters(9)]
    frames[4] = frames[4].replace("H ", "H nonsense ", 1)
    sentence = said(options(data(tmp_path, "".join(frames))))
    assert "frame 4" in sentence
    assert "line 24" in sentence


def test_a_missing_key(tmp_path, said):
    sentence = said(options(write_waters(tmp_path / "data.xyz", key="REF_energy")))
    assert "`energy`" in sentence
    assert "REF_energy" in sentence


def test_labels_on_half_the_frames_are_used_where_they_are(tmp_path, capsys):
    frames = [frame(atoms, forces=number % 2 == 0) for number, atoms in enumerate(waters(16))]
    file = write_options(tmp_path / "options.yaml", options(data(tmp_path, "".join(frames)), num_epochs=1))
    code = main(["train", str(file), "-o", str(tmp_path / "run")])
    text = capsys.readouterr().err
    assert code == 0, text
    warning = next(line for line in text.splitlines() if line.startswith("Warning") and "forces" in line)
    assert "8 of 16" in warning or "8/16" in warning
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    counts = [report["splits"][split]["energy.forces"]["count"] for split in ("training", "validation")]
    assert sum(counts) == 8 * 3 * 3


def test_labels_that_are_not_a_number(tmp_path, said):
    frames = [frame(atoms, energy="nan") for atoms in waters(8)]
    assert "energy" in said(options(data(tmp_path, "".join(frames))))


def test_one_structure_only(tmp_path, said):
    assert "one structure" in said(options(write_waters(tmp_path / "data.xyz", 1)))


def test_an_element_in_validation_that_training_lacks(tmp_path, said):
    other = tmp_path / "validation.xyz"
    other.write_text("".join(frame(atoms) for atoms in waters(3, symbols="SH2")))
    value = options(write_waters(tmp_path / "data.xyz"))
    value["validation_set"] = {**value["training_set"], "systems": str(other)}
    sentence = said(value)
    assert "S" in sentence
    assert "validation" in sentence


def test_impossible_irreps(tmp_path, said):
    value = options(write_waters(tmp_path / "data.xyz"))
    value["architecture"]["model"]["hidden_irreps"] = "4x0e + 4y1o"
    sentence = said(value)
    assert "architecture.model.hidden_irreps" in sentence
    assert not (tmp_path / "run").exists()


def test_a_fraction_that_leaves_no_validation(tmp_path, said):
    value = options(write_waters(tmp_path / "data.xyz"))
    value["validation_set"] = 0.01
    assert "0.01" in said(value)


def test_an_energy_without_a_unit_is_refused_before_the_training(tmp_path, said):
    value = options(write_waters(tmp_path / "data.xyz"))
    del value["training_set"]["targets"]["energy"]["unit"]
    assert "unit" in said(value)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.parametrize("arguments", [["train", "nowhere.yaml"], ["inspect", "nowhere.xyz"], ["export", "nowhere"]])
def test_a_file_that_is_not_there(arguments, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "Traceback" not in error


def test_a_file_of_another_kind_is_no_checkpoint(tmp_path, capsys):
    for name, content in (("cut.safetensors", b"\x10\x00"), ("text.safetensors", b"energy" * 100)):
        (tmp_path / name).write_bytes(content)
        assert main(["evaluate", str(tmp_path / name), "data.xyz"]) == 2
        error = capsys.readouterr().err
        assert name in error
        assert len(error.splitlines()) == 1


def test_help_and_bad_options_come_without_torch(tmp_path):
    program = f"""
import sys
from mace_app.__main__ import main
for arguments in (["--help"], ["train", "--help"]):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0
assert main(["train", {str(tmp_path / "none.yaml")!r}]) == 2
assert main(["inspect", {str(write_waters(tmp_path / "data.xyz"))!r}]) == 0
heavy = {{"torch", "mace", "e3nn", "metatomic"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_inspect_prints_a_table_of_keys(tmp_path, capsys):
    assert main(["inspect", str(write_waters(tmp_path / "data.xyz", 5))]) == 0
    text = capsys.readouterr().out
    assert "5 structures, 15 atoms" in text
    assert next(line for line in text.splitlines() if line.startswith("energy")).split()[2] == "5/5"
