"""Where atoms and edges stand while the fast core computes."""

from typing import NamedTuple

import torch


class Arrangement(NamedTuple):
    """N atoms, H given edges, E directed edges (2H if ``mirrored``, else H), S slots.

    A *place* is the position of an atom in the order by element. Directed edge e < H is the given edge e, H + e its
    reverse. Every atom has a row of slots, one for each edge that ends at it; rows of one group are equally long, so
    some slots may be empty.
    """

    order: torch.Tensor  # [N] the atom at each place
    place: torch.Tensor  # [N] the place of each atom
    counts: list[int]  # atoms of each element of the model
    present: torch.Tensor  # elements that occur, ascending
    senders: torch.Tensor  # [E] places
    receivers: torch.Tensor  # [E] places
    pairs: torch.Tensor  # [E] the given edge of each directed one
    mirrored: bool
    slot_edges: torch.Tensor  # [S] the directed edge in each slot; E where it is empty
    slot_pairs: torch.Tensor  # [S] the given edge; an arbitrary one where empty
    slot_senders: torch.Tensor  # [S] the place of the sender; an arbitrary one where empty
    groups: list[int]  # atoms in each group of equally long rows
    widths: list[int]  # slots of each of their atoms
    rows: torch.Tensor  # [N] the row of each place, or empty where rows stand in the order of places

    def to(self, device: torch.device | str) -> "Arrangement":
        moved = [value.to(device) if isinstance(value, torch.Tensor) else value for value in self]
        return Arrangement(*moved)  # type: ignore[arg-type]


def arrange(elements: torch.Tensor, edge_index: torch.Tensor, n_elements: int, mirrored: bool) -> Arrangement:
    """``elements`` [N] positions in the model's elements; ``edge_index`` [2, H] senders and receivers.

    ``mirrored``: every given edge stands for itself and its reverse, which must not be given too. Runs in TorchScript;
    on a GPU it waits for the device several times, so it is better made on the CPU.
    """
    # Atoms are grouped by their number of neighbours where one width for all would leave more slots empty than this.
    slack = 1.2
    device = elements.device
    n_atoms = elements.shape[0]
    order = torch.argsort(elements, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(n_atoms, device=device)
    counts_of = torch.bincount(elements, minlength=n_elements)
    counts: list[int] = counts_of.tolist()
    given = torch.arange(edge_index.shape[1], device=device)
    ends = place[edge_index]
    if mirrored:
        senders = torch.cat([ends[0], ends[1]])
        receivers = torch.cat([ends[1], ends[0]])
        pairs = torch.cat([given, given])
    else:
        senders, receivers, pairs = ends[0], ends[1], given
    n_edges = senders.shape[0]

    degrees = torch.bincount(receivers, minlength=n_atoms)
    longest = int(degrees.max()) if n_atoms > 0 else 0
    groups: list[int] = [n_atoms]
    widths: list[int] = [longest]
    row = torch.arange(n_atoms, device=device)  # of each place
    rows = row[:0]
    width_of_row = torch.full_like(row, longest)
    if n_atoms * longest > slack * n_edges:
        by_degree = torch.argsort(degrees, descending=True, stable=True)
        falling = degrees[by_degree]
        groups, widths = [], []
        begin = 0
        while begin < n_atoms:
            width = int(falling[begin])
            end = int((falling * slack >= width).sum()) if width > 0 else n_atoms
            groups.append(end - begin)
            widths.append(width)
            width_of_row[begin:end] = width
            begin = end
        row[by_degree] = torch.arange(n_atoms, device=device)
        rows = row
    first_slot = torch.cumsum(width_of_row, 0) - width_of_row
    by_receiver = torch.argsort(receivers, stable=True)
    of = receivers[by_receiver]
    first_edge = torch.cumsum(degrees, 0) - degrees
    slots = first_slot[row[of]] + torch.arange(n_edges, device=device) - first_edge[of]
    n_slots = int(width_of_row.sum())
    slot_edges = torch.full([n_slots], n_edges, dtype=torch.int64, device=device)
    slot_edges[slots] = by_receiver
    slot_pairs = torch.zeros_like(slot_edges)
    slot_pairs[slots] = pairs[by_receiver]
    slot_senders = torch.zeros_like(slot_edges)
    slot_senders[slots] = senders[by_receiver]
    return Arrangement(
        order,
        place,
        counts,
        torch.nonzero(counts_of).reshape(-1),
        senders,
        receivers,
        pairs,
        mirrored,
        slot_edges,
        slot_pairs,
        slot_senders,
        groups,
        widths,
        rows,
    )
