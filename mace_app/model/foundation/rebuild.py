"""mace-torch's own model again, with the weights of a file; accepted only if nothing is missing or different.

What the shells say of every part, its class, irreps, sizes, normalisations, is compared with what mace-torch's
constructors made of the recovered architecture. So an architecture that was read wrongly does not pass.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mace_app.model.adapter import build_architecture, o3
from mace_app.model.foundation.bounds import bounded, nonsense_refused
from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.modules import UNKNOWN, Module, plain
from mace_app.model.foundation.source import Foundation

# What does not decide on results, or is decided here: hooks, hints for compilers, names of profiling ranges.
_IGNORED = {
    "training",
    "heads",
    "edge_irreps",
    "use_edge_irreps_first",
    "use_reduced_cg",
    "lammps_mliap",
    "cueq_config",
    "oeq_config",
    "embedding_specs",
    "_profiling_str",
    "_prof_str",
    "_optimize_einsums",
    "_specialized_code",
    "_is_full_backward_hook",
    "_version",
}
# Of a linear layer, where ``_same_linear``.
_WRITTEN_DIFFERENTLY = {"irreps_in", "instructions"}
# e3nn's gate, which mace-torch replaced by its own in 0.3.16; it holds no weights.
_GATE = "equivariant_nonlin"
# What older versions had and never used: repulsion ends at the covalent radii.
_UNUSED = "pair_repulsion_fn.cutoff"
_OBSOLETE = ("pair_repulsion_fn.r_max", f"{_UNUSED}.p", f"{_UNUSED}.r_max")


def rebuild(foundation: Foundation) -> torch.nn.Module:
    """The model of the file as mace-torch builds it, all heads, in float64 so that it can judge others."""
    with nonsense_refused(f"`{foundation.file}` can't be rebuilt with mace-torch 0.3.16"):
        return _rebuilt(foundation)


def _rebuilt(foundation: Foundation) -> torch.nn.Module:
    scale_shift: tuple[Any, Any] | None = None
    if foundation.kind == "ScaleShiftMACE":
        stored = (foundation.tensors["scale_shift.scale"], foundation.tensors["scale_shift.shift"])
        scale_shift = (stored[0].double().numpy(), stored[1].double().numpy())
    energies = foundation.tensors["atomic_energies_fn.atomic_energies"].to(torch.float64).numpy()
    with bounded(foundation.numbers, foundation.file):
        native = build_architecture(
            foundation.architecture, torch.float64, foundation.heads, energies, scale_shift, scriptable=False
        )
    compare_parts(foundation, native)
    put_weights(native, foundation.tensors, foundation.file)
    for parameter in native.parameters():
        parameter.requires_grad_(False)
    module: torch.nn.Module = native.eval()
    return module


def put_weights(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], file: str) -> None:
    """Copy ``tensors`` into ``module`` by name and shape, none missing and none left over."""
    own = module.state_dict()
    missing = [name for name, value in own.items() if name not in tensors and not _may_be_missing(name, value)]
    left = [name for name, value in tensors.items() if name not in own and not _may_be_left(name, value)]
    other = [name for name, value in tensors.items() if name in own and own[name].shape != value.shape]
    if missing or left or other:
        parts = []
        for said, names in (("lacks", missing), ("has also", left), ("has other sizes of", other)):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                parts.append(f"{said} {', '.join(f'`{name}`' for name in names[:3])}{more}")
        raise FoundationError(
            f"`{file}` can't be rebuilt with mace-torch 0.3.16: compared with it, the file {'; it '.join(parts)}."
        )
    with torch.no_grad():
        for name, value in tensors.items():
            if name not in own:
                continue
            if name.endswith("output_mask") and not torch.equal(own[name].double(), value.double()):
                raise FoundationError(
                    f"`{file}` can't be rebuilt with mace-torch 0.3.16: `{name}` is another one there."
                )
            own[name].copy_(value)


def _may_be_missing(name: str, value: torch.Tensor) -> bool:
    """Constants of generated code, empty tensors, and flags that newer versions derive from the tables."""
    generated = "._compiled_" in name or ".graph_opt_main." in name
    return generated or value.numel() == 0 or name.endswith(("output_mask", "_zeroed"))


def _may_be_left(name: str, value: torch.Tensor) -> bool:
    return value.numel() == 0 or name in _OBSOLETE or f".{_GATE}." in name or name.endswith("output_mask")


def compare_parts(foundation: Foundation, native: torch.nn.Module) -> None:
    """Every part the file names must be there, of the same class, with equal attributes. Raises FoundationError."""
    parts = dict(native.named_modules(remove_duplicate=False))
    for module in foundation.root.walk():
        if module.type.startswith("torch.fx.") or f".{_GATE}." in f"{module.path}." or module.path == _UNUSED:
            continue
        part = parts.get(module.path)
        found = type(part).__name__ if part is not None else "nothing"
        if found != module.name:
            raise _different(foundation.file, module.path or "the model", module.name, found)
        _compare_attributes(foundation.file, module, part)


def _compare_attributes(file: str, module: Module, part: Any) -> None:
    skipped = _IGNORED | _WRITTEN_DIFFERENTLY if _same_linear(module, part) else _IGNORED
    for name, value in module.attributes.items():
        if name in skipped or name not in part.__dict__:
            continue
        ours, theirs = _plain_of(part.__dict__[name]), plain(value)
        if ours is not UNKNOWN and theirs is not UNKNOWN and not _same(ours, theirs):
            raise _different(file, f"{module.path}.{name}", str(theirs)[:60], str(ours)[:60])


def _same_linear(module: Module, part: Any) -> bool:
    """Whether two linear layers are the same function of the same weights, although one of them sees neighbouring
    irreps of one kind as a single one. mace-torch joined them until 0.3.12: [m1 + m2, n] weights are those of [m1, n]
    and [m2, n], one after the other, and e3nn's normalisation counts all inputs of an output in both."""
    if not isinstance(part, o3.Linear):
        return False
    outputs = module.value("irreps_out")
    inputs = module.value("irreps_in")
    if outputs != str(part.irreps_out) or len(set(irrep.ir for irrep in part.irreps_out)) < len(part.irreps_out):
        return False
    if not isinstance(inputs, str) or not inputs or _joined(inputs) != str(part.irreps_in.simplify()):
        return False
    theirs, ours = _paths(module.value("instructions")), _paths(_plain_of(part.instructions))
    return theirs is not None and ours is not None and _same(theirs, ours)


