"""Files from other machines and other years, where mace-torch of today can't be asked for their answers."""

import pickletools
import struct
from pathlib import Path

import numpy as np
import torch
from ase.data import covalent_radii
from graph_fixtures import ethanol, predict
from mace_files import build, save
from pickles import changed_description

from mace_app.model.adapter import OLD_SOFT
from mace_app.model.foundation import AtomsGraphs, Judge, foundation_model, open_foundation, rebuild


def test_a_file_saved_on_a_gpu_opens_without_one(tmp_path: Path) -> None:
    """What torch writes differs in one word, the place of every storage."""
    path = save(build(), tmp_path / "cpu.model")

    def moved(description: bytes) -> bytes:
        places = [at for code, value, at in pickletools.genops(description) if value == "cpu" and at is not None]
        assert places  # code inside the file may hold the same bytes, but no instruction
        for at in reversed(places):
            description = description[:at] + b"X" + struct.pack("<I", 6) + b"cuda:0" + description[at + 8 :]
        return description

    moved_path = tmp_path / "cuda.model"
    moved_path.write_bytes(changed_description(path, moved))
    assert b"cuda:0" in moved_path.read_bytes()
    here, there = open_foundation(path), open_foundation(moved_path)
    assert here.tensors.keys() == there.tensors.keys()
    for name, values in there.tensors.items():
        assert values.device.type == "cpu" and torch.equal(values, here.tensors[name])
    rebuild(there)
    ours, theirs = (predict(foundation_model(found), ethanol()) for found in (there, here))
    assert all(np.array_equal(ours[label], theirs[label], equal_nan=True) for label in theirs)


def test_the_soft_transform_of_2024_is_the_formula_of_2024(tmp_path: Path) -> None:
    model = build(distance_transform="Soft", dtype=torch.float64)
    transform = model.radial_embedding.distance_transform
    del transform.alpha
    transform.register_buffer("a", torch.tensor(0.2, dtype=torch.float64))
    transform.register_buffer("b", torch.tensor(3.0, dtype=torch.float64))
    foundation = open_foundation(save(model, tmp_path / "old.model"))
    assert foundation.architecture.distance_transform == OLD_SOFT
    ours = foundation_model(foundation)
    distances = torch.linspace(0.5, 3.0, 6, dtype=torch.float64).reshape(-1, 1)
    elements = torch.eye(3, dtype=torch.float64)[[0, 2]]  # H and O
    edges = torch.tensor([[0] * 6, [1] * 6])
    found = ours.backbone.radial_embedding.distance_transform(distances, elements, edges, torch.tensor([1, 6, 8]))
    ratio = distances.numpy() * 4 / (covalent_radii[1] + covalent_radii[8])
    expected = distances.numpy() + 0.5 * np.tanh(-ratio - 0.2 * ratio**3) + 0.5
    assert np.abs(found.numpy() - expected).max() < 1e-14
    atoms = ethanol()
    judged = Judge(rebuild(foundation), foundation.architecture, 0)(AtomsGraphs([atoms], 3.7).collate([0]))
    values = predict(ours, atoms)
    assert np.abs(values["energy"] - judged["energy"]).max() < 1e-9
    assert np.abs(values["energy.forces"] - judged["forces"]).max() < 1e-9
