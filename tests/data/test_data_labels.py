"""Labels: shapes, signs, presence, and sentences about what is wrong with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from water_files import options, water, waters

from mace_app.data import DataError, PreparedData, prepare
from mace_app.data.labels import paired_key

Write = Callable[..., Path]
Prepared = Callable[..., PreparedData]


def bulk(comment: str, pbc: str = "T T T", lattice: str = "4 0 0 0 4 0 0 0 4") -> str:
    return (
        f'2\nLattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}" energy=-1 {comment}\nC 0 0 0\nC 1.5 0 0\n'
    )


def test_a_virial_becomes_stress_with_the_opposite_sign(write: Write, prepared: Prepared) -> None:
    nine = "1 2 3 2 4 5 3 5 6"
    path = write([bulk(f'my_virial="{nine}"')] * 4)
    data = prepared(path, {"energy": {"forces": False, "virial": "my_virial"}}, validation_set=0.25)
    stress = data.training.collate([0])["label:energy.stress"]
    assert np.allclose(stress[0], -np.array([[1, 2, 3], [2, 4, 5], [3, 5, 6]]) / 64.0)
    assert data.targets["energy"].stress_from_virial and data.targets["energy"].has_stress


def test_stress_of_a_calculator_keeps_its_sign_and_voigt_order(tmp_path: Path) -> None:
    frames = []
    for strain in (0.9, 0.95, 1.05):
        atoms = Atoms("Cu", cell=np.array([[0, 1.8, 1.9], [1.7, 0, 1.8], [1.8, 1.8, 0]]) * strain, pbc=True)
        calculator = EMT()
        results = {name: calculator.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    ase.io.write(tmp_path / "cu.traj", frames)
    data = prepare(options(tmp_path / "cu.traj", validation_set=0.34), tmp_path / "prepared")
    assert data.targets["energy"].labels() == ["energy", "energy.forces", "energy.stress"]
    for index, (_, frame) in enumerate(data.training.structure_ids):
        assert np.allclose(
            data.training.collate([index])["label:energy.stress"][0], frames[frame].get_stress(voigt=False)
        )


def test_stress_of_extended_xyz_may_be_nan_where_nothing_is_periodic(write: Write, prepared: Prepared) -> None:
    nan = " ".join(["nan"] * 9)
    path = write([bulk('stress="1 0 0 0 1 0 0 0 1"')] * 3 + [bulk(f'stress="{nan}"', pbc="F F F")])
    data = prepared(path, validation_set={"indices": [0]})
    assert list(data.training.labels_present("energy.stress")) == [True, True, False]
    assert not any("NaN" in text for text in data.warnings)
    assert any("`energy.stress` (key `stress`) is known for 3 of 4" in text for text in data.warnings)


def test_presence_is_kept_structure_by_structure(write: Write, prepared: Prepared) -> None:
    path = write([*waters(3), *waters(2, forces=False)])
    data = prepared(path, validation_set={"indices": [0]})
    assert list(data.training.labels_present("energy.forces")) == [True, True, False, False]
    batch = data.training.collate([2, 1])
    forces = batch["label:energy.forces"]
    assert np.isnan(forces[:3]).all() and np.isfinite(forces[3:]).all()
    assert any("known for 3 of 5" in text for text in data.warnings)


def test_nan_labels_count_as_missing_and_are_named(write: Write, prepared: Prepared) -> None:
    data = prepared(write([water("nan"), *waters(4)]), validation_set={"indices": [4]})
    assert list(data.training.labels_present("energy")) == [False, True, True, True]
    assert any("NaN in the frames 0 " in text for text in data.warnings)


REFUSED: dict[str, tuple[list[str], Any, list[str]]] = {
    "a key nobody has": (waters(3), {"energy": {"key": "enrgy"}}, ["`enrgy`", "Did you mean `energy`?", "`forces`"]),
    "required forces that are absent": (
        waters(3, forces=False),
        {"energy": {"forces": True}},
        ["`forces`", "`energy.forces`"],
    ),
    "only NaN": ([water("nan")] * 3, None, ["`energy` is NaN in every structure"]),
    "infinity": ([water(), water("inf"), water()], None, ["frame 1", "`energy` is infinite"]),
    "text": ([water(), water("low")], None, ["frame 1", "`energy`", "text", "`low`"]),
    "true and false": (waters(3, comment="good=T"), {"mtt::good": {"key": "good"}}, ["`good`", "true or false"]),
    "a wrong shape": (
        waters(3, comment='dipole="1 2"'),
        {"mtt::dipole": {"key": "dipole", "type": {"cartesian": {"rank": 1}}}},
        ["`dipole` has the shape 2", "needs 3"],
    ),
    "per atom instead of per structure": (waters(3), {"mtt::f": {"key": "forces"}}, ["per atom", "`sample_kind`"]),
    "per structure instead of per atom": (
        waters(3),
        {"mtt::e": {"key": "energy", "sample_kind": "atom"}},
        ["per structure", "`sample_kind`"],
    ),
    "forces with two columns": (
        [text.replace("forces:R:3", "forces:R:2:rest:R:1") for text in waters(3)],
        None,
        ["`forces` has the shape 3×2", "needs 3×3"],
    ),
    "a stress of six values": (
        waters(3, comment='my_stress="1 2 3 4 5 6"'),
        {"energy": {"stress": "my_stress"}},
        ["six values", "nine"],
    ),
    "stress without a cell": (
        waters(3, comment='stress="1 0 0 0 1 0 0 0 1"'),
        {"energy": {"stress": True}},
        ["cell has no volume"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_labels_are_refused_in_a_sentence(case: str, write: Write, prepared: Prepared) -> None:
    frames, targets, said = REFUSED[case]
    path = write(frames)
    with pytest.raises(DataError) as caught:
        prepared(path, targets, validation_set=0.34)
    assert str(caught.value).startswith(str(path))
    for part in said:
        assert part in str(caught.value)


def test_targets_have_the_documented_shapes(write: Write, prepared: Prepared) -> None:
    frames = [
        text.replace("forces:R:3", "q:R:1:v:R:2") for text in waters(4, comment='mu="1 2 3" spectrum="1 2 3 4 5"')
    ]
    targets = {
        "energy": {},
        "charge": {"key": "q", "sample_kind": "atom"},
        "mtt::pair": {"key": "v", "sample_kind": "atom", "num_subtargets": 2},
        "mtt::mu": {"key": "mu", "type": {"cartesian": {"rank": 1}}},
        "mtt::spectrum": {"key": "spectrum", "num_subtargets": 5},
    }
    batch = prepared(write(frames), targets, validation_set=0.25).training.collate([0, 2])
    shapes = {name.removeprefix("label:"): values.shape for name, values in batch.items() if name.startswith("label:")}
    assert shapes == {
        "energy": (2, 1),
        "charge": (6, 1),
        "mtt::pair": (6, 2),
        "mtt::mu": (2, 3, 1),
        "mtt::spectrum": (2, 5),
    }
    assert np.array_equal(batch["label:mtt::mu"][1, :, 0], [1, 2, 3])


def test_forces_used_if_found_belong_to_the_energy(write: Write, prepared: Prepared) -> None:
    assert paired_key("REF_energy", "forces") == "REF_forces" and paired_key("U0", "forces") == "forces"
    both = [
        text.replace("forces:R:3", "forces_xtb:R:3").replace("energy=", "energy=1 energy_xtb=") for text in waters(4)
    ]
    path = write(both)
    data = prepared(path, {"energy": {"key": "energy_xtb"}}, validation_set=0.25)
    assert data.targets["energy"].has_forces
    other = prepared(path, {"energy": {"key": "energy"}}, validation_set=0.25)
    assert not other.targets["energy"].has_forces
    assert any("the file has `forces_xtb`" in text for text in other.warnings)


def test_one_invariant_may_be_called_spherical(write: Write, prepared: Prepared) -> None:
    path = write([water(-1.0 * n, 0.01 * n) for n in range(5)])
    target = {"key": "energy", "type": {"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1}]}}}
    batch = prepared(path, {"energy": {}, "mtt::same": target}, validation_set=0.2).training.collate([0, 1])
    assert batch["label:mtt::same"].shape == (2, 1, 1)
    assert (batch["label:mtt::same"][:, 0] == batch["label:energy"]).all()
