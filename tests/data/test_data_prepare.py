"""Splits, elements, isolated atoms, packed graphs."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from water_files import options, water, waters

from mace_app.data import DataError, PreparedData, frame_of, prepare
from mace_app.data.graphs import GraphSet
from mace_app.data.splits import divide, fraction_size
from mace_app.options import OptionsError

Write = Callable[..., Path]
Prepared = Callable[..., PreparedData]
ATOM = '1\nProperties=species:S:1:pos:R:3 energy={energy} config_type={mark} pbc="F F F"\n{symbol} 0 0 0\n'


def positions_of(graphs: GraphSet) -> set[int]:
    return {int(frame) for _, frame in graphs.structure_ids}


def test_a_batch_holds_what_the_files_hold(published_data: Path, tmp_path: Path) -> None:
    path = published_data / "ethanol_rmd17_train.xyz"
    data = prepare(options(path, r_max=5.0, validation_set=0.05, test_set=0.02), tmp_path)
    assert (len(data.training), len(data.validation), len(data.test)) == (930, 50, 20)
    assert data.atomic_types == [1, 6, 8] and data.files[0]["structures"] == 1000
    assert data.training.avg_num_neighbors() == pytest.approx(8.0, abs=0.2)
    parts = [positions_of(graphs) for graphs in (data.training, data.validation, data.test)]
    assert set.union(*parts) == set(range(1000)) and sum(map(len, parts)) == 1000
    chosen = [700, 3, 99, 3]
    batch = data.training.collate(chosen)
    start = 0
    for slot, index in enumerate(chosen):
        atoms = frame_of(path, int(data.training.structure_ids[index, 1]))
        part = slice(start, start + len(atoms))
        assert np.array_equal(batch["positions"][part], atoms.positions)
        assert np.array_equal(batch["numbers"][part], atoms.numbers)
        assert np.array_equal(batch["label:energy.forces"][part], atoms.arrays["forces"])
        assert batch["label:energy"][slot, 0] == atoms.info["energy"]
        assert (batch["structure"][part] == slot).all()
        edges = batch["edge_structure"] == slot
        assert edges.sum() == data.training.n_edges[index]
        assert batch["senders"][edges].min() >= start and batch["receivers"][edges].max() < start + len(atoms)
        start += len(atoms)
    assert list(batch["ptr"]) == [0, 9, 18, 27, 36]
    vectors = batch["positions"][batch["receivers"]] - batch["positions"][batch["senders"]]
    assert np.linalg.norm(vectors, axis=1).max() < 5.0 and batch["shifts"].dtype == np.float64
    for name, values in batch.items():
        assert values.dtype in (np.float64, np.int64) or name == "pbc"


def test_periodic_batches_carry_shifts_and_cells(published_data: Path, tmp_path: Path) -> None:
    path = published_data / "carbon_virial_100.xyz"
    targets = {"energy": {"forces": "force", "virial": True}}
    data = prepare(options(path, targets, r_max=4.0), tmp_path)
    batch = data.training.collate([5, 6])
    shift = np.einsum("ek,ekj->ej", batch["shifts"], batch["cells"][batch["edge_structure"]])
    vectors = batch["positions"][batch["receivers"]] - batch["positions"][batch["senders"]] + shift
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.min() > 1.0 and 3.5 < lengths.max() < 4.0
    atoms = frame_of(path, int(data.training.structure_ids[5, 1]))
    assert np.allclose(batch["label:energy.stress"][0], -atoms.info["virial"] / atoms.get_volume())


def test_marked_atoms_in_a_real_set_serve_the_baseline_only(published_data: Path, tmp_path: Path) -> None:
    data = prepare(
        options(published_data / "solvents_xtb_200.xyz", {"energy": {"key": "energy_xtb"}}, r_max=4.0), tmp_path
    )
    assert data.isolated_atoms["energy"].keys() == {1, 6, 8}
    assert data.isolated_atoms["energy"][1] == pytest.approx(-10.7072, abs=1e-4)
    assert (len(data.training), len(data.validation)) == (180, 20)
    assert {0, 1, 2}.isdisjoint(data.splits["training"] + data.splits["validation"])
    assert not any("known for" in text for text in data.warnings)


def test_isolated_atoms_are_learnt_from_only_if_there_is_nothing_else(write: Write, prepared: Prepared) -> None:
    atoms = [
        ATOM.format(energy=-13.0, mark="isolated_atom", symbol="H"),
        ATOM.format(energy=-2040.0, mark="x", symbol="O"),
    ]
    data = prepared(write([*atoms, *waters(4)]), validation_set=0.25)
    assert data.isolated_atoms["energy"] == {1: -13.0, 8: -2040.0}
    assert len(data.training) == 3 and data.training.avg_num_neighbors() == 2.0
    alone = prepared(
        write([*atoms, *atoms], "atoms.xyz"), {"energy": {"forces": False}}, validation_set=0.0, num_epochs=0
    )
    assert len(alone.training) == 4 and alone.isolated_atoms == {}
    assert alone.training.collate([0, 1])["senders"].shape == (0,) and alone.training.avg_num_neighbors() == 1.0


def test_the_split_follows_the_seed(write: Write, tmp_path: Path) -> None:
    path = write(waters(20))
    first = prepare(options(path, validation_set=0.2), tmp_path / "a").splits
    assert prepare(options(path, validation_set=0.2), tmp_path / "b").splits == first
    assert prepare(options(path, validation_set=0.2, seed=2), tmp_path / "c").splits != first
    with_test = prepare(options(path, validation_set=0.2, test_set=0.1), tmp_path / "d").splits
    assert with_test["validation"] == first["validation"] and len(with_test["test"]) == 2


def test_a_fraction_is_rounded_down_but_not_by_floating_point() -> None:
    assert fraction_size(100, 0.29) == 29 and fraction_size(1000, 0.1) == 100 and fraction_size(9, 0.1) == 0


def test_several_data_sets_are_each_divided(write: Write, tmp_path: Path) -> None:
    paths = [write(waters(10), "one.xyz"), write(waters(20, comment="two=T"), "two.xyz")]
    data = prepare(options([{"systems": str(path)} for path in paths], validation_set=0.1), tmp_path / "p")
    assert sorted(map(tuple, data.validation.structure_ids.tolist()))[0][0] == 0
    assert [int(dataset) for dataset, _ in sorted(map(tuple, data.validation.structure_ids.tolist()))] == [0, 1, 1]
    assert all(0 <= position < 30 for position in data.splits["validation"])


def test_validation_and_test_may_be_files_or_indices(write: Write, prepared: Prepared, tmp_path: Path) -> None:
    other = write(waters(3, comment="other=T"), "other.xyz")
    listed = tmp_path / "test.txt"
    listed.write_text("# published split\n4\n2\n")
    data = prepared(write(waters(8)), validation_set=str(other), test_set={"indices": str(listed)})
    assert (len(data.training), len(data.validation), len(data.test)) == (6, 3, 2)
    assert positions_of(data.test) == {2, 4} and data.splits["validation"] == [0, 1, 2]
    assert [entry["structures"] for entry in data.files] == [8, 3]


IMPOSSIBLE = {
    "a share that leaves no validation": (5, {"validation_set": 0.1}, ["validation share of 0.1", "hold 5", "0.2"]),
    "one structure": (1, {"validation_set": 0.1}, ["one structure only"]),
    "indices beyond the end": (5, {"validation_set": {"indices": [1, 7]}}, ["structure 7", "have 5", "0 to 4"]),
    "indices of everything": (2, {"validation_set": {"indices": [0, 1]}}, ["nothing is left to learn from"]),
    "the same index twice": (
        5,
        {"validation_set": {"indices": [1, 2]}, "test_set": {"indices": [2]}},
        ["structures 2", "both"],
    ),
    "a file that is not there": (5, {"validation_set": {"indices": "nowhere.txt"}}, ["nowhere.txt", "validation"]),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_splits_are_refused_in_a_sentence(case: str, write: Write, prepared: Prepared) -> None:
    count, changes, said = IMPOSSIBLE[case]
    with pytest.raises(DataError) as caught:
        prepared(write(waters(count)), **changes)
    for part in said:
        assert part in str(caught.value)


def test_indices_need_a_single_file() -> None:
    from mace_app.options import IndicesOptions

    with pytest.raises(DataError, match="2 training data sets"):
        divide([[0, 1], [2, 3]], 4, IndicesOptions(indices=[1]), 0.0, seed=0)


def test_elements_outside_training_are_refused_by_name_and_place(write: Write, prepared: Prepared) -> None:
    sulphur = water().replace("O 0", "S 0")
    path = write([*waters(4), sulphur])
    with pytest.raises(DataError, match=r"frame 4 .*validation structure contains S, which"):
        prepared(path, validation_set={"indices": [4]})
    with pytest.raises(DataError, match=r"frame 4 .*contains S \(16\), which is not in `atomic_types` \(1, 8\)"):
        prepared(path, validation_set={"indices": [0]}, atomic_types=[1, 8])
    data = prepared(path, validation_set={"indices": [4]}, atomic_types=[1, 8, 16])
    assert data.atomic_types == [1, 8, 16] and any("S, which no training structure" in text for text in data.warnings)


GEOMETRY = {
    "a position that is no number": (
        water().replace("0.93", "nan"),
        "position of atom 2 is not a sensible number (nan)",
    ),
    "two atoms in one place": (water().replace("0.96", "0.0"), "atoms 0 and 1"),
    "periodic without a cell": (water().replace("F F F", "T T T"), "cell vectors are zero"),
    "an absurd cell": (
        water(comment='Lattice="1e-4 0 0 0 1e-4 0 0 0 1e-4"').replace("F F F", "T T T"),
        "far too many neighbours",
    ),
    "atoms far outside": (
        water(comment='Lattice="3 0 0 0 3 0 0 0 3"').replace("F F F", "T T T").replace("0.96", "1e6"),
        "cells away",
    ),
}


@pytest.mark.parametrize("case", GEOMETRY)
def test_impossible_structures_are_refused_with_their_frame(case: str, write: Write, prepared: Prepared) -> None:
    text, said = GEOMETRY[case]
    path = write([water(), text, *waters(3)])
    with pytest.raises(DataError) as caught:
        prepared(path, validation_set=0.2)
    assert str(caught.value).startswith(f"{path}, frame 1 ") and said in str(caught.value)


def test_a_second_call_reuses_the_folder_until_something_changes(write: Write, tmp_path: Path) -> None:
    path, folder = write(waters(10)), tmp_path / "prepared"
    chosen = options(path, validation_set=0.2)
    first = prepare(chosen, folder)
    stamp = (folder / "training_positions.npy").stat().st_mtime_ns
    again = prepare(chosen, folder)
    assert (folder / "training_positions.npy").stat().st_mtime_ns == stamp
    assert again.splits == first.splits and again.targets == first.targets and again.warnings == first.warnings
    path.write_text(path.read_text().replace("0.93", "0.94"))
    third = prepare(chosen, folder)
    assert third.training.collate([0])["positions"][2, 1] == 0.94
    assert first.training.collate([0])["positions"][2, 1] == 0.93, "an open set must not change under its reader"
    assert prepare(options(path, validation_set=0.2, r_max=1.0), folder).training.avg_num_neighbors() < 2
    (folder / "training_cells.npy").unlink()
    assert len(prepare(chosen, folder).training) == 8


def test_a_failed_preparation_leaves_nothing_that_looks_ready(write: Write, tmp_path: Path) -> None:
    path, folder = write(waters(10)), tmp_path / "prepared"
    prepare(options(path), folder)
    path.write_text(path.read_text() + "3\n")
    with pytest.raises(DataError):
        prepare(options(path), folder)
    assert not (folder / "prepared.json").exists()


def test_options_that_the_data_cannot_serve_are_named(write: Write, prepared: Prepared) -> None:
    path = write(waters(10, forces=False))
    with pytest.raises(OptionsError, match="forces"):
        prepare(
            options(path).model_copy(
                update={"architecture": _with_loss(options(path), {"energy": {"forces": {"weight": 10.0}}})}
            ),
            path.parent / "p",
        )


def _with_loss(chosen: object, loss: object) -> object:
    training = type(chosen.architecture.training).model_validate(
        {**chosen.architecture.training.model_dump(), "loss": loss}
    )
    return chosen.architecture.model_copy(update={"training": training})


def test_graphs_travel_to_another_process_as_a_reference(write: Write, prepared: Prepared) -> None:
    data = prepared(write(waters(10)), validation_set=0.2)
    packed = pickle.dumps(data.training)
    copy = pickle.loads(packed)
    assert len(packed) < 5000
    assert np.array_equal(copy.collate([1, 0])["positions"], data.training.collate([1, 0])["positions"])


def test_progress_ends_at_the_total(write: Write, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    prepare(options(write(waters(60))), tmp_path / "p", lambda *entry: seen.append(entry))
    assert seen[-1][0] == seen[-1][1] > 0 and {text for _, _, text in seen} == {
        "Checking files",
        "Reading structures, finding neighbours",
    }
