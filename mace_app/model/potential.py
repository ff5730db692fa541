"""The model: a batch of graphs in, one array per label out."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from mace_app.model.backbone import Backbone
from mace_app.model.batch import Batch
from mace_app.model.buffers import module_names
from mace_app.model.composition import Baseline
from mace_app.model.config import LoRA, ModelConfig
from mace_app.model.errors import ModelError
from mace_app.model.heads import Head
from mace_app.model.low_rank import LowRankCorrections
from mace_app.model.scaler import Scaler


class MaceModel(torch.nn.Module):
    """MACE with a head for every target.

    Built with random weights from torch's global generator, baseline 0 and scale 1. ``backbone`` keeps mace-torch's
    parameter names; ``baseline`` and ``scaler`` are float64 whatever ``dtype`` is. With ``corrections`` the weights of
    ``backbone`` are not those the model computes with: ask ``features``, or ``merged``.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        self.backbone = Backbone(config, dtype)
        self._head_names = module_names(config.targets)
        self.heads = torch.nn.ModuleDict(
            {
                self._head_names[name]: Head(config, target, dtype)
                for name, target in config.targets.items()
                if name not in config.internal_targets
            }
        )
        self.baseline = Baseline(config)
        self.scaler = Scaler(config)
        self.corrections: LowRankCorrections | None = None
        if config.lora is not None:
            self.add_corrections(config.lora)

    def add_corrections(self, lora: LoRA) -> None:
        """From now on the backbone's weights have low-rank corrections, which are zero at first."""
        self.config = replace(self.config, lora=lora)
        self.corrections = LowRankCorrections(self.backbone, lora, self.dtype).to(self.device)

    def merged(self) -> "MaceModel":
        """An independent model of the same function without corrections; they are added in float64."""
        with torch.random.fork_rng(devices=[]):
            other = MaceModel(replace(self.config, lora=None), self.dtype)
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("corrections.")}
        if self.corrections is not None:
            with torch.no_grad():
                corrected = self.corrections(self.backbone, torch.float64)
            state |= {f"backbone.{name}": weight.to(self.dtype) for name, weight in corrected.items()}
        other.load_state_dict(state)
        other.train(self.training)
        return other.to(self.device)

    def features(self, batch: Batch, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``backbone.forward`` for the atoms and edges of ``batch``, whose edge vectors [E, 3] are ``vectors``; with
        the corrections where there are any."""
        arguments = (vectors, batch.node_attributes, batch.edge_index, batch.mirrored, batch.arrangement)
        if self.corrections is None:
            return self.backbone(*arguments)
        corrected = self.corrections(self.backbone)
        return torch.func.functional_call(self.backbone, corrected, arguments, tie_weights=False)

    @property
    def labels(self) -> set[str]:
        """Everything this model can be asked for."""
        return {label for target in self.config.targets.values() for label in target.labels()}

    def head(self, target: str) -> torch.nn.Module:
        """The added head of ``target``; there is none for internal targets, see ``readouts``."""
        return self.heads[self._head_names[target]]

    def readouts(self, target: str) -> torch.nn.ModuleList:
        """MACE's own readouts for an internal target."""
        index = self.config.internal_targets.index(target)
        found: Any = self.backbone.readouts if index == 0 else self.backbone.more_readouts[index - 1]
        return found

    def forward(self, batch: Batch, labels: set[str], create_graph: bool = False) -> dict[str, torch.Tensor]:
        """Normalised predictions in the model's dtype, shaped like the labels.

        With ``create_graph`` they can be differentiated with respect to the weights; otherwise they are detached.
        Forces and stress come from one backward pass for each energy: with g = dE/dr for every edge vector r from
        sender i to receiver j, F_i += g and F_j −= g, and the strain derivative is the symmetric part of Σ r ⊗ g.
        """
        return self._predicted(batch, labels, create_graph)[0]

    def with_features(self, batch: Batch, labels: set[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Predictions as of ``forward``, and the node features [N, F] they were made from; all detached."""
        return self._predicted(batch, labels, create_graph=False)

    def _predicted(
        self, batch: Batch, labels: set[str], create_graph: bool
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        unknown = labels - self.labels
        if unknown:
            raise ModelError(
                f"This model has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(self.labels))}."
            )
        targets = [name for name, info in self.config.targets.items() if labels & set(info.labels())]
        differentiated = [n for n in targets if labels & {f"{n}.forces", f"{n}.stress"}]
        with torch.set_grad_enabled(create_graph or bool(differentiated)):
            vectors = batch.vectors.detach()
            if differentiated:
                vectors.requires_grad_(True)
            features, energies = self.features(batch, vectors)
            results: dict[str, torch.Tensor] = {}
            for name in targets:
                values = self._values(name, batch, features, energies)
                if name in differentiated:
                    keep = create_graph or name != differentiated[-1]
                    self._derivatives(name, batch, values, vectors, create_graph, keep, results)
                results[name] = values / self._sizes(name, batch, values)
        if not create_graph:
            results = {label: value.detach() for label, value in results.items()}
        return {label: value for label, value in results.items() if label in labels}, features.detach()

    def physical(self, batch: Batch, predictions: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Predictions of ``forward`` in the units of the data, with the baseline; float64. Stress of a structure
        without a volume is NaN."""
        results = {}
        for label, value in predictions.items():
            name, part = self._split(label)
            result = value.to(torch.float64) * self._label_scale(name, part, batch, value.dim())
            if part == "" and name in self.baseline:
                result = result + self._baseline(name, batch, result.dim())
            results[label] = result
        return results

    def normalise_labels(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Labels of the batch as losses compare them with ``forward``, in the model's dtype; NaN where absent."""
        results = {}
        for label in self.labels & set(batch.labels):
            name, part = self._split(label)
            value = batch.labels[label]
            if part == "" and name in self.baseline:
                value = value - self._baseline(name, batch, value.dim())
            results[label] = (value / self._label_scale(name, part, batch, value.dim())).to(self.dtype)
        return results

    def _values(self, name: str, batch: Batch, features: torch.Tensor, energies: torch.Tensor) -> torch.Tensor:
        """Network values times ρ: [N, *shape] per atom, or their sums or means per structure [G, *shape]."""
        internal = self.config.internal_targets
        values = energies[:, [internal.index(name)]] if name in internal else self.head(name)(features)
        rho = self.scaler.property_scale(name).to(self.dtype)
        if self.config.targets[name].sample_kind == "atom":
            return values * _spread(rho[batch.elements], values.dim())
        total = torch.zeros((batch.n_structures, *values.shape[1:]), dtype=values.dtype, device=values.device)
        return self._aggregated(name, batch, total.index_add(0, batch.structure, values)) * rho[0]

    def _aggregated(self, name: str, batch: Batch, sums: torch.Tensor) -> torch.Tensor:
        """Sums over atoms [G, …] as they are, or as means for a target that is one."""
        if self.config.targets[name].aggregate == "sum":
            return sums
        return sums / batch.n_atoms.to(sums.dtype).reshape(-1, *[1] * (sums.dim() - 1))

    def _derivatives(
        self,
        name: str,
        batch: Batch,
        energies: torch.Tensor,
        vectors: torch.Tensor,
        create_graph: bool,
        keep_graph: bool,
        results: dict[str, torch.Tensor],
    ) -> None:
        (gradient,) = torch.autograd.grad(
            energies.sum(), vectors, create_graph=create_graph, retain_graph=keep_graph, materialize_grads=True
        )
        senders, receivers = batch.edge_index[0], batch.edge_index[1]
        forces = torch.zeros((len(batch.numbers), 3), dtype=gradient.dtype, device=gradient.device)
        results[f"{name}.forces"] = forces.index_add(0, senders, gradient).index_add(0, receivers, -gradient)
        if self.config.targets[name].has_stress:
            products = vectors.unsqueeze(2) * gradient.unsqueeze(1)
            strain = torch.zeros((batch.n_structures, 3, 3), dtype=gradient.dtype, device=gradient.device)
            strain = strain.index_add(0, batch.edge_structure, products)
            strain = 0.5 * (strain + strain.transpose(1, 2))
            results[f"{name}.stress"] = strain / self._sizes(name, batch, strain)

    def _sizes(self, name: str, batch: Batch, like: torch.Tensor) -> torch.Tensor:
        """s of ``scaler``: what a value per structure is divided by, shaped to fit ``like``."""
        sizes = batch.n_atoms.to(like.dtype) if self.config.divides_by_atoms(name) else like.new_ones(1)
        return sizes.reshape(-1, *[1] * (like.dim() - 1))

    def _label_scale(self, name: str, part: str, batch: Batch, dimensions: int) -> torch.Tensor:
        """What a normalised value is multiplied by, float64, shaped to fit: σ, s·σ, or s·σ/V."""
        scale = self.scaler.scale(name)
        if part == "forces":
            return scale
        if self.config.targets[name].sample_kind == "atom":
            scale = scale[batch.elements]
        elif self.config.divides_by_atoms(name):
            scale = scale * batch.n_atoms
        if part == "stress":
            scale = scale / torch.where(batch.volume > 0, batch.volume, torch.nan)
        return scale.reshape(-1, *[1] * (dimensions - 1))

    def _baseline(self, name: str, batch: Batch, dimensions: int) -> torch.Tensor:
        """[rows, 1, …, last axis of the target's shape] with ``dimensions`` axes."""
        per_atom = self.baseline.values(name)[batch.elements]
        if self.config.targets[name].sample_kind == "atom":
            return _spread(per_atom, dimensions)
        total = torch.zeros((batch.n_structures, per_atom.shape[1]), dtype=torch.float64, device=per_atom.device)
        return _spread(self._aggregated(name, batch, total.index_add(0, batch.structure, per_atom)), dimensions)

    def _split(self, label: str) -> tuple[str, str]:
        """``energy.forces`` → (``energy``, ``forces``); a target's own label has an empty second part."""
        if label in self.config.targets:
            return label, ""
        name, _, part = label.rpartition(".")
        return name, part

    def copy(self) -> "MaceModel":
        """An independent model with the same weights, on the same device. Built anew, because a deep copy of e3nn's
        modules replaces their code by scripted code."""
        with torch.random.fork_rng(devices=[]):
            other = MaceModel(self.config, self.dtype)
        other.load_state_dict(self.state_dict())
        other.train(self.training)
        return other.to(self.device)

    @property
    def device(self) -> torch.device:
        return self.backbone.get_buffer("atomic_numbers").device

    def __deepcopy__(self, memo: dict[int, Any]) -> "MaceModel":
        result = self.copy()
        memo[id(self)] = result
        return result

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` needs to build the same model again, without weights."""
        return {"config": self.config.to_json(), "dtype": str(self.dtype).removeprefix("torch.")}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MaceModel":
        dtypes = {"float32": torch.float32, "float64": torch.float64}
        if value["dtype"] not in dtypes:
            raise ModelError(f"A model of dtype {value['dtype']!r} can't be built; it must be float32 or float64.")
        return cls(ModelConfig.from_json(copy.deepcopy(dict(value["config"]))), dtypes[value["dtype"]])


def _spread(values: torch.Tensor, dimensions: int) -> torch.Tensor:
    """[N, P] → [N, 1, …, P] with ``dimensions`` axes."""
    return values.reshape(values.shape[0], *[1] * (dimensions - 2), values.shape[1])
