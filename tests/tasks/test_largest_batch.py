"""``python -m mace_app largest-batch`` on real data."""

from small_data import options, write_options, write_waters

from mace_app.__main__ import main


def test_the_command_shows_what_it_tried_and_writes_nothing(tmp_path, capsys):
    path = write_options(tmp_path / "options.yaml", options(write_waters(tmp_path / "data.xyz", 12)))
    before = sorted(tmp_path.iterdir())
    assert main(["largest-batch", str(path)]) == 0
    assert sorted(tmp_path.iterdir()) == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("On cpu, ")
    assert lines[0].endswith("with the 9 training structures:")
    assert lines[1].split() == ["structures", "atoms", "pairs", "MiB", "structures/s"]
    rows = [line.split() for line in lines[2:-1]]
    assert [row[:2] for row in rows] == [["1", "3"], ["2", "6"], ["4", "12"], ["8", "24"], ["9", "27"]]
    assert all(float(row[4]) > 0 for row in rows)
    assert lines[-1].startswith("All of them fit into one batch. Fastest: ")


def test_what_is_wrong_with_the_options_is_said(tmp_path, capsys):
    path = write_options(tmp_path / "options.yaml", options(tmp_path / "missing.xyz"))
    assert main(["largest-batch", str(path)]) != 0
    assert "missing.xyz" in capsys.readouterr().err
