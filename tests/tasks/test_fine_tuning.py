"""A run that starts from a foundation file: what goes on, what is left alone, what is kept, and what is said."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write
from metatomic_ase import MetatomicCalculator
from safetensors.torch import load_file
from small_data import waters, write_options

from mace_app.__main__ import main
from mace_app.data import prepare
from mace_app.model import Batch, MaceModel
from mace_app.model.foundation import AtomsGraphs, foundation_model, open_foundation
from mace_app.options import parse_options
from mace_app.tasks.starting import Start
from mace_app.tasks.train import fit_normalisation, make_model
from mace_app.training import load_model

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "foundation"))
from mace_files import TWO_HEADS, build, save  # noqa: E402

DIPOLE = {"key": "dipole", "unit": "e*A", "type": {"cartesian": {"rank": 1}}}
ENERGY = {"key": "energy", "unit": "eV", "forces": {"key": "forces"}}
CHARGES = {1: 0.4, 6: 0.3, 8: -0.8}


def molecules(count: int = 12, seed: int = 0) -> list[Atoms]:
    """Of several compositions of H, C and O."""
    kinds = ("OH2", "CO2", "H2C", "OCH")
    return [waters(1, seed + n, symbols=kinds[n % 4])[0] for n in range(count)]


def predictions(model: MaceModel, atoms: Atoms) -> dict[str, np.ndarray]:
    arrays = AtomsGraphs([atoms], model.config.cutoff).collate([0])
    batch = Batch.from_arrays(arrays, model.config.atomic_types, "cpu", model.dtype)
    return {label: value.detach().numpy() for label, value in model.physical(batch, model(batch, model.labels)).items()}


@pytest.fixture(autouse=True)
def mace_may_unpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as importing mace-torch does


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file with scalars and vectors, elements H, C, O, a shift and a scale."""
    return save(build(), tmp_path_factory.mktemp("file") / "small.model")


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(build(**TWO_HEADS), tmp_path_factory.mktemp("file") / "two.model")


@pytest.fixture(scope="module")
def labelled(published: Path) -> Callable[..., list[Atoms]]:
    """Molecules with the file's own energies, moved by ``shifts`` of each element, its forces, and dipoles."""
    model = foundation_model(open_foundation(published))

    def structures(shifts: dict[int, float] | None = None, count: int = 12, seed: int = 0) -> list[Atoms]:
        found = molecules(count, seed)
        for atoms in found:
            said = predictions(model, atoms)
            moved = sum((shifts or {}).get(int(z), 0.0) for z in atoms.numbers)
            atoms.info["energy"] = float(said["energy"].item()) + moved
            atoms.arrays["forces"] = said["energy.forces"]
            charges = np.array([CHARGES[int(z)] for z in atoms.numbers])
            atoms.info["dipole"] = charges @ (atoms.positions - atoms.positions.mean(axis=0))
        return found

    return structures


def tree(file: Path, data: Path, targets: dict[str, Any], model: Any = None, **training: Any) -> dict[str, Any]:
    return {
        "seed": 3,
        "device": "cpu",
        "architecture": {
            "model": {"mace_model": str(file), **(model or {})},
            "training": {"num_epochs": 1, "batch_size": 4, "learning_rate": 0.001, **training},
        },
        "training_set": {"systems": str(data), "targets": targets},
        "validation_set": 0.25,
        "final_eval": False,
    }


