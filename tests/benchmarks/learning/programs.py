"""How each program is asked for the same thing, and where it leaves its model and its numbers."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml
from setting import Setting, Split

DATA_OPTIONS = {"quantity": "energy", "unit": "eV", "key": "REF_energy", "forces": {"key": "REF_forces"}}


@dataclass(frozen=True)
class Own:
    """What the program itself wrote: its last or best validation errors in meV/atom and meV/Å, and times."""

    energy_mae: float
    forces_mae: float
    seconds_per_epoch: float
    history: list[float]  # validation force MAE of every epoch, meV/Å


@dataclass(frozen=True)
class Program:
    """`command(python, setting, split, folder)` also writes the options file it needs."""

    name: str
    title: str
    packages: list[str]
    calculator: str
    command: Callable[[Path, Setting, Split, Path], list[str]]
    model: Callable[[Path], Path]
    own: Callable[[Path, Path], Own]
    remarks: str


def metatrain_options(setting: Setting, split: Split, avg_num_neighbors: float | str) -> dict:
    """`options.yaml` of metatrain; ours has the same grammar."""

    def dataset(path: Path) -> dict:
        return {"systems": {"read_from": str(path), "length_unit": "angstrom"}, "targets": {"energy": DATA_OPTIONS}}

    return {
        "device": "cpu",
        "base_precision": 32,
        "seed": setting.seed,
        "architecture": {
            "name": "experimental.mace",
            "model": {
                "r_max": setting.r_max,
                "hidden_irreps": setting.hidden_irreps,
                "max_ell": setting.max_ell,
                "correlation": setting.correlation,
                "num_interactions": setting.num_interactions,
                "num_radial_basis": setting.num_radial_basis,
                "num_cutoff_basis": setting.num_cutoff_basis,
                "avg_num_neighbors": avg_num_neighbors,
            },
            "training": {
                "num_epochs": setting.epochs,
                "batch_size": setting.batch_size,
                "learning_rate": setting.learning_rate,
                "weight_decay": setting.weight_decay,
                "amsgrad": True,
                "loss": {
                    "energy": {
                        "type": "mse",
                        "weight": setting.energy_weight,
                        "forces": {"type": "mse", "weight": setting.forces_weight},
                    }
                },
            },
        },
        "training_set": dataset(split.training),
        "validation_set": dataset(split.validation),
        "test_set": 0.0,
    }


def _write_options(folder: Path, options: dict) -> Path:
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


# --- MACE Studio


def studio_command(python: Path, setting: Setting, split: Split, folder: Path) -> list[str]:
    path = _write_options(folder, metatrain_options(setting, split, "auto"))
    return [str(python), "-m", "mace_app", "train", str(path), "--output", str(folder / "run")]


def studio_own(folder: Path, log: Path) -> Own:
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line.get("epoch", 0) > 0]
    best = [line for line in epochs if line["best"]][-1]
    return Own(
        energy_mae=1000 * best["validation/energy/mae"],
        forces_mae=1000 * best["validation/energy.forces/mae"],
        seconds_per_epoch=sum(line["seconds"] for line in epochs) / len(epochs),
        history=[1000 * line["validation/energy.forces/mae"] for line in epochs],
    )


# --- metatrain


def mtt_command(python: Path, setting: Setting, split: Split, folder: Path) -> list[str]:
    options = metatrain_options(setting, split, round(split.avg_num_neighbors, 4))
    options["architecture"]["training"]["num_workers"] = 0
    return [str(python.parent / "mtt"), "train", str(_write_options(folder, options))]


def mtt_own(folder: Path, log: Path) -> Own:
    (table,) = folder.glob("outputs/*/*/train.csv")
    names, units, *rows = list(csv.reader(table.open()))
    columns = {name.strip(): index for index, name in enumerate(names)}
    factor = {"meV": 1.0, "eV": 1000.0}

    def column(pattern: str) -> list[float]:
        (name,) = [name for name in columns if re.search(pattern, name)]
        unit = units[columns[name]].strip().strip("()").split("/")[0]
        return [factor[unit] * float(row[columns[name]]) for row in rows]

    energies, forces = column(r"validation energy.*MAE"), column(r"validation forces.*MAE")
    best = min(range(len(forces)), key=lambda epoch: energies[epoch] * forces[epoch])
    return Own(energies[best], forces[best], _seconds_between(log, r"^\[([-0-9 :]+)\].*Epoch:"), forces)


# --- mace_run_train


def mace_command(python: Path, setting: Setting, split: Split, folder: Path) -> list[str]:
    arguments = {
        "name": "ethanol",
        "work_dir": folder,
        "train_file": split.training,
        "valid_file": split.validation,
        "E0s": "average",
        "model": "MACE",
        "scaling": "rms_forces_scaling",
        "r_max": setting.r_max,
        "hidden_irreps": setting.hidden_irreps,
        "max_ell": setting.max_ell,
        "correlation": setting.correlation,
        "num_interactions": setting.num_interactions,
        "num_radial_basis": setting.num_radial_basis,
        "num_cutoff_basis": setting.num_cutoff_basis,
        "batch_size": setting.batch_size,
        "valid_batch_size": setting.batch_size,
        "lr": setting.learning_rate,
        "weight_decay": setting.weight_decay,
        "loss": "weighted",
        "energy_weight": setting.energy_weight,
        "forces_weight": setting.forces_weight,
        "ema_decay": 0.99,
        "max_num_epochs": setting.epochs,
        "eval_interval": 1,
        "error_table": "PerAtomMAE",
        "default_dtype": "float32",
        "device": "cpu",
        "seed": setting.seed,
        "plot": False,
    }
    pairs = [f"--{name}={value}" for name, value in arguments.items()]
    return [str(python.parent / "mace_run_train"), *pairs, "--amsgrad", "--ema"]


def mace_own(folder: Path, log: Path) -> Own:
    pattern = r"Epoch (\d+):.* loss= *([\d.]+), MAE_E_per_atom= *([\d.]+) meV, MAE_F= *([\d.]+) meV"
    rows = [tuple(map(float, match)) for match in re.findall(pattern, log.read_text())]
    best = min(rows, key=lambda row: row[1])
    seconds = _seconds_between(log, r"^([-0-9 :.]+) INFO: Epoch \d+:")
    return Own(best[2], best[3], seconds, [row[3] for row in rows])


def _seconds_between(log: Path, pattern: str) -> float:
    """Mean time between the log's lines that match; NaN with fewer than two."""
    stamps = [datetime.fromisoformat(stamp.strip()) for stamp in re.findall(pattern, log.read_text(), re.MULTILINE)]
    if len(stamps) < 2:
        return float("nan")
    return (stamps[-1] - stamps[0]).total_seconds() / (len(stamps) - 1)


