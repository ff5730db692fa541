"""The model in metatomic's clothes: systems in, TensorMaps out, in TorchScript."""

from typing import Dict, List, Optional  # noqa: UP035 — metatomic compares annotations with these

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System

from mace_app.export.names import property_name
from mace_app.model import MaceModel
from mace_app.model.adapter import compile_for_export


class Output(torch.nn.Module):
    """One target: values per atom from features or internal energies, with scale and baseline."""

    scale: torch.Tensor
    baseline: torch.Tensor

    def __init__(self, model: MaceModel, target: str) -> None:
        super().__init__()
        info = model.config.targets[target]
        self.target: str = target
        self.property_name: str = property_name(target)
        self.is_vector: bool = info.rank == 1
        self.is_internal: bool = target == model.config.internal_target
        self.head = torch.nn.Identity() if self.is_internal else compile_for_export(model.head(target))
        elements = len(model.config.atomic_types)
        scale = model.scaler.scale(target)[:, None] * model.scaler.property_scale(target)
        baseline = torch.zeros((elements, info.num_subtargets), dtype=torch.float64)
        if target in model.baseline:
            baseline = model.baseline.values(target).clone()
        self.register_buffer("scale", scale.expand(elements, -1).clone())
        self.register_buffer("baseline", baseline)

    def forward(self, features: torch.Tensor, energies: torch.Tensor, elements: torch.Tensor) -> torch.Tensor:
        """[N, *components, properties] in float64, so that a large baseline is added, and summed, without loss."""
        values = energies.unsqueeze(-1) if self.is_internal else self.head(features)
        scale = self.scale.to(torch.float64)[elements]
        baseline = self.baseline.to(torch.float64)[elements]
        if self.is_vector:
            scale, baseline = scale.unsqueeze(1), baseline.unsqueeze(1)
        return values.to(torch.float64) * scale + baseline


class ExportedModel(torch.nn.Module):
    """metatomic's ``ModelInterface``. Takes ``model`` apart: pass a copy, on the CPU, in eval mode.

    Forces and stress are left to the engine, which differentiates the energy with respect to the edge vectors of the
    neighbour list it supplied. Elements the model doesn't know are refused by metatomic itself.
    """

    lookup: torch.Tensor

    def __init__(self, model: MaceModel) -> None:
        super().__init__()
        self.targets = torch.nn.ModuleList([Output(model, name) for name in model.config.targets])
        self.backbone = compile_for_export(model.backbone)
        types = model.config.atomic_types
        lookup = torch.full((max(types) + 1,), -1, dtype=torch.int64)
        lookup[torch.tensor(types)] = torch.arange(len(types))
        self.register_buffer("lookup", lookup)
        self.n_elements: int = len(types)
        self.neighbours = NeighborListOptions(
            cutoff=model.config.hypers.r_max, full_list=True, strict=True, requestor="MACE Studio"
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
            atoms = torch.arange(n_atoms, device=device)
            samples.append(torch.stack([torch.full_like(atoms, index), atoms], dim=1))
            offsets.append(total)
            total += n_atoms
        elements = self.lookup[torch.cat(types).to(torch.int64)]
        attributes = torch.nn.functional.one_hot(elements, self.n_elements).to(dtype)
        edges = torch.stack([torch.cat(senders), torch.cat(receivers)])
        features, energies = self.backbone(torch.cat(vectors), attributes, edges)

        atom_samples = torch.cat(samples)
        if selected_atoms is None:
            rows = torch.arange(total, device=device)
            chosen_systems = torch.arange(len(systems), device=device)
        else:
            chosen = selected_atoms.values.to(device=device, dtype=torch.int64)
            starts = torch.tensor(offsets, dtype=torch.int64, device=device)
            rows = torch.sort(starts[chosen[:, 0]] + chosen[:, 1])[0]
            chosen_systems = torch.unique(chosen[:, 0])
        chosen_samples = atom_samples[rows]

        for target in self.targets:
            if target.target in outputs:
                values = target(features, energies, elements)[rows]
                if outputs[target.target].sample_kind == "atom":  # type: ignore[index]
                    labels = Labels(["system", "atom"], chosen_samples.to(torch.int32), assume_unique=True)
                else:
                    size = list(values.shape)
                    size[0] = len(systems)
                    sums = torch.zeros(size, dtype=values.dtype, device=device)
                    values = sums.index_add(0, chosen_samples[:, 0], values)[chosen_systems]
                    labels = Labels(["system"], chosen_systems.reshape(-1, 1).to(torch.int32), assume_unique=True)
                components: List[Labels] = []  # noqa: UP006
                if target.is_vector:
                    components.append(Labels(["xyz"], torch.arange(3, device=device).reshape(-1, 1)))
                properties = torch.arange(values.shape[-1], device=device).reshape(-1, 1)
                block = TensorBlock(
                    values=values.to(dtype),
                    samples=labels,
                    components=components,
                    properties=Labels([target.property_name], properties),
                )
                keys = Labels(["_"], torch.zeros((1, 1), dtype=torch.int64, device=device))
                results[target.target] = TensorMap(keys, [block])  # type: ignore[index]
        return results