class Listener:
    """A recorder that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, **fields: Any) -> None: ...

    def stop_requested(self) -> bool:
        return False


def begun(folder: Path, value: dict[str, Any]) -> tuple[MaceModel, str]:
    """The model with which the first epoch would begin, and the log so far; as ``train`` does it, without an export."""
    options = parse_options(value)
    start = Start.of(options)
    assert start is not None
    prepared = prepare(start.options(options), folder / "prepared")
    model = make_model(options, prepared, start)
    listener = Listener()
    fit_normalisation(model, options, prepared, listener, start)  # type: ignore[arg-type]
    return model, "\n".join(listener.lines)


def data_file(path: Path, structures: list[Atoms]) -> Path:
    write(path, structures, format="extxyz")
    return path


def trained(folder: Path, value: dict[str, Any], *more: str) -> Path:
    file = write_options(folder / "options.yaml", value)
    assert main(["train", str(file), "-o", str(folder / "run"), "--threads", "1", *more]) == 0
    return folder / "run"


def log_of(run: Path) -> str:
    return (run / "log.txt").read_text(encoding="utf-8")


def test_without_an_epoch_the_export_says_what_the_file_says(published: Path, labelled: Any, tmp_path: Path) -> None:
    """Also for elements that the data lack, and although the data are of another level."""
    data = data_file(tmp_path / "data.xyz", [a for a in labelled({1: 0.1}) if 6 not in a.numbers])
    run = trained(tmp_path, tree(published, data, {"energy": ENERGY}, num_epochs=0))
    original = foundation_model(open_foundation(published))
    calculator = MetatomicCalculator(run / "model.pt", device="cpu")
    for atoms in molecules(4, seed=50):
        said = predictions(original, atoms)
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(float(said["energy"].item()), abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), said["energy.forces"], rtol=0, atol=1e-9)
    report = json.loads((run / "report.json").read_text())
    assert report["foundation"]["file"] == str(published)
    assert len(report["foundation"]["sha256"]) == 64
    assert "Scale of energy: 1.7 (foundation)" in log_of(run)


def test_the_energy_goes_on_training_and_the_run_keeps_all_elements(
    published: Path, labelled: Any, tmp_path: Path
) -> None:
    structures = labelled(count=24)
    for atoms in structures:
        atoms.arrays["forces"] = 1.1 * atoms.arrays["forces"]
    data = data_file(tmp_path / "data.xyz", [a for a in structures if 6 not in a.numbers])
    run = trained(tmp_path, tree(published, data, {"energy": ENERGY}, num_epochs=3))
    model = load_model(run)
    assert model.config.atomic_types == [1, 6, 8]
    assert model.config.interaction_range == pytest.approx(2 * 3.7)
    before = foundation_model(open_foundation(published)).backbone.state_dict()
    after = model.backbone.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    errors = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()[1:]]
    assert errors[0]["validation/energy.forces/mae"] < 0.1 * np.abs(structures[0].arrays["forces"]).max()
    assert errors[-1]["validation/loss"] < errors[0]["validation/loss"]
    assert (run / "model.model").exists()


def test_a_training_that_only_harms_says_so(published: Path, labelled: Any, tmp_path: Path) -> None:
    """The data are the file's own answers, so every step leads away from them."""
    data = data_file(tmp_path / "data.xyz", labelled())
    run = trained(tmp_path, tree(published, data, {"energy": ENERGY}, learning_rate=0.1))
    assert "No epoch was better on the validation set than the foundation file itself" in log_of(run)
    exported = json.loads((run / "report.json").read_text())["foundation"]
    assert exported["heads"] == {"energy": "Default"} and exported["licence"] is None


def test_a_new_head_alone_trains_is_checkpointed_resumes_and_exports(
    published: Path, labelled: Any, tmp_path: Path
) -> None:
    """The file is gone when the run resumes, and the bits are those of an uninterrupted run."""
    structures = labelled()
    for atoms in structures:
        del atoms.info["energy"], atoms.arrays["forces"]
    data = data_file(tmp_path / "data.xyz", structures)
    file = Path(shutil.copy(published, tmp_path / "copy.model"))
    alone = trained(tmp_path, tree(file, data, {"mtt::dipole": DIPOLE}, num_epochs=4))
    assert "No data for `energy`" in log_of(alone)
    assert list(load_model(alone).config.targets) == ["mtt::dipole"]

    other = tmp_path / "other"
    other.mkdir()
    short = trained(other, tree(file, data, {"mtt::dipole": DIPOLE}, num_epochs=2))
    file.unlink()
    text = (short / "options.yaml").read_text().replace("num_epochs: 2", "num_epochs: 4")
    (short / "options.yaml").write_text(text)
    assert main(["train", str(short), "--resume", "--threads", "1"]) == 0
    first, second = (load_file(run / "checkpoints" / "last.safetensors") for run in (alone, short))
    assert all(torch.equal(first[name], second[name]) for name in first if not name.startswith("rng/"))

    model = load_model(short)
    calculator = MetatomicCalculator(short / "model.pt", device="cpu")
    atoms = molecules(1, seed=70)[0]
    from metatomic.torch import ModelOutput

    output = ModelOutput(quantity="", unit="", per_atom=False)
    answer = calculator.run_model(atoms, {"mtt::dipole": output})["mtt::dipole"].block().values.detach().numpy()
    np.testing.assert_allclose(answer, predictions(model, atoms)["mtt::dipole"], rtol=0, atol=1e-10)


