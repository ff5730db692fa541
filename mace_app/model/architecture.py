"""The architecture of a model that came from a file of mace-torch, in mace-torch's own terms.

Our hyperparameters can't express everything such a file may hold, so it is kept beside them, and a checkpoint of ours
can be built again without the file.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mace_app.options.irreps import Irrep, parse_irreps

# Shape of one table of coupling coefficients, U[(2l+1,) ell, …, ell, paths]; and whether all of it is zero.
Table = tuple[tuple[int, ...], bool]


@dataclass(frozen=True)
class Architecture:
    """Arguments of mace-torch's ``MACE``, named as there, with lists where layers may differ.

    ``basis`` has for every layer, every output irrep and every order from 1 the table of the symmetric product: its
    number of paths depends on whether the full or the reduced basis was used. A single layer has all of
    ``hidden_irreps``: only scalars since mace-torch 0.3.15, possibly more before. Irreps are text.
    """

    r_max: float
    radial_type: str
    num_bessel: int
    num_polynomial_cutoff: int
    distance_transform: str | None
    apply_cutoff: bool
    max_ell: int
    use_so3: bool
    interaction_first: str
    interaction: str
    num_interactions: int
    hidden_irreps: str
    keep_last_layer_irreps: bool
    edge_irreps: str | None
    use_edge_irreps_first: bool
    radial_MLP: tuple[int, ...]
    avg_num_neighbors: tuple[float, ...]
    correlation: tuple[int, ...]
    basis: tuple[tuple[tuple[Table, ...], ...], ...]
    use_agnostic_product: bool
    use_last_readout_only: bool
    readout: str
    MLP_irreps: str
    gate: str | None
    pair_repulsion: bool
    atomic_numbers: tuple[int, ...]

    @property
    def layer_irreps(self) -> list[list[Irrep]]:
        """Irreps of the node features of every layer."""
        hidden = parse_irreps(self.hidden_irreps)
        last = hidden if self.keep_last_layer_irreps or self.num_interactions == 1 else hidden[:1]
        return [hidden] * (self.num_interactions - 1) + [last]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Architecture":
        found = {field.name: value[field.name] for field in fields(cls)}
        for name in ("radial_MLP", "avg_num_neighbors", "correlation", "atomic_numbers"):
            found[name] = tuple(found[name])
        found["basis"] = tuple(
            tuple(tuple((tuple(shape), bool(zero)) for shape, zero in irrep) for irrep in layer)
            for layer in found["basis"]
        )
        return cls(**found)
