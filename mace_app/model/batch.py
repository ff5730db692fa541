"""A batch of graphs as tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from mace_app.model.errors import ModelError


@dataclass(frozen=True)
class Batch:
    """N atoms, E edges, G structures.

    Edge vectors are formed in float64 before they are rounded to the model's dtype, so that a structure far from the
    origin loses nothing. Labels stay in float64: only differences from the baseline are small enough for float32.
    """

    numbers: torch.Tensor  # [N] atomic numbers
    elements: torch.Tensor  # [N] positions in the model's atomic_types
    node_attributes: torch.Tensor  # [N, elements] one-hot, model dtype
    vectors: torch.Tensor  # [E, 3] r_receiver − r_sender + shift·cell, model dtype
    edge_index: torch.Tensor  # [2, E] senders and receivers
    edge_structure: torch.Tensor  # [E]
    structure: torch.Tensor  # [N]
    n_atoms: torch.Tensor  # [G] float64
    volume: torch.Tensor  # [G] float64; 0 without a cell
    weights: torch.Tensor  # [G] float64; how much each structure counts in the loss
    labels: dict[str, torch.Tensor]  # float64, NaN where absent

    @property
    def n_structures(self) -> int:
        return int(self.n_atoms.shape[0])

    @property
    def device(self) -> torch.device:
        return self.vectors.device

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        atomic_types: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> "Batch":
        """From ``GraphSet.collate``. Raises ModelError for an element that the model does not have."""
        numbers = np.asarray(arrays["numbers"], dtype=np.int64)
        positions = np.asarray(arrays["positions"], dtype=np.float64)
        cells = np.asarray(arrays["cells"], dtype=np.float64)
        senders = np.asarray(arrays["senders"], dtype=np.int64)
        receivers = np.asarray(arrays["receivers"], dtype=np.int64)
        edge_structure = np.asarray(arrays["edge_structure"], dtype=np.int64)
        elements = element_indices(numbers, atomic_types)
        shifts = np.einsum("ei,eij->ej", arrays["shifts"], cells[edge_structure])
        vectors = positions[receivers] - positions[senders] + shifts
        indices = torch.from_numpy(elements)
        return cls(
            numbers=torch.from_numpy(numbers),
            elements=indices,
            node_attributes=torch.nn.functional.one_hot(indices, len(atomic_types)).to(dtype),
            vectors=torch.from_numpy(vectors).to(dtype),
            edge_index=torch.from_numpy(np.stack([senders, receivers])),
            edge_structure=torch.from_numpy(edge_structure),
            structure=torch.from_numpy(np.asarray(arrays["structure"], dtype=np.int64)),
            n_atoms=torch.from_numpy(np.diff(np.asarray(arrays["ptr"], dtype=np.int64)).astype(np.float64)),
            volume=torch.from_numpy(np.abs(np.linalg.det(cells))),
            weights=torch.from_numpy(np.array(arrays.get("weight", np.ones(len(cells))), dtype=np.float64)),
            labels={
                name.removeprefix("label:"): torch.from_numpy(np.asarray(values, dtype=np.float64).copy())
                for name, values in arrays.items()
                if name.startswith("label:")
            },
        ).to(device)

    def to(self, device: torch.device | str) -> "Batch":
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self) if field.name != "labels"}
        return replace(self, **moved, labels={name: label.to(device) for name, label in self.labels.items()})


def element_indices(numbers: np.ndarray, atomic_types: Sequence[int]) -> np.ndarray:
    """Positions of ``numbers`` in ``atomic_types``, which must be ascending."""
    types = np.asarray(atomic_types, dtype=np.int64)
    places = np.minimum(np.searchsorted(types, numbers), len(types) - 1)
    unknown = np.flatnonzero(types[places] != numbers)
    if len(unknown):
        raise ModelError(
            f"Atom {int(unknown[0])} of this batch is of element {int(numbers[unknown[0]])}, which the model does not "
            f"know; its elements are {', '.join(str(z) for z in types)}. Leave such structures out, or train with "
            "them and name the element in `architecture.atomic_types`."
        )
    return places
