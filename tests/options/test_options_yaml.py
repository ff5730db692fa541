"""Options files: metatrain's grammar in, complete YAML out, and every mistake as a sentence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mace_app.options import (
    GradientOptions,
    IndicesOptions,
    OptionsError,
    dump_options,
    load_options,
    missing_files,
    parse_options,
    parse_yaml,
    simple_changes,
    to_json_schema,
    with_absolute_paths,
)

RICH = """
seed: 7
device: gpu
base_precision: 32
architecture:
  name: experimental.mace
  atomic_types: [8, 6, 1]
  model: {hidden_irreps: 32x0e + 32x1o, r_max: 4.5, avg_num_neighbors: 12, interaction: RealAgnosticDensity}
  training:
    learning_rate: 1e-3
    weight_decay: 5e-07
    lr_scheduler: ExponentialLR
    lr_scheduler_gamma: .97
    loss:
      energy: {type: huber, delta: 1E-2, forces: {type: mae, weight: 1e1}}
      mtt::dipole: mae
    atomic_baseline: {energy: {1: -13.6, 6: -1e3}}
    fixed_scaling_weights: {mtt::dipole: 2}
    per_structure_targets: [mtt::dipole]
training_set:
  - systems: {read_from: a.xyz, length_unit: Angstrom}
    targets:
      energy: {key: REF_energy, unit: eV, forces: REF_forces, stress: off}
      mtt::dipole: {key: dipole, type: {cartesian: {rank: 1}}}
  - systems: {read_from: b.xyz, length_unit: angstrom}
    targets:
      energy: {unit: eV}
