"""A batch of graphs as tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from mace_app.model.errors import ModelError
from mace_app.model.fast import Arrangement, arrange


@dataclass(frozen=True)
class Batch:
    """N atoms, E edges, G structures.

    If ``mirrored``, every edge stands for itself and its reverse. Edge vectors are formed in float64 before they are
    rounded to the model's dtype, so that a structure far from the origin loses nothing. Labels stay in float64: only
    differences from the baseline are small enough for float32.
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
    mirrored: bool
    arrangement: Arrangement  # of the atoms by ``elements``, and of the edges

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
        one_way = _one_way(senders, receivers, np.asarray(arrays["shifts"]), len(numbers))
        if one_way is not None:
            senders, receivers, vectors = senders[one_way], receivers[one_way], vectors[one_way]
            edge_structure = edge_structure[one_way]
        indices = torch.from_numpy(elements)
        edge_index = torch.from_numpy(np.stack([senders, receivers]))
        return cls(
            numbers=torch.from_numpy(numbers),
            elements=indices,
            node_attributes=torch.nn.functional.one_hot(indices, len(atomic_types)).to(dtype),
            vectors=torch.from_numpy(vectors).to(dtype),
            edge_index=edge_index,
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
            mirrored=one_way is not None,
            arrangement=arrange(indices, edge_index, len(atomic_types), one_way is not None),
        ).to(device)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch itself if it is there already."""
        if self.device == torch.device(device):
            return self
        own = [field.name for field in fields(self) if field.name not in ("labels", "mirrored")]
        moved = {name: getattr(self, name).to(device) for name in own}
        return replace(self, **moved, labels={name: label.to(device) for name, label in self.labels.items()})


def _one_way(senders: np.ndarray, receivers: np.ndarray, shifts: np.ndarray, atoms: int) -> np.ndarray | None:
    """One edge of every pair of an edge and its reverse, ascending; None if some edge has no reverse."""
    if len(senders) == 0:
        return np.zeros(0, dtype=np.int64)
    whole = np.rint(shifts).astype(np.int64)
    most = int(np.abs(whole).max())
    base = 2 * most + 1
    codes = (whole[:, 0] * base + whole[:, 1]) * base + whole[:, 2]
    # Codes are between −base³/2 and base³/2, and that of the opposite shift is their negative.
    forward = (senders * atoms + receivers) * base**3 + codes
    backward = (receivers * atoms + senders) * base**3 - codes
    by_forward, by_backward = np.argsort(forward), np.argsort(backward)
    if not np.array_equal(forward[by_forward], backward[by_backward]):
        return None
    reverse = np.empty_like(by_forward)
    reverse[by_forward] = by_backward
    numbers = np.arange(len(senders))
    if bool((reverse == numbers).any()) or not np.array_equal(reverse[reverse], numbers):
        return None
    return np.flatnonzero(numbers < reverse)


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
