"""Periodic structures of mixed size with every kind of label, as a file, and a small model for them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mace_app.data import PreparedData, prepare
from mace_app.model import Batch, MaceModel, fit_baseline, fit_scaler
from mace_app.options import RunOptions, parse_options
from mace_app.tasks.train import make_model

CELL = np.diag([5.0, 6.0, 7.0])
VOLUME = 210.0
SIZES = (2, 5, 3, 4, 2)
SPECIES = {1: "H", 8: "O"}


def structures(random: np.random.Generator, force: float = 1.0) -> list[dict[str, Any]]:
    """Labels by name, nothing missing; ``force`` is the size of the forces."""
    found = []
    for n in SIZES:
        corners = random.permutation([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])[:n]
        symmetric = random.normal(size=(3, 3))
        found.append(
            {
                "numbers": random.choice([1, 8], size=n),
                "positions": 1.2 * corners + random.normal(size=(n, 3)) * 0.05,
                "energy": np.array([random.normal() - 5.0 * n]),
                "energy.forces": force * random.normal(size=(n, 3)),
                "energy.stress": 0.05 * (symmetric + symmetric.T),
                "mtt::dipole": random.normal(size=(3, 1)),
                "charge": random.normal(size=(n, 1)),
                "info": {},
                "masks": {},
            }
        )
    return found


def write(path: Path, frames: list[dict[str, Any]]) -> Path:
    """As extended xyz; labels and masks that are None are left out, NaN is written."""
    text = ""
    for frame in frames:
        columns = {"forces": frame["energy.forces"], "charge": frame["charge"]}
        columns |= {key: mask.astype(int) for key, mask in frame["masks"].items()}
        columns = {key: values for key, values in columns.items() if values is not None}
        kinds = {
            key: f":{'I' if values.dtype.kind == 'i' else 'R'}:{values.shape[1]}" for key, values in columns.items()
        }
        info = {
            "Lattice": CELL,
            "energy": frame["energy"],
            "stress": frame["energy.stress"],
            "dipole": frame["mtt::dipole"],
        }
        info |= {key: value for key, value in frame["info"].items()}
        written = {
            key: value if isinstance(value, str) else " ".join(f"{v:.17g}" for v in np.ravel(value))
            for key, value in info.items()
            if value is not None
        }
        header = "".join(f":{key}{kind}" for key, kind in kinds.items())
        text += f"{len(frame['numbers'])}\nProperties=species:S:1:pos:R:3{header} "
        text += " ".join(f'{key}="{value}"' for key, value in written.items()) + ' pbc="T T T"\n'
        for row, (z, position) in enumerate(zip(frame["numbers"], frame["positions"], strict=True)):
            numbers = [*position, *(value for values in columns.values() for value in values[row])]
            text += f"{SPECIES[int(z)]} " + " ".join(f"{number:.17g}" for number in numbers) + "\n"
    path.write_text(text)
    return path


def run_options(
    path: Path, training: dict[str, Any], length_unit: str = "", unit: str = "eV", **dataset: Any
) -> RunOptions:
    """The whole file to train on and, as a set of its own, to validate on."""
    data = {
        "systems": {"read_from": str(path), "length_unit": length_unit},
        "targets": {
            "energy": {"unit": unit, "forces": {}, "stress": {}},
            "mtt::dipole": {"key": "dipole", "type": {"cartesian": {"rank": 1}}},
            "charge": {"sample_kind": "atom"},
        },
        **dataset,
    }
    model = {
        "r_max": 3.0,
        "hidden_irreps": "4x0e + 4x1o",
        "num_radial_basis": 4,
        "radial_MLP": [8],
        "MLP_irreps": "4x0e",
        "max_ell": 1,
        "correlation": 2,
    }
    return parse_options(
        {
            "seed": 1,
            "architecture": {"model": model, "training": {"num_epochs": 1, **training}},
            "training_set": data,
            "validation_set": data,
        }
    )


def fitted(options: RunOptions, folder: Path) -> tuple[PreparedData, MaceModel]:
    prepared = prepare(options, folder)
    torch.manual_seed(3)
    model = make_model(options, prepared)
    fit_baseline(model.config, model.baseline, prepared.training)
    fit_scaler(model.config, model.scaler, model.baseline, prepared.training)
    return prepared, model


def whole(prepared: PreparedData, model: MaceModel) -> Batch:
    """All training structures, in the order of the file."""
    assert prepared.training.structure_ids[:, 1].tolist() == list(range(len(SIZES)))
    arrays = prepared.training.collate(range(len(prepared.training)))
    return Batch.from_arrays(arrays, model.config.atomic_types, "cpu", model.dtype)
