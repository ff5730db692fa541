"""``python -m mace_app options``: check, complete, translate."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from small_data import frame, options, waters, write_options, write_waters

from mace_app.__main__ import main
from mace_app.options import load_options
from mace_app.tasks.sources import ModelSource, datasets_of


def test_an_options_file_is_completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_options(tmp_path / "a.yaml", options(write_waters(tmp_path / "data.xyz")))
    assert main(["options", str(file), "-o", str(tmp_path / "b.yaml")]) == 0
    assert load_options(tmp_path / "b.yaml") == load_options(file)
    assert "weight_decay" in (tmp_path / "b.yaml").read_text() and "weight_decay" not in file.read_text()
    assert "b.yaml" in capsys.readouterr().err


def test_what_the_data_tell_and_what_metatrain_would_stumble_over_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = "".join(
        f'1\nProperties=species:S:1:pos:R:3 energy={e} pbc="F F F"\n{s} 0 0 0\n' for s, e in (("O", -9), ("H", -8))
    )
    structures = [frame(water, forces=number > 0) for number, water in enumerate(waters(8))]
    data = tmp_path / "data.xyz"
    data.write_text(atoms + "".join(structures))
    value: dict[str, Any] = options(data)
    value["training_set"]["targets"] = {"energy": {"unit": "eV"}}
    value["validation_set"] = {"indices": [5, 6]}
    assert main(["options", str(write_options(tmp_path / "a.yaml", value)), "--for", "mtt"]) == 0
    written, said = capsys.readouterr()
    content = yaml.safe_load(written)
    assert content["architecture"]["training"]["atomic_baseline"] == {"energy": {1: -8.0, 8: -9.0}}
    assert content["architecture"]["model"]["avg_num_neighbors"] == 2.0
    assert content["training_set"]["targets"]["energy"]["forces"] == {"key": "forces"}
    assert "1 structure lacks `energy.forces`" in said and "isolated atoms of 2 elements" in said


def test_without_the_data_the_rest_is_written_and_the_gap_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_options(tmp_path / "a.yaml", options(tmp_path / "nowhere.xyz"))
    assert main(["options", str(file), "--for", "mtt"]) == 0
    written, said = capsys.readouterr()
    assert "avg_num_neighbors" not in written
    assert "There is no file" in said and "`avg_num_neighbors: auto`" in said


def test_label_files_of_a_run_are_not_looked_for_beside_other_structures(tmp_path: Path) -> None:
    value = options(write_waters(tmp_path / "data.xyz"))
    value["training_set"]["targets"] = {"energy": {"read_from": str(tmp_path / "labels.xyz"), "forces": "f.xyz"}}
    file = write_options(tmp_path / "a.yaml", value)
    source = ModelSource(None, 1, "", load_options(file), None)  # type: ignore[arg-type]
    (entry,) = datasets_of(source, [Path("test.xyz")])
    assert entry["targets"]["energy"]["read_from"] is None
    assert entry["targets"]["energy"]["forces"] == {"key": "forces", "read_from": None}
