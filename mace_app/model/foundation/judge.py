"""What mace-torch's own model, its own forward and its own neighbour list, says of a structure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mace_app.model.adapter import mace_neighbourhood
from mace_app.model.architecture import Architecture


class Judge:
    """The rebuilt model of a file, asked as mace-torch's ASE calculator asks it.

    torch's default dtype stays what it is, also as there: in it mace-torch, and with it our own model and its exports,
    multiplies the charges of nuclei that repel each other, 6e-8 of that energy. Releases before 0.3.16 set it to the
    dtype of the model first.
    """

    def __init__(self, native: Any, architecture: Architecture, head: int) -> None:
        self._native = native
        self._architecture = architecture
        self._head = head

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``energy`` [1, 1] in eV, ``forces`` [N, 3] in eV/Å, ``stress`` [1, 3, 3] in eV/Å³ (with three periodic
        directions only) of the one structure in ``arrays``, float64."""
        numbers = list(self._architecture.atomic_numbers)
        pbc = tuple(bool(value) for value in np.asarray(arrays["pbc"])[0])
        edge_index, shifts, unit_shifts, cell = mace_neighbourhood(
            np.array(arrays["positions"]), self._architecture.r_max, pbc, np.array(arrays["cells"])[0]
        )
        elements = torch.tensor([numbers.index(int(z)) for z in arrays["numbers"]])
        count = len(elements)
        data = {
            "positions": torch.tensor(arrays["positions"], dtype=torch.float64),
            "node_attrs": torch.nn.functional.one_hot(elements, len(numbers)).to(torch.float64),
            "edge_index": torch.tensor(edge_index, dtype=torch.int64),
            "shifts": torch.tensor(shifts, dtype=torch.float64),
            "unit_shifts": torch.tensor(unit_shifts, dtype=torch.float64),
            "cell": torch.tensor(cell, dtype=torch.float64),
            "batch": torch.zeros(count, dtype=torch.int64),
            "ptr": torch.tensor([0, count]),
            "head": torch.tensor([self._head]),
        }
        answer = self._native(data, compute_stress=True)
        found = {"energy": answer["energy"].reshape(1, 1), "forces": answer["forces"]}
        if all(pbc):
            found["stress"] = answer["stress"].reshape(1, 3, 3)
        return {label: value.detach().numpy() for label, value in found.items()}
