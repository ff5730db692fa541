"""Numbers that stay in float64 whatever the dtype of the model, and their names."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch


class Float64Buffers(torch.nn.Module):
    """A module whose buffers follow the model from device to device, but keep their dtype."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self


def module_names(targets: Iterable[str]) -> dict[str, str]:
    """A name that torch and TorchScript accept for each target, such as ``target_mtt__dipole``; all different."""
    names: dict[str, str] = {}
    for target in targets:
        name = "target_" + re.sub(r"\W", "_", target, flags=re.ASCII)
        while name in names.values():
            name += "_"
        names[target] = name
    return names