def test_energies_of_atoms_are_estimated_from_what_the_file_leaves_over(
    published: Path, labelled: Any, tmp_path: Path
) -> None:
    shifts = {1: -3.0, 6: 12.5, 8: 7.25}
    data = data_file(tmp_path / "data.xyz", labelled(shifts))
    value = tree(published, data, {"energy": ENERGY}, num_epochs=0, atomic_baseline={"energy": "estimated"})
    model, log = begun(tmp_path, value)
    foundation = open_foundation(published)
    known = foundation.atomic_energies[0] + foundation.shift[0] + torch.tensor(list(shifts.values()))
    np.testing.assert_allclose(model.baseline.values("energy")[:, 0], known, rtol=0, atol=1e-8)
    assert "(estimated)" in log and "another level" not in log


def test_another_level_of_theory_is_noticed(published: Path, labelled: Any, tmp_path: Path) -> None:
    data = data_file(tmp_path / "data.xyz", labelled({1: -3.0, 6: 12.5, 8: 7.25}))
    _, log = begun(tmp_path, tree(published, data, {"energy": ENERGY}))
    assert "seem to come from another level of theory" in log
    assert "C by +12.5 eV" in log


def test_isolated_atoms_and_numbers_replace_those_of_the_file_and_its_shift_stays(
    published: Path, labelled: Any, tmp_path: Path
) -> None:
    alone = [Atoms(symbol, [[0, 0, 0]]) for symbol in "HCO"]
    for atoms, energy in zip(alone, (-13.0, -1000.0, -2000.0), strict=True):
        atoms.info |= {"energy": energy, "config_type": "IsolatedAtom"}
        atoms.arrays["forces"] = np.zeros((1, 3))
    data = data_file(tmp_path / "data.xyz", [*labelled(), *alone])
    value = tree(published, data, {"energy": ENERGY}, atomic_baseline={"energy": "isolated_atoms"})
    baseline = begun(tmp_path, value)[0].baseline.values("energy")[:, 0]
    np.testing.assert_allclose(baseline, [-13.0 + 0.21, -1000.0 + 0.21, -2000.0 + 0.21])
    value["architecture"]["training"]["atomic_baseline"] = {"energy": {6: -1001.0}}
    baseline = begun(tmp_path, value)[0].baseline.values("energy")[:, 0]
    np.testing.assert_allclose(baseline, [-13.6 + 0.21, -1001.0 + 0.21, -2041.25 + 0.21])


def test_two_heads_go_on_beside_each_other_and_are_exported_both(
    two_heads: Path, labelled: Any, tmp_path: Path
) -> None:
    """New data train one head and old data the other; the metatomic file has variants, mace-torch's file heads."""
    new, old = data_file(tmp_path / "new.xyz", labelled()), data_file(tmp_path / "old.xyz", labelled(seed=30))
    value = tree(
        two_heads,
        new,
        {"energy": ENERGY},
        {"mace_head_name": "ccsd", "more_mace_heads": {"energy/replay": "dft"}},
        atomic_baseline={"energy": "estimated"},
    )
    replay = {"quantity": "energy", **ENERGY}
    value["training_set"] = [value["training_set"], {"systems": str(old), "targets": {"energy/replay": replay}}]
    run = trained(tmp_path, value)
    model = load_model(run)
    assert model.config.internal_targets == ["energy", "energy/replay"]
    assert float(model.scaler.scale("energy")) == 0.6 and float(model.scaler.scale("energy/replay")) == 1.7
    atoms = molecules(1, seed=90)[0]
    said = predictions(model, atoms)
    from mace.calculators import MACECalculator

    heads = {"energy": "Default", "energy/replay": "replay"}
    assert json.loads((run / "report.json").read_text())["native"]["heads"] == heads
    for target, head in heads.items():
        variant = None if target == "energy" else "replay"
        atoms.calc = MetatomicCalculator(run / "model.pt", device="cpu", variants={"energy": variant})
        assert atoms.get_potential_energy() == pytest.approx(float(said[target].item()), abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), said[f"{target}.forces"], rtol=0, atol=1e-9)
        native = MACECalculator(str(run / "model.model"), device="cpu", default_dtype="float64", head=head)
        atoms.calc = native
        assert atoms.get_potential_energy() == pytest.approx(float(said[target].item()), abs=1e-9)
    again = open_foundation(run / "model.model")
    assert again.heads == ["Default", "replay"]