def _joined(irreps: str) -> str:
    """Neighbours of one kind as one, as e3nn writes them."""
    found: list[list[Any]] = []
    for entry in irreps.split("+"):
        number, _, kind = entry.partition("x")
        if found and found[-1][1] == kind:
            found[-1][0] += int(number)
        else:
            found.append([int(number), kind])
    return "+".join(f"{number}x{kind}" for number, kind in found)


def _paths(instructions: Any) -> tuple[Any, ...] | None:
    """For every output: how many inputs it has, how many copies it makes of them, and what they are multiplied by."""
    found: dict[Any, list[Any]] = {}
    for instruction in instructions if isinstance(instructions, tuple) else ():
        if not isinstance(instruction, tuple) or len(instruction) != 4 or not isinstance(instruction[2], tuple):
            return None
        _, output, shape, factor = instruction
        if len(shape) != 2:
            return None
        entry = found.setdefault(output, [0, shape[1], factor])
        if entry[1:] != [shape[1], factor]:
            return None
        entry[0] += shape[0]
    return tuple((output, *found[output]) for output in sorted(found))


def _different(file: str, where: str, theirs: str, ours: str) -> FoundationError:
    return FoundationError(
        f"`{file}` can't be rebuilt with mace-torch 0.3.16: `{where}` is {theirs} in the file and {ours} there."
    )


def _plain_of(value: Any, level: int = 0) -> Any:
    """As ``plain``, of an attribute of a real module."""
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if type(value).__module__.startswith("e3nn.o3") and type(value).__name__ in ("Irreps", "_MulIr", "Irrep"):
        return str(value)
    if isinstance(value, list | tuple):
        found = tuple(_plain_of(item, level + 1) for item in value) if level < 8 else (UNKNOWN,)
        return UNKNOWN if any(item is UNKNOWN for item in found) else found
    return (
        getattr(value, "__name__", UNKNOWN) if callable(value) and not isinstance(value, torch.nn.Module) else UNKNOWN
    )


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(_same(a, b) for a, b in zip(ours, theirs, strict=True))
    numbers = (int, float)
    if isinstance(ours, numbers) and isinstance(theirs, numbers):
        return math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-12)
    return bool(ours == theirs)