validation_set: {indices: [0, 5, 7]}
test_set: c.xyz
"""


def messages(text: str) -> list[str]:
    with pytest.raises(OptionsError) as caught:
        parse_options(parse_yaml(text))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", [RICH, "training_set: a.xyz"], ids=["rich", "shortest"])
def test_a_dumped_file_is_complete_and_reads_back_equal(text: str) -> None:
    if text == RICH:
        text = text.replace(
            "test_set: c.xyz",
            "test_set: {systems: {read_from: c.xyz, length_unit: angstrom}, targets: {energy: {unit: eV}}}",
        )
    options = parse_options(parse_yaml(text))
    dumped = dump_options(options)
    again = parse_options(parse_yaml(dumped))
    assert again == options
    assert dump_options(again) == dumped
    plain = yaml.safe_load(dumped)
    assert set(plain["architecture"]["training"]) == set(type(options.architecture.training).model_fields)
    assert parse_options(plain) == options, "an ordinary YAML 1.1 reader sees the same"


def test_numbers_like_1e_3_are_numbers() -> None:
    training = parse_options(parse_yaml(RICH.replace("test_set: c.xyz", ""))).architecture.training
    assert (training.learning_rate, training.lr_scheduler_gamma) == (1e-3, 0.97)
    assert training.loss["energy"].forces.weight == 10.0
    assert training.atomic_baseline == {"energy": {1: -13.6, 6: -1000.0}}
    plain_yaml = yaml.safe_load("{training_set: a.xyz, architecture: {training: {learning_rate: 1e-3}}}")
    assert parse_options(plain_yaml).architecture.training.learning_rate == 1e-3


def test_metatrains_short_forms_mean_what_they_mean_there() -> None:
    options = parse_options({"training_set": "a.xyz", "validation_set": "b.xyz", "test_set": {"indices": "test.txt"}})
    assert [dataset.systems.read_from for dataset in options.training_datasets] == ["a.xyz"]
    assert list(options.training_set[0].targets) == ["energy"]
    assert options.validation[0].systems.read_from == "b.xyz"
    assert options.test == IndicesOptions(indices="test.txt")
    assert parse_options({"training_set": {"systems": "a.xyz", "targets": {"energy": "a.xyz"}}}).validation == 0.1
    assert parse_options({"training_set": ["a.xyz", "b.xyz"], "validation_set": 0.25}).validation == 0.25


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training_set: [a.xyz", ["Line 1", "not valid YAML"]),
        ("a: 1\nb: {c: 1\nd: 2", ["Line 3"]),
        ("training_set: a.xyz\nseed: 1\nseed: 2", ["Line 3", "`seed` is written twice"]),
        ("training_set:\n  systems: a\n  systems: b", ["Line 3", "`systems`"]),
        ("", ["empty"]),
        ("- a\n- b", ["a mapping"]),
        ("\ttraining_set: x", ["Line 1"]),
        ("{[1]: 2}", ["Line 1"]),
        ("a: \x00", ["characters"]),
    ],
)
def test_broken_yaml_gets_one_sentence_with_the_line(text: str, words: list[str]) -> None:
    found = messages(text)
    assert len(found) == 1 and "\n" not in found[0]
    for word in words:
        assert word in found[0]


@pytest.mark.parametrize(
    ("tree", "place", "word"),
    [
        ({}, "training_set", "missing"),
        ({"training_set": None}, "training_set", "name a file"),
        ({"training_set": []}, "training_set", "name a file"),
        ({"training_set": 3}, "training_set.0", "mapping"),
        ({"training_set": "a", "trainning_set": "b"}, "trainning_set", "`training_set`"),
        (
            {"training_set": "a", "architecture": {"name": "experimental.mce"}},
            "architecture.name",
            "`experimental.mace`",
        ),
        ({"training_set": "a", "architecture": 5}, "architecture", "mapping"),
        ({"training_set": "a", "architecture": {"atomic_types": ["H"]}}, "architecture.atomic_types", "atomic numbers"),
        ({"training_set": "a", "base_precision": 16}, "base_precision", "`32`, `64`"),
        ({"training_set": "a", "seed": -1}, "seed", "at least 0"),
        ({"training_set": "a", "device": "mps"}, "device", "mps"),
        ({"training_set": "a", "validation_set": 1.0}, "validation_set", "less than 1"),
        ({"training_set": "a", "validation_set": 0}, "validation_set", "best epoch"),
        ({"training_set": "a", "validation_set": 0.6, "test_set": 0.5}, "test_set", "nothing to learn"),
        ({"training_set": "a", "validation_set": {"indices": [1, 1]}}, "validation_set.indices", "more than once"),
        ({"training_set": "a", "validation_set": {"indices": [-1]}}, "validation_set.indices", "from 0 up"),
        ({"training_set": "a", "validation_set": {"indices": []}}, "validation_set.indices", "list"),
        ({"training_set": ["a", {"systems": {"read_from": ""}}]}, "training_set.1.systems.read_from", "empty"),
        (
            {"training_set": {"systems": "a", "extra_data": {"m": {}}}},
            "training_set.0.extra_data.m",
            "no mask of a target",
        ),
        (
            {"training_set": {"systems": {"read_from": "a.mts", "reader": "metatensor"}}},
            "training_set.0.systems.reader",
            "not",
        ),
        (
            {"training_set": [{"systems": {"read_from": "a", "length_unit": "bohr"}}, "b"]},
            "training_set.1.systems.length_unit",
            "share one",
        ),
        (
            {"training_set": ["a", {"systems": "b", "targets": {"energy": {"unit": "eV"}}}]},
            "training_set.1.targets.energy",
            "(`unit`)",
        ),
        (
            {"training_set": "a", "test_set": {"systems": "b", "targets": {"mtt::gap": {}}}},
            "test_set.0.targets.mtt::gap",
            "not among",
        ),
    ],
)
def test_a_wrong_tree_is_explained_at_its_place(tree: dict[str, Any], place: str, word: str) -> None:
    with pytest.raises(OptionsError) as caught:
        parse_options(tree)
    assert [".".join(problem.loc) for problem in caught.value.problems] == [place]
    assert word in caught.value.problems[0].message


def test_the_cutoff_is_judged_in_angstrom_whatever_the_unit_of_the_data() -> None:
    def tree(unit: str, **model: Any) -> dict[str, Any]:
        return {"training_set": {"systems": {"read_from": "a", "length_unit": unit}}, "architecture": {"model": model}}

    assert parse_options(tree("nm", r_max=0.5)).architecture.model.r_max == 0.5
    assert parse_options(tree("Bohr", r_max=30)).training_set[0].systems.length_unit == "bohr"
    with pytest.raises(OptionsError, match="between 1 and 20 angstrom"):
        parse_options(tree("angstrom", r_max=30))
    with pytest.raises(OptionsError, match="covalent radii"):
        parse_options(tree("bohr", distance_transform="Agnesi"))


def test_all_problems_are_told_at_once_one_a_line() -> None:
    tree = {
        "training_set": {"systems": "a.xyz", "targets": {"dipole": {}}},
        "architecture": {"model": {"r_max": 500, "hidden_irreps": "x"}, "training": {"lr": 1, "loss": "mes"}},
        "sed": 1,
    }
    with pytest.raises(OptionsError) as caught:
        parse_options(tree)
    assert len(caught.value.problems) == len(str(caught.value).splitlines()) == 6
    assert "architecture.training.loss: A loss must be one of" in str(caught.value)


def test_a_missing_options_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionsError, match=f"no file `options.yaml`; looked for {tmp_path}/options.yaml"):
        load_options("options.yaml")
    with pytest.raises(OptionsError, match="is a folder"):
        load_options(tmp_path)
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(OptionsError, match="no text file"):
        load_options("binary.yaml")


def test_relative_paths_mean_the_current_folder_and_can_be_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("options.yaml").write_text(
        "training_set: {systems: a.xyz, targets: {energy: {read_from: a.xyz, forces: a.xyz}}}\n"
        "validation_set: {indices: val.txt}\n"
    )
    options = load_options("options.yaml")
    assert [problem.loc for problem in missing_files(options)] == [
        ("training_set", "0", "systems", "read_from"),
        ("validation_set", "indices"),
    ]
    with pytest.raises(OptionsError, match=f"looked for {tmp_path}/a.xyz"):
        load_options("options.yaml", check_files=True)
    absolute = with_absolute_paths(options)
    assert absolute.training_set[0].systems.read_from == str(tmp_path / "a.xyz")
    assert absolute.training_set[0].targets["energy"].forces == GradientOptions(key="forces")
    assert absolute.validation == IndicesOptions(indices=str(tmp_path / "val.txt"))


def test_comparing_runs_sees_only_what_differs_from_the_defaults() -> None:
    options = parse_options(
        {
            "training_set": "a.xyz",
            "architecture": {
                "model": {"r_max": 4.0, "correlation": 3},
                "training": {"loss": {"energy": {"forces": {"weight": 10}}}},
            },
        }
    )
    changes = {".".join(change.loc): (change.value, change.default) for change in simple_changes(options)}
    assert changes == {
        "architecture.model.r_max": (4.0, 5.0),
        "architecture.training.loss.energy.forces.weight": (10.0, 1.0),
        "training_set.0.systems.read_from": ("a.xyz", None),
    }


def test_the_json_schema_is_json_and_carries_titles_bounds_and_reasons() -> None:
    schema = json.loads(json.dumps(to_json_schema()))
    cutoff = schema["$defs"]["ModelHypers"]["properties"]["r_max"]
    assert cutoff["x-importance"] == "simple" and cutoff["x-unit"] == "Å" and cutoff["maximum"] == 40
    assert "x-not-built" in schema["$defs"]["ModelHypers"]["properties"]["use_embedding_readout"]


def test_options_import_neither_torch_nor_streamlit_nor_e3nn() -> None:
    code = (
        "import sys, mace_app.options; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'streamlit', 'e3nn', 'numpy', 'ase'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_yaml_that_grows_through_its_aliases_or_is_bottomless_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(OptionsError, match="repeats itself"):
        parse_yaml("\n".join(lines))
    with pytest.raises(OptionsError, match="repeats itself"):
        parse_yaml("a: &a [*a]")
    with pytest.raises(OptionsError, match="nested too deeply"):
        parse_yaml("training_set: " + "[" * 20000 + "]" * 20000)
    shared = parse_yaml("one: &one {key: energy}\ntwo: *one\nthree: [*one, *one]")
    assert shared["two"] == shared["three"][0] == {"key": "energy"}