def test_elements_that_the_file_lacks_are_refused_before_anything_is_trained(
    published: Path, labelled: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    structures = labelled()
    structures[7].numbers[0] = 7
    data = data_file(tmp_path / "data.xyz", structures)
    file = write_options(tmp_path / "options.yaml", tree(published, data, {"energy": ENERGY}))
    assert main(["train", str(file), "-o", str(tmp_path / "run")]) == 2
    said = json.loads((tmp_path / "run" / "run.json").read_text())["reason"]
    assert "frame 7" in said and "contains N, which the foundation file" in said and "small.model does not know" in said
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


def test_a_wrong_head_is_said_with_those_there_are(two_heads: Path, labelled: Any, tmp_path: Path) -> None:
    data = data_file(tmp_path / "data.xyz", labelled())
    for name, words in (("pbe", "has no head `pbe`; it has `dft`, `ccsd`"), (None, "name the one to use")):
        folder = tmp_path / str(name)
        folder.mkdir()
        value = tree(two_heads, data, {"energy": ENERGY}, {"mace_head_name": name})
        file = write_options(folder / "options.yaml", value)
        assert main(["train", str(file), "-o", str(folder / "run")]) == 2
        assert words in json.loads((folder / "run" / "run.json").read_text())["reason"]


def test_a_target_that_the_files_features_cannot_give_is_refused(labelled: Any, tmp_path: Path) -> None:
    file = save(build(hidden_irreps="4x0e"), tmp_path / "scalars.model")
    data = data_file(tmp_path / "data.xyz", labelled())
    options = write_options(tmp_path / "options.yaml", tree(file, data, {"mtt::dipole": DIPOLE}))
    assert main(["train", str(options), "-o", str(tmp_path / "run")]) == 2
    said = json.loads((tmp_path / "run" / "run.json").read_text())["reason"]
    assert "needs features of kind `1o`, but those of the foundation file are `0e`" in said


@pytest.mark.slow
def test_maces_own_trainer_goes_on_from_the_fine_tuned_file(published: Path, labelled: Any, tmp_path: Path) -> None:
    """``mace_run_train --foundation_model`` accepts it, and its first errors are those the run ended with."""
    data = data_file(tmp_path / "data.xyz", labelled())
    run = trained(tmp_path, tree(published, data, {"energy": ENERGY}))
    structures = read(data, ":")
    for atoms in structures:
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    write(tmp_path / "mace.xyz", structures, format="extxyz")
    options = {
        "name": "again",
        "foundation_model": str(run / "model.model"),
        "train_file": str(tmp_path / "mace.xyz"),
        "valid_fraction": "0.25",
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "E0s": "foundation",
        "max_num_epochs": "1",
        "batch_size": "4",
        "valid_batch_size": "4",
        "device": "cpu",
        "default_dtype": "float64",
        "multiheads_finetuning": "False",
        "work_dir": str(tmp_path / "mace"),
        "lr": "1e-9",
    }
    command = [sys.executable, "-m", "mace.cli.run_train", *(f"--{name}={value}" for name, value in options.items())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    written = list((tmp_path / "mace").rglob("again*.model")) + list(tmp_path.glob("again*.model"))
    assert written
    atoms = molecules(1, seed=91)[0]
    from mace.calculators import MACECalculator

    atoms.calc = MACECalculator(str(written[0]), device="cpu", default_dtype="float64")
    said = predictions(load_model(run), atoms)
    assert atoms.get_potential_energy() == pytest.approx(float(said["energy"].item()), abs=1e-4)
