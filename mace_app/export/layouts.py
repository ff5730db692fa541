"""From arrays to metatensor's blocks: keys, components and properties under the names metatrain writes."""

from typing import List  # noqa: UP035 — TorchScript reads these annotations

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap

from mace_app.export.names import property_name
from mace_app.options.irreps import Irrep
from mace_app.options.target_info import TargetInfo


class Layout(torch.nn.Module):
    """One or several blocks, cut from the last axis of an array [samples, …].

    With ``flat`` every block is a piece of a row, [components, properties] or, with ``properties_first`` as in e3nn,
    [properties, components]; otherwise the array is the only block as it is.
    """

    keys: torch.Tensor
    # On the class, because TorchScript can't tell the type of an empty list.
    component_names: List[List[str]]  # noqa: UP006
    component_starts: List[List[int]]  # noqa: UP006
    component_sizes: List[List[int]]  # noqa: UP006

    def __init__(
        self,
        key_names: list[str],
        keys: list[list[int]],
        components: list[list[tuple[str, int, int]]],
        properties: list[tuple[str, int]],
        flat: bool,
        properties_first: bool = False,
    ) -> None:
        """``components`` hold for each block and each of its axes the name, the first value and the length."""
        super().__init__()
        self.register_buffer("keys", torch.tensor(keys, dtype=torch.int64).reshape(-1, len(key_names)))
        self.key_names: List[str] = key_names  # noqa: UP006
        self.component_names = [[name for name, _, _ in block] for block in components]
        self.component_starts = [[start for _, start, _ in block] for block in components]
        self.component_sizes = [[size for _, _, size in block] for block in components]
        self.property_names: List[str] = [name for name, _ in properties]  # noqa: UP006
        self.property_sizes: List[int] = [size for _, size in properties]  # noqa: UP006
        self.flat: bool = flat
        self.properties_first: bool = properties_first

    def forward(self, values: torch.Tensor, samples: Labels) -> TensorMap:
        device = values.device
        blocks: List[TensorBlock] = []  # noqa: UP006
        start = 0
        for index in range(len(self.property_names)):
            n_properties = self.property_sizes[index]
            components: List[Labels] = []  # noqa: UP006
            shape: List[int] = []  # noqa: UP006
            for axis in range(len(self.component_names[index])):
                first = self.component_starts[index][axis]
                size = self.component_sizes[index][axis]
                entries = torch.arange(first, first + size, device=device).reshape(-1, 1)
                components.append(Labels([self.component_names[index][axis]], entries))
                shape.append(size)
            piece = values
            if self.flat:
                width = 1
                for size in shape:
                    width = width * size
                piece = values[:, start : start + width * n_properties]
                start += width * n_properties
                if self.properties_first:
                    piece = piece.reshape(values.shape[0], n_properties, width).transpose(1, 2)
                else:
                    piece = piece.reshape(values.shape[0], width, n_properties)
            entries = torch.arange(n_properties, device=device).reshape(-1, 1)
            blocks.append(
                TensorBlock(
                    values=piece.contiguous(),
                    samples=samples,
                    components=components,
                    properties=Labels([self.property_names[index]], entries),
                )
            )
        return TensorMap(Labels(self.key_names, self.keys.to(device)), blocks)


def target_layout(info: TargetInfo) -> Layout:
    """That of metatrain's targets: key ``_`` with components ``xyz`` or ``xyz_1``, ``xyz_2``; or a key for each irrep
    with the component ``o3_mu``."""
    if info.kind == "spherical":
        blocks = info.blocks
        return Layout(
            ["o3_lambda", "o3_sigma"],
            [[block.o3_lambda or 0, block.o3_sigma or 1] for block in blocks],
            [[("o3_mu", -(block.o3_lambda or 0), block.components[0])] for block in blocks],
            [("n", block.properties) for block in blocks],
            flat=len(blocks) > 1,
        )
    axes = {0: [], 1: ["xyz"], 2: ["xyz_1", "xyz_2"]}[info.rank]
    properties = "energy" if info.is_energy else property_name(info.name)
    return Layout(["_"], [[0]], [[(axis, 0, 3) for axis in axes]], [(properties, info.num_subtargets)], flat=False)


def feature_layout(irreps: list[Irrep]) -> Layout:
    """That of metatrain's auxiliary outputs; the array is in e3nn's order."""
    return Layout(
        ["o3_lambda", "o3_sigma", "i_irrep"],
        [[irrep.l, irrep.p * (-1) ** irrep.l, index] for index, irrep in enumerate(irreps)],
        [[("o3_mu", -irrep.l, 2 * irrep.l + 1)] for irrep in irreps],
        [("feature", irrep.mul) for irrep in irreps],
        flat=True,
        properties_first=True,
    )