PROGRAMS = [
    Program(
        name="studio",
        title="MACE Studio",
        packages=["torch", "mace-torch", "e3nn"],
        calculator="metatomic",
        command=studio_command,
        model=lambda folder: folder / "run" / "model.pt",
        own=studio_own,
        remarks="its defaults: energies and forces in units of the force RMS, EMA 0.99, gradient norm at most 1 (in "
        "these units), the last small batch is kept (119 steps an epoch), best epoch by weighted MAE",
    ),
    Program(
        name="mtt",
        title="`mtt train`",
        packages=["metatrain", "torch", "mace-torch", "e3nn"],
        calculator="metatomic",
        command=mtt_command,
        model=lambda folder: folder / "model.pt",
        own=mtt_own,
        remarks="its defaults: energies and forces in units of the RMS energy per atom, no EMA, gradient norm at most "
        "1 (in these units), 118 steps an epoch, best epoch by the product of MAEs; `avg_num_neighbors` given "
        "(its default is 1)",
    ),
    Program(
        name="mace",
        title="`mace_run_train`",
        packages=["mace-torch", "torch", "e3nn"],
        calculator="mace",
        command=mace_command,
        model=lambda folder: folder / "ethanol.model",
        own=mace_own,
        remarks="the usual options of its documentation: `--E0s average`, `--scaling rms_forces_scaling`, `--ema "
        "--ema_decay 0.99`, gradient norm at most 10, loss in eV and eV/Å, 118 steps an epoch, best epoch by loss",
    ),
]
