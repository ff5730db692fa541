"""What the model, a checkpoint and an export need to know about a target; nothing about files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mace_app.options.irreps import Irrep


@dataclass(frozen=True)
class TargetInfo:
    """One target.

    ``type`` has the YAML grammar: ``"scalar"``, ``{"cartesian": {"rank": 1}}`` or ``{"spherical": {"irreps": [...]}}``.
    ``has_forces`` and ``has_stress`` are None as long as "used if found in the data" is undecided; ``resolve`` decides.
    """

    name: str
    quantity: str = ""
    unit: str = ""
    description: str = ""
    sample_kind: str = "system"
    type: str | Mapping[str, Any] = "scalar"
    num_subtargets: int = 1
    has_forces: bool | None = field(default=False)
    has_stress: bool | None = field(default=False)
    stress_from_virial: bool = False

    @property
    def is_energy(self) -> bool:
        """Whether forces and stress can be derived from it."""
        return self.quantity == "energy" or self.name.split("/")[0] == "energy"

    @property
    def kind(self) -> str:
        """``scalar``, ``cartesian`` or ``spherical``."""
        return self.type if isinstance(self.type, str) else next(iter(self.type))

    @property
    def rank(self) -> int:
        """Number of Cartesian directions: 0 for anything that is not Cartesian."""
        return int(self.type["cartesian"]["rank"]) if not isinstance(self.type, str) and self.kind == "cartesian" else 0

    @property
    def components(self) -> tuple[int, ...]:
        """Shape of one sample without the properties: ``()``, ``(3,)``, ``(3, 3)``, or ``(2l+1,)`` for one irrep."""
        if self.kind != "spherical":
            return (3,) * self.rank
        irreps = self._spherical_irreps()
        if len(irreps) > 1:
            raise ValueError(f"target `{self.name}` has {len(irreps)} blocks of different length, so no single shape")
        return (2 * irreps[0].l + 1,)

    @property
    def irreps(self) -> list[Irrep]:
        """Irreps a head must give. A rank-2 tensor is 0e + 1e + 2e: trace, antisymmetric and symmetric traceless "
        "part."""
        if self.kind == "spherical":
            return self._spherical_irreps()
        kinds = {0: [(0, 1)], 1: [(1, -1)], 2: [(0, 1), (1, 1), (2, 1)]}
        if self.rank not in kinds:
            raise ValueError(f"target `{self.name}`: Cartesian tensors beyond rank 2 are not supported")
        return [Irrep(self.num_subtargets, l, p) for l, p in kinds[self.rank]]  # noqa: E741

    def labels(self) -> list[str]:
        """Names of the label arrays: its own, then ``.forces`` and ``.stress`` where the target has them."""
        extra = [f"{self.name}.forces"] * bool(self.has_forces) + [f"{self.name}.stress"] * bool(self.has_stress)
        return [self.name, *extra]

    def possible_labels(self) -> list[str]:
        """Like ``labels``, with those that are used if the data have them."""
        return self.resolve(has_forces=True, has_stress=True).labels()

    def resolve(self, has_forces: bool, has_stress: bool, stress_from_virial: bool | None = None) -> "TargetInfo":
        """The same target once the data are known: what was undecided becomes as given, what was decided stays."""
        return replace(
            self,
            has_forces=has_forces if self.has_forces is None else self.has_forces,
            has_stress=has_stress if self.has_stress is None else self.has_stress,
            stress_from_virial=self.stress_from_virial if stress_from_virial is None else stress_from_virial,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TargetInfo":
        return cls(**value)

    def _spherical_irreps(self) -> list[Irrep]:
        """σ = +1 has parity (−1)^l, σ = −1 the opposite (SPEC of metatensor's ``o3_sigma``)."""
        assert not isinstance(self.type, str)
        return [
            Irrep(
                int(entry.get("num", 1)) * self.num_subtargets,
                int(entry["o3_lambda"]),
                int(entry["o3_sigma"]) * (-1) ** int(entry["o3_lambda"]),
            )
            for entry in self.type["spherical"]["irreps"]
        ]
