"""A foundation file, read: what it is and all its numbers, nothing of it executed."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mace_app.model.architecture import Architecture
from mace_app.model.foundation.archive import open_archive
from mace_app.model.foundation.bounds import nonsense_refused
from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.machine import read_pickle
from mace_app.model.foundation.modules import Module, named_tensors, read_module
from mace_app.model.foundation.recover import check_kind, heads_of, recover_architecture
from mace_app.model.foundation.shells import Pairs, maker_name
from mace_app.model.foundation.tensors import Tensors

_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Foundation:
    """One file. ``tensors`` have the names of torch's ``state_dict``; elements are in the order of
    ``architecture.atomic_numbers``. Energies in eV, lengths in Å, as MACE's users have it."""

    file: str
    kind: str  # MACE or ScaleShiftMACE
    architecture: Architecture
    heads: list[str]
    dtype: torch.dtype
    tensors: dict[str, torch.Tensor]
    root: Module

    @property
    def atomic_energies(self) -> torch.Tensor:
        """[heads, elements], float64, as stored: without ``shift``."""
        return torch.atleast_2d(self.tensors["atomic_energies_fn.atomic_energies"].to(torch.float64))

    @property
    def scale(self) -> torch.Tensor:
        """[heads], float64; 1 for a model without scale and shift."""
        return self._per_head("scale_shift.scale", 1.0)

    @property
    def shift(self) -> torch.Tensor:
        """[heads], float64; 0 for a model without scale and shift."""
        return self._per_head("scale_shift.shift", 0.0)

    @property
    def parameters(self) -> int:
        names = (module.name_of(name) for module in self.root.walk() for name in module.parameters)
        return sum(self.tensors[name].numel() for name in names)

    @property
    def numbers(self) -> int:
        """All numbers in its tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def head_index(self, name: str | None) -> int:
        """Which head ``name`` is. A single one needs no name and has whatever name it has; of several one must be
        chosen. FoundationError lists them."""
        if len(self.heads) == 1 and name in (None, self.heads[0]):
            return 0
        listed = ", ".join(f"`{head}`" for head in self.heads)
        if name is None:
            raise FoundationError(f"`{self.file}` has {len(self.heads)} heads, {listed}; name the one to use.")
        if name not in self.heads:
            raise FoundationError(f"`{self.file}` has no head `{name}`; it has {listed}.")
        return self.heads.index(name)

    def _per_head(self, name: str, default: float) -> torch.Tensor:
        value = self.tensors.get(name)
        if value is None:
            return torch.full((len(self.heads),), default, dtype=torch.float64)
        value = torch.atleast_1d(value.to(torch.float64))
        return value.expand(len(self.heads)) if len(value) == 1 else value


def open_foundation(path: Path | str) -> Foundation:
    """Read a ``.model`` file of MACE 0.3.6 or later. FoundationError, one sentence, for anything else."""
    path = Path(path)
    with nonsense_refused(f"`{path.name}` calls itself a MACE, but makes no sense"):
        return _read(path)


def _read(path: Path) -> Foundation:
    with open_archive(path) as archive:
        if not archive.little_endian:
            raise FoundationError(f"`{path.name}` was written on a big-endian machine, which is not read here.")
        value = read_pickle(archive.pickle(), path.name)
        _check_whole(value, path.name)
        root = read_module(value, path.name)
        check_kind(root, path.name)
        tensors = named_tensors(root, Tensors(archive))
    architecture = recover_architecture(root, tensors, path.name)
    found = Foundation(
        file=path.name,
        kind=root.name,
        architecture=architecture,
        heads=heads_of(root, path.name),
        dtype=_dtype(tensors, root, path.name),
        tensors=tensors,
        root=root,
    )
    _check_energies(found)
    return found


def _check_whole(value: object, file: str) -> None:
    """A dictionary is a training checkpoint or bare weights: they don't say what they are the weights of."""
    if isinstance(value, Pairs) or maker_name(value) == "collections.OrderedDict":
        raise FoundationError(
            f"`{file}` holds weights without a model, such as a training checkpoint or a `state_dict`; use the "
            "`.model` file that MACE wrote at the end of the training."
        )


def _dtype(tensors: dict[str, torch.Tensor], root: Module, file: str) -> torch.dtype:
    """That of the parameters. Empty ones and those without a gradient don't count."""
    names = [module.name_of(name) for module in root.walk() for name in module.parameters]
    found = {tensors[name].dtype for name in names if tensors[name].numel()}
    if len(found) != 1 or not found <= set(_DTYPES):
        listed = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found)) or "nothing"
        raise FoundationError(f"`{file}` has weights of type {listed}; they must all be float32 or all be float64.")
    for name in names:
        if not bool(torch.isfinite(tensors[name]).all()):
            raise FoundationError(f"`{file}` has weights that are no numbers (`{name}`): its training had failed.")
    return found.pop()


def _check_energies(found: Foundation) -> None:
    elements = len(found.architecture.atomic_numbers)
    name = "atomic_energies_fn.atomic_energies"
    if name not in found.tensors or found.atomic_energies.shape != (len(found.heads), elements):
        raise FoundationError(
            f"`{found.file}` has no atomic energies for its {len(found.heads)} heads and {elements} elements; it is "
            "damaged or of a version that can't be read."
        )
    for label, value in (("scale", found.scale), ("shift", found.shift), ("atomic energies", found.atomic_energies)):
        if value.shape[0] != len(found.heads) or not bool(torch.isfinite(value).all()):
            raise FoundationError(f"`{found.file}` has {label} that don't fit its heads or are no numbers.")
    if not bool((found.scale > 0).all()):
        raise FoundationError(
            f"`{found.file}` has a scale that is not above 0 ({found.scale.tolist()}); it is damaged."
        )
