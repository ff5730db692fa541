"""Several files and heads on the command line."""

import sys
from pathlib import Path

import pytest
from mace_files import TWO_HEADS, build, save

from mace_app.__main__ import main


def test_several_files_and_all_heads_go_into_a_folder_and_a_bad_one_does_not_stop_the_others(
    small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = save(build(**TWO_HEADS), tmp_path / "two.model")
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"")
    folder = tmp_path / "out"
    files = [str(two), str(broken), str(small_file)]
    assert main(["export", *files, "--all-heads", "-o", str(folder)]) == 2
    printed = capsys.readouterr()
    assert sorted(path.name for path in folder.iterdir()) == ["small.pt", "two-ccsd.pt", "two-dft.pt"]
    assert printed.err.splitlines() == ["`broken.model` is empty; download or copy it again."]
    assert printed.out.count("energy.forces: agrees") == 3
    header = next(line for line in printed.out.splitlines() if line.startswith("structure"))
    assert header.split() == ["structure", "atoms", "energy,", "eV", "forces,", "eV/Å", "stress,", "eV/Å³", "from"]
    (water, *_) = [line.split() for line in printed.out.splitlines() if line.startswith("H2O")]
    assert water[1] == "3" and float(water[2]) < 1e-9 and float(water[3]) < 1e-9 and water[4] == "–"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["{two}", "{two}", "-o", "a.pt"], "Several exports don't fit in the file `a.pt`; name a folder with -o."),
        (["{two}", "--all-heads", "-o", "a.pt"], "Several exports don't fit in the file"),
        (["{two}", "--head", "dft", "--all-heads"], "--head chooses and --all-heads takes all; give one of them."),
        (["{two}", "{absent}"], "Several files at once must all be .model files"),
        (["{folder}", "--all-heads"], "--all-heads chooses among the heads of a .model file; leave it out."),
        (["{folder}", "--precision", "float32"], "--precision is for .model files"),
        (["{two}", "-o", "{folder}"], "has 2 heads, `dft`, `ccsd`; name the one to use."),
    ],
)
def test_what_can_not_be_meant_is_said(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = tmp_path / "two.model"
    if "name the one" in sentence:
        save(build(**TWO_HEADS), two)
    else:
        two.write_bytes(b"never read")
    names = {"two": two, "absent": tmp_path / "absent.model", "folder": tmp_path}
    assert main(["export", *(argument.format(**names) for argument in arguments)]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("*.pt"))


def test_the_list_of_published_files_needs_no_torch() -> None:
    import subprocess

    code = "import sys; from mace_app.__main__ import main; main(['foundation']); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "False"
