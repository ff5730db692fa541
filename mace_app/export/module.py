"""The model in metatomic's clothes: systems in, TensorMaps out, in TorchScript."""

from collections.abc import Mapping
from typing import Any, Dict, List, Optional  # noqa: UP035 — metatomic compares annotations with these

import numpy as np
import torch
from metatensor.torch import Labels, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System

from mace_app.export.auxiliary import FEATURES, last_layer_name
from mace_app.export.layouts import feature_layout, target_layout
from mace_app.export.names import uncertainty_name
from mace_app.model import EnergyUncertainty, InternalFeatures, MaceModel
from mace_app.model.adapter import compile_for_export
from mace_app.options.irreps import Irrep


class InternalHead(torch.nn.Module):
    """MACE's own readouts behind the interface of an added head; their energies are computed already."""

    def __init__(self, features: torch.nn.Module, column: int) -> None:
        super().__init__()
        self.features = features
        self.column: int = column

    def forward(self, features: torch.Tensor, energies: torch.Tensor) -> torch.Tensor:
        return energies[:, self.column].unsqueeze(-1)

    @torch.jit.export
    def hidden(self, features: torch.Tensor) -> torch.Tensor:
        return self.features(features)


class AddedHead(torch.nn.Module):
    """A head over the features."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor, energies: torch.Tensor) -> torch.Tensor:
        return self.head(features)

    @torch.jit.export
    def hidden(self, features: torch.Tensor) -> torch.Tensor:
        return self.head.hidden(features)


class Output(torch.nn.Module):
    """One target: values per atom from features or internal energies, with scale and baseline; the last-layer features
    they come from; and the uncertainty that those leave."""

    scale: torch.Tensor
    baseline: torch.Tensor
    factor: torch.Tensor

    def __init__(self, model: MaceModel, target: str, uncertainty: EnergyUncertainty | None) -> None:
        super().__init__()
        config = model.config
        info = config.targets[target]
        self.target: str = target
        self.last_layer: str = last_layer_name(target)
        self.is_mean: bool = info.aggregate == "mean"
        if target in config.internal_targets:
            internal = InternalFeatures(config, model.readouts(target))
            self.head: torch.nn.Module = InternalHead(
                compile_for_export(internal), config.internal_targets.index(target)
            )
            hidden = [Irrep(internal.width, 0, 1)]
        else:
            head: Any = model.head(target)
            hidden = head.hidden_irreps
            self.head = AddedHead(compile_for_export(head))
        self.layout = target_layout(info)
        self.last_layer_layout = feature_layout(hidden)
        elements, properties = len(config.atomic_types), info.shape[-1]
        scale = model.scaler.scale(target)[:, None] * model.scaler.property_scale(target)
        baseline = torch.zeros((elements, properties), dtype=torch.float64)
        if target in model.baseline:
            baseline = model.baseline.values(target)
        shape = [elements, *[1] * (len(info.shape) - 1), properties]
        self.register_buffer("scale", scale.expand(elements, -1).clone().reshape(shape))
        self.register_buffer("baseline", baseline.clone().reshape(shape))
        name = None if uncertainty is None else uncertainty_name(target)
        self.uncertainty: str = name or ""
        factor = np.zeros((0, 0)) if uncertainty is None else uncertainty.factor
        self.register_buffer("factor", torch.from_numpy(factor.copy()))

    def forward(self, features: torch.Tensor, energies: torch.Tensor, elements: torch.Tensor) -> torch.Tensor:
        """[N, *shape] in float64, so that a large baseline is added, and summed, without loss."""
        values = self.head(features, energies)
        scale = self.scale.to(torch.float64)[elements]
        baseline = self.baseline.to(torch.float64)[elements]
        return values.to(torch.float64) * scale + baseline

    @torch.jit.export
    def sigma(self, hidden: torch.Tensor) -> torch.Tensor:
        """From sums of last-layer features [G, W] in float64, the standard deviation of the energy [G, 1]."""
        projected = hidden @ self.factor.to(torch.float64).transpose(0, 1)
        return torch.linalg.vector_norm(projected, dim=1, keepdim=True)


class Samples(torch.nn.Module):
    """Which atoms are asked for; and from their values to those of one output."""

    def forward(
        self,
        values: torch.Tensor,
        per_atom: bool,
        mean: bool,
        rows: torch.Tensor,
        atoms: torch.Tensor,
        structures: torch.Tensor,
        n_structures: int,
    ) -> torch.Tensor:
        """``values`` [N, …] of all atoms → those of ``rows``, or their sums or means for ``structures``.

        ``atoms`` [rows, 2] are the (system, atom) of the rows.
        """
        chosen = values[rows]
        if per_atom:
            return chosen
        size = list(chosen.shape)
        size[0] = n_structures
        totals = torch.zeros(size, dtype=chosen.dtype, device=chosen.device)
        totals = totals.index_add(0, atoms[:, 0], chosen)[structures]
        if mean:
            counts = torch.bincount(atoms[:, 0], minlength=n_structures)[structures].to(chosen.dtype)
            totals = totals / counts.reshape([-1] + [1] * (chosen.dim() - 1))
        return totals


class ExportedModel(torch.nn.Module):
    """metatomic's ``ModelInterface``. Takes ``model`` apart: pass a merged copy, on the CPU, in eval mode.

    Forces and stress are left to the engine, which differentiates the energy with respect to the edge vectors of the
    neighbour list it supplied. Elements the model doesn't know are refused by metatomic itself.
    """

    lookup: torch.Tensor

    def __init__(self, model: MaceModel, uncertainties: Mapping[str, EnergyUncertainty] | None = None) -> None:
        super().__init__()
        assert model.corrections is None, "the backbone alone would be another model"
        self.backbone = compile_for_export(model.backbone.frozen())
        self.targets: Any = torch.nn.ModuleList(
            [Output(model, name, (uncertainties or {}).get(name)) for name in model.config.targets]
        )
        self.features_layout = feature_layout(model.config.feature_irreps)
        self.features_name: str = FEATURES
        self.aggregate = Samples()
        types = model.config.atomic_types
        lookup = torch.full((max(types) + 1,), -1, dtype=torch.int64)
        lookup[torch.tensor(types)] = torch.arange(len(types))
        self.register_buffer("lookup", lookup)
        self.n_elements: int = len(types)
        self.neighbours = NeighborListOptions(
            cutoff=model.config.cutoff, full_list=False, strict=True, requestor="MACE Studio"
        )

    @torch.jit.export
    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        return [self.neighbours]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        results: Dict[str, TensorMap] = {}  # noqa: UP006
        if len(systems) == 0 or len(outputs) == 0:
            return results
        device = systems[0].positions.device
        dtype = systems[0].positions.dtype
        types: List[torch.Tensor] = []  # noqa: UP006
        vectors: List[torch.Tensor] = []  # noqa: UP006
        senders: List[torch.Tensor] = []  # noqa: UP006
        receivers: List[torch.Tensor] = []  # noqa: UP006
        samples: List[torch.Tensor] = []  # noqa: UP006
        offsets: List[int] = []  # noqa: UP006
        total = 0
        for index, system in enumerate(systems):
            neighbours = system.get_neighbor_list(self.neighbours)
            n_atoms = len(system)
            types.append(system.types)
            vectors.append(neighbours.values.reshape(-1, 3))
            senders.append(neighbours.samples.column("first_atom").to(torch.int64) + total)
            receivers.append(neighbours.samples.column("second_atom").to(torch.int64) + total)
            numbers = torch.arange(n_atoms, device=device)
            samples.append(torch.stack([torch.full_like(numbers, index), numbers], dim=1))
            offsets.append(total)
            total += n_atoms
        elements = self.lookup[torch.cat(types).to(torch.int64)]
        attributes = torch.nn.functional.one_hot(elements, self.n_elements).to(dtype)
        edges = torch.stack([torch.cat(senders), torch.cat(receivers)])
        features, energies = self.backbone(torch.cat(vectors), attributes, edges, True)

        atom_samples = torch.cat(samples)
        if selected_atoms is None:
            rows = torch.arange(total, device=device)
            chosen_systems = torch.arange(len(systems), device=device)
        else:
            chosen = selected_atoms.values.to(device=device, dtype=torch.int64)
            starts = torch.tensor(offsets, dtype=torch.int64, device=device)
            rows = torch.sort(starts[chosen[:, 0]] + chosen[:, 1])[0]
            chosen_systems = torch.unique(chosen[:, 0])
        atoms = atom_samples[rows]
        atom_labels = Labels(["system", "atom"], atoms, assume_unique=True)
        system_labels = Labels(["system"], chosen_systems.reshape(-1, 1), assume_unique=True)

        if self.features_name in outputs:
            per_atom = outputs[self.features_name].sample_kind == "atom"
            values = self.aggregate(features, per_atom, False, rows, atoms, chosen_systems, len(systems))
            labels = atom_labels if per_atom else system_labels
            results[self.features_name] = self.features_layout(values, labels)
        for target in self.targets:
            if target.last_layer in outputs:
                per_atom = outputs[target.last_layer].sample_kind == "atom"
                hidden = target.head.hidden(features)
                values = self.aggregate(hidden, per_atom, target.is_mean, rows, atoms, chosen_systems, len(systems))
                labels = atom_labels if per_atom else system_labels
                results[target.last_layer] = target.last_layer_layout(values, labels)
            if target.uncertainty in outputs:
                hidden = target.head.hidden(features).to(torch.float64)
                sums = self.aggregate(hidden, False, False, rows, atoms, chosen_systems, len(systems))
                results[target.uncertainty] = target.layout(target.sigma(sums).to(dtype), system_labels)
            if target.target in outputs:
                per_atom = outputs[target.target].sample_kind == "atom"
                values = target(features, energies, elements)
                values = self.aggregate(values, per_atom, target.is_mean, rows, atoms, chosen_systems, len(systems))
                labels = atom_labels if per_atom else system_labels
                results[target.target] = target.layout(values.to(dtype), labels)
        return results
