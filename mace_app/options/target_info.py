"""What the model, a checkpoint and an export need to know about a target; nothing about files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mace_app.options.irreps import Irrep


@dataclass(frozen=True)
class Block:
    """Values of one kind within a target: all of a scalar or Cartesian target, or one irrep of a spherical one.

    ``components`` is the shape of one value, ``properties`` how many there are. In a target of several irreps, which
    is one flat row, the block is ``row[start:stop]``, components slow and properties fast.
    """

    o3_lambda: int | None
    o3_sigma: int | None
    components: tuple[int, ...]
    properties: int
    start: int
    stop: int

    @property
    def is_scalar(self) -> bool:
        """Whether rotations and inversion leave its values alone."""
        return self.components == () or (self.o3_lambda, self.o3_sigma) == (0, 1)

    @property
    def title(self) -> str:
        """For example ``λ=2 σ=+1``; empty for what is not spherical."""
        return "" if self.o3_lambda is None else f"λ={self.o3_lambda} σ={self.o3_sigma:+d}"


@dataclass(frozen=True)
class TargetInfo:
    """One target.

    ``type`` has the YAML grammar: ``"scalar"``, ``{"cartesian": {"rank": 1}}`` or ``{"spherical": {"irreps": [...]}}``.
    ``has_forces``, ``has_stress`` and the ``symmetric`` of a tensor are None as long as the data have to decide;
    ``resolve`` does. ``aggregate`` says whether a value per structure is the sum or the mean over its atoms.
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
    aggregate: str = "sum"

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
    def symmetric(self) -> bool | None:
        """Of a Cartesian tensor of rank 2: whether T = Tᵀ by definition; None while the data have to decide."""
        return None if isinstance(self.type, str) or self.rank != 2 else self.type["cartesian"].get("symmetric")

    @property
    def blocks(self) -> list[Block]:
        """One block, or one for each irrep of a spherical target, in the order of its definition."""
        if self.kind != "spherical":
            return [Block(None, None, (3,) * self.rank, self.num_subtargets, 0, self.num_subtargets)]
        blocks: list[Block] = []
        for irrep in self._spherical_irreps():
            start = blocks[-1].stop if blocks else 0
            sigma = irrep.p * (-1) ** irrep.l
            blocks.append(Block(irrep.l, sigma, (2 * irrep.l + 1,), irrep.mul, start, start + irrep.dimension))
        return blocks

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's label: components and properties ``(P,)``, ``(3, P)``, ``(3, 3, P)``, ``(2l+1, P)``;
        for several irreps one flat row ``(D,)``, see ``Block``."""
        blocks = self.blocks
        return (*blocks[0].components, blocks[0].properties) if len(blocks) == 1 else (blocks[-1].stop,)

    @property
    def components(self) -> tuple[int, ...]:
        """``shape`` without its last axis."""
        return self.shape[:-1]

    @property
    def irreps(self) -> list[Irrep]:
        """Irreps a head must give. A tensor of rank 2 is 0e + 1e + 2e: trace, antisymmetric and symmetric traceless
        part; one that is symmetric, or may turn out to be, has no 1e."""
        if self.kind == "spherical":
            return self._spherical_irreps()
        tensor = [(0, 1), (1, 1), (2, 1)] if self.symmetric is False else [(0, 1), (2, 1)]
        kinds = {0: [(0, 1)], 1: [(1, -1)], 2: tensor}
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

    def resolve(
        self, has_forces: bool, has_stress: bool, stress_from_virial: bool | None = None, symmetric: bool | None = None
    ) -> "TargetInfo":
        """The same target once the data are known: what was undecided becomes as given, what was decided stays."""
        undecided = self.rank == 2 and self.symmetric is None and symmetric is not None
        return replace(
            self,
            type={"cartesian": {"rank": 2, "symmetric": symmetric}} if undecided else self.type,
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
