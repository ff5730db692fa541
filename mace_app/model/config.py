"""What has to be known to build a model again: hyperparameters, elements, targets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mace_app.model.architecture import Architecture
from mace_app.model.errors import ModelError
from mace_app.options.irreps import Irrep, format_irreps, parse_irreps
from mace_app.options.model import ModelHypers
from mace_app.options.target_info import TargetInfo


@dataclass(frozen=True)
class LoRA:
    """Low-rank corrections of the backbone's weights: W + alpha/rank · A·B."""

    rank: int
    alpha: float


@dataclass(frozen=True)
class ModelConfig:
    """The architecture without its weights.

    ``atomic_types`` are atomic numbers, kept in ascending order. ``per_structure_targets`` are those whose normalised
    values are not divided by the number of atoms. ``architecture`` is set for a model that came from a file of
    mace-torch: it then decides how the backbone is built, and ``hypers`` only describe added heads. ``carried`` are
    targets that came with such a file and that nothing trains; ``lora`` is set for a model with corrections.
    """

    hypers: ModelHypers
    atomic_types: list[int]
    targets: dict[str, TargetInfo]
    avg_num_neighbors: float
    per_structure_targets: tuple[str, ...] = ()
    architecture: Architecture | None = None
    carried: tuple[str, ...] = ()
    lora: LoRA | None = None

    def __post_init__(self) -> None:
        if not self.atomic_types:
            raise ModelError("The model has no elements: `atomic_types` is empty; name at least one atomic number.")
        if not self.avg_num_neighbors > 0:
            raise ModelError(
                f"The average number of neighbours is {self.avg_num_neighbors:g}, but messages are divided by it: no "
                f"atom has a neighbour within `r_max: {self.hypers.r_max:g}`. Increase `r_max` or give "
                "`avg_num_neighbors` a number."
            )
        object.__setattr__(self, "atomic_types", sorted(set(self.atomic_types)))
        object.__setattr__(self, "per_structure_targets", tuple(self.per_structure_targets))
        object.__setattr__(self, "carried", tuple(self.carried))

    @property
    def internal_targets(self) -> list[str]:
        """Targets served by MACE's own readouts, each by a set of its own: single scalars, usually energies. The first
        is that of ``mace_head_target`` where the model has it."""
        names = [self.hypers.mace_head_target, *self.hypers.more_mace_heads]
        targets = [self.targets[name] for name in names if name in self.targets]
        return [target.name for target in targets if target.kind == "scalar" and target.num_subtargets == 1]

    @property
    def internal_target(self) -> str | None:
        """The first of ``internal_targets``."""
        return next(iter(self.internal_targets), None)

    @property
    def trained_targets(self) -> dict[str, TargetInfo]:
        """All but those that are ``carried``."""
        return {name: target for name, target in self.targets.items() if name not in self.carried}

    @property
    def layer_irreps(self) -> list[list[Irrep]]:
        """Irreps of the node features of every layer; the last one usually keeps the first entry."""
        if self.architecture is not None:
            return self.architecture.layer_irreps
        hidden = parse_irreps(self.hypers.hidden_irreps)
        return [hidden] * (self.hypers.num_interactions - 1) + [hidden[:1]]

    @property
    def feature_irreps(self) -> list[Irrep]:
        """Irreps of the node features: those of every layer one after the other."""
        return [irrep for layer in self.layer_irreps for irrep in layer]

    @property
    def cutoff(self) -> float:
        """The radius within which atoms see each other, in the length unit of the data."""
        return self.hypers.r_max if self.architecture is None else self.architecture.r_max

    @property
    def interaction_range(self) -> float:
        """How far an atom's prediction can depend on another, in the length unit of the data."""
        return len(self.layer_irreps) * self.cutoff

    @property
    def last_readout_only(self) -> bool:
        """Whether MACE's own readout sees the last layer only."""
        of = self.hypers if self.architecture is None else self.architecture
        return of.use_last_readout_only

    @property
    def readout_irreps(self) -> list[Irrep]:
        """Hidden layer of MACE's own last readout."""
        of = self.hypers if self.architecture is None else self.architecture
        return parse_irreps(of.MLP_irreps)

    def divides_by_atoms(self, target: str) -> bool:
        """Whether labels of ``target`` are divided by the number of atoms to be normalised. A mean is not: it is one
        already."""
        info = self.targets[target]
        return info.sample_kind == "system" and info.aggregate == "sum" and target not in self.per_structure_targets

    def check_irreps(self, target: TargetInfo) -> None:
        """Raise ModelError if the features hold nothing that an irrep of ``target`` could be made of."""
        available = {irrep.kind for irrep in self.feature_irreps}
        missing = list(dict.fromkeys(irrep for irrep in target.irreps if irrep.kind not in available))
        if not missing:
            return
        if self.architecture is not None:
            raise ModelError(
                f"The target `{target.name}` needs features of kind {_listed(i.kind for i in missing)}, but those of "
                f"the foundation file are {_listed(sorted(available))}; choose a file with vectors or tensors in its "
                "`hidden_irreps`, or train from scratch."
            )
        hidden = parse_irreps(self.hypers.hidden_irreps)
        kinds = [irrep.kind for irrep in hidden]
        needed = hidden + [Irrep(hidden[0].mul, i.l, i.p) for i in missing if i.kind not in kinds]
        layers = " and `num_interactions: 2`" if self.hypers.num_interactions == 1 else ""
        raise ModelError(
            f"The target `{target.name}` needs features of kind {_listed(i.kind for i in missing)}, but the model only "
            f"has {_listed(sorted(available))}; set `hidden_irreps: {format_irreps(needed)}`{layers}."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "hypers": self.hypers.model_dump(mode="json"),
            "atomic_types": self.atomic_types,
            "targets": {name: target.to_json() for name, target in self.targets.items()},
            "avg_num_neighbors": self.avg_num_neighbors,
            "per_structure_targets": list(self.per_structure_targets),
            "architecture": None if self.architecture is None else self.architecture.to_json(),
            "carried": list(self.carried),
            "lora": None if self.lora is None else asdict(self.lora),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ModelConfig":
        return cls(
            hypers=ModelHypers.model_validate(value["hypers"]),
            atomic_types=list(value["atomic_types"]),
            targets={name: TargetInfo.from_json(target) for name, target in value["targets"].items()},
            avg_num_neighbors=float(value["avg_num_neighbors"]),
            per_structure_targets=tuple(value.get("per_structure_targets", ())),
            architecture=None if value.get("architecture") is None else Architecture.from_json(value["architecture"]),
            carried=tuple(value.get("carried", ())),
            lora=None if value.get("lora") is None else LoRA(int(value["lora"]["rank"]), float(value["lora"]["alpha"])),
        )


def _listed(kinds: Any) -> str:
    return ", ".join(f"`{kind}`" for kind in kinds)
