"""How each program is asked for the same training, and the line of its output that ends an epoch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from setting import Files, Setting


def options(setting: Setting, files: Files, ours: bool) -> dict:
    """`options.yaml` of metatrain; ours has the same grammar."""
    forces = {"key": "REF_forces"}
    target: dict = {"quantity": "energy", "unit": "eV", "key": "REF_energy", "forces": forces}
    loss: dict = {"type": "mse", "weight": 1.0, "forces": {"type": "mse", "weight": 100.0}}
    if setting.data.virial is not None:
        target["virial"] = {"key": "REF_virials"}
        loss["virial"] = {"type": "mse", "weight": 1.0}

    def dataset(path: Path) -> dict:
        return {"systems": {"read_from": str(path), "length_unit": "angstrom"}, "targets": {"energy": target}}

    training = {
        "num_epochs": setting.epochs,
        "batch_size": setting.batch_size,
        "learning_rate": 0.001,
        "weight_decay": 5e-7,
        "amsgrad": True,
        "log_interval": 1,
        "loss": {"energy": loss},
    }
    model = {
        "r_max": setting.r_max,
        "hidden_irreps": setting.hidden_irreps,
        "max_ell": setting.max_ell,
        "correlation": setting.correlation,
        "num_interactions": setting.num_interactions,
        "num_radial_basis": setting.num_radial_basis,
        "num_cutoff_basis": setting.num_cutoff_basis,
        "avg_num_neighbors": round(files.avg_num_neighbors, 4),
    }
    if not ours:
        training["num_workers"] = 0
    return {
        "device": "cpu",
        "base_precision": setting.precision,
        "seed": setting.seed,
        "architecture": {"name": "experimental.mace", "model": model, "training": training},
        "training_set": dataset(files.training),
        "validation_set": dataset(files.validation),
        "test_set": 0.0,
    }


def _write(folder: Path, content: dict) -> Path:
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def studio(python: Path, setting: Setting, files: Files, folder: Path) -> list[str]:
    path = _write(folder, options(setting, files, True))
    return [str(python), "-m", "mace_app", "train", str(path), "--output", str(folder / "run")]


def metatrain(
    python: Path, setting: Setting, files: Files, folder: Path, model: Mapping[str, Any] | None = None
) -> list[str]:
    """``model``: further hyperparameters of the model."""
    content = options(setting, files, False)
    content["architecture"]["model"] |= model or {}
    return [str(python.parent / "mtt"), "train", str(_write(folder, content))]


def mace(python: Path, setting: Setting, files: Files, folder: Path) -> list[str]:
    virial = setting.data.virial is not None
    arguments = {
        "name": "speed",
        "work_dir": folder,
        "train_file": files.training,
        "valid_file": files.validation,
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
        "lr": 0.001,
        "weight_decay": 5e-7,
        "loss": "virials" if virial else "weighted",
        "energy_weight": 1.0,
        "forces_weight": 100.0,
        "max_num_epochs": setting.epochs,
        "eval_interval": 1,
        "error_table": "PerAtomMAE",
        "default_dtype": f"float{setting.precision}",
        "device": "cpu",
        "seed": setting.seed,
        "plot": False,
        **({"virials_weight": 1.0, "virials_key": "REF_virials", "compute_stress": True} if virial else {}),
    }
    pairs = [f"--{name}={value}" for name, value in arguments.items()]
    return [str(python.parent / "mace_run_train"), *pairs, "--amsgrad"]


PROGRAMS = {"studio": studio, "metatrain": metatrain, "mace": mace}
END_OF_EPOCH = {
    "studio": r"[Ee]poch +\d+",
    "metatrain": r"Epoch: +\d+",
    "mace": r"INFO: Epoch \d+:",
}
