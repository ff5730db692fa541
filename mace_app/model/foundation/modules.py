"""The tree of modules that a file describes, seen through its shells."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.shells import Global, Shell, class_name, entries_of, maker_name
from mace_app.model.foundation.tensors import Tensors, number

MOST_MODULES = 20_000
MOST_LEVELS = 24
MOST_VALUES = 10_000

# Code that e3nn and opt_einsum generated; it is made anew by their constructors.
_GENERATED = "torch.fx.graph_module.reduce_graph_module"
_PRIVATE = ("_parameters", "_buffers", "_modules")


class Unknown:
    """A value without a meaning here."""


UNKNOWN = Unknown()


@dataclass
class Module:
    """One module: the class it claims to be, plain attributes, tensors and children by name."""

    path: str
    type: str
    attributes: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)  # shells
    parameters: set[str] = field(default_factory=set)
    children: dict[str, "Module"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.type.rpartition(".")[2]

    def child(self, *path: str) -> "Module | None":
        found: Module | None = self
        for step in path:
            found = found.children.get(step) if found is not None else None
        return found

    def name_of(self, tensor: str) -> str:
        """As torch's ``state_dict`` has it."""
        return f"{self.path}.{tensor}" if self.path else tensor

    def walk(self) -> Iterator["Module"]:
        yield self
        for child in self.children.values():
            yield from child.walk()

    def value(self, attribute: str, default: Any = None) -> Any:
        """A plain attribute, see ``plain``; ``default`` where there is none or it means nothing here."""
        if attribute not in self.attributes:
            return default
        found = plain(self.attributes[attribute])
        return default if found is UNKNOWN else found


def read_module(value: Any, file: str) -> Module:
    """The tree below ``value``; FoundationError if it is no module, too large, or runs in a circle."""
    budget = [MOST_MODULES]
    return _module(value, "", file, budget, 0)


def _module(value: Any, path: str, file: str, budget: list[int], level: int) -> Module:
    budget[0] -= 1
    if budget[0] < 0 or level > MOST_LEVELS:
        raise FoundationError(f"`{file}` nests more parts than any model of MACE has; it is refused.")
    module = Module(path, maker_name(value))
    if module.type == _GENERATED:
        return module
    state = entries_of(value.state) if isinstance(value, Shell) else None
    if state is None:
        if module.type:
            return module  # a function, or a module without a state
        raise FoundationError(
            f"`{file}` is damaged or no model: `{path or 'the whole'}` in it is no part of a network."
        )
    module.attributes = {key: entry for key, entry in state.items() if key not in _PRIVATE}
    parameters, buffers = (entries_of(state.get(group)) or {} for group in ("_parameters", "_buffers"))
    module.tensors = {name: tensor for name, tensor in (parameters | buffers).items() if tensor is not None}
    module.parameters = set(parameters) & set(module.tensors)
    for name, child in (entries_of(state.get("_modules")) or {}).items():
        if child is not None:
            inner = f"{path}.{name}" if path else name
            module.children[name] = _module(child, inner, file, budget, level + 1)
    return module


def named_tensors(module: Module, tensors: Tensors) -> dict[str, torch.Tensor]:
    """All tensors by the names of torch's ``state_dict``."""
    found = {}
    for inner in module.walk():
        for name, value in inner.tensors.items():
            found[inner.name_of(name)] = tensors.read(value, inner.name_of(name))
    return found


def plain(value: Any) -> Any:
    """A value that can be compared: numbers, texts, lists of them as tuples, irreps as e3nn writes them, functions by
    the last part of their name. ``UNKNOWN`` for all else, also for what would unfold to more than ``MOST_VALUES``."""
    return _plain(value, 0, [MOST_VALUES])


def _plain(value: Any, level: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        return UNKNOWN
    if value is None or isinstance(value, bool | str):
        return value
    scalar = number(value)
    if scalar is not None:
        return scalar
    if isinstance(value, Global):
        return value.name
    if isinstance(value, list | tuple):
        return _plain_entries(value, level, budget)
    return _plain_shell(value, level, budget) if isinstance(value, Shell) else UNKNOWN


def _plain_shell(value: Shell, level: int, budget: list[int]) -> Any:
    name, arguments = class_name(value), value.arguments
    if name in ("Irreps", "_MulIr", "Irrep"):
        return _irreps_text(value)
    if name == "Instruction" or maker_name(value) == "torch.Size":
        return _plain_entries(arguments, level, budget)
    if maker_name(value) == "builtins.getattr" and isinstance(arguments, tuple) and len(arguments) == 2:
        owner, attribute = arguments  # how torch.tanh is written
        if isinstance(owner, Global) and str(owner).startswith("torch._C.") and isinstance(attribute, str):
            return attribute
    return UNKNOWN


def _plain_entries(values: Any, level: int, budget: list[int]) -> Any:
    if level > 8 or not isinstance(values, list | tuple) or len(values) > MOST_VALUES:
        return UNKNOWN
    found = []
    for item in values:
        found.append(_plain(item, level + 1, budget))
        if found[-1] is UNKNOWN:
            return UNKNOWN
    return tuple(found)


def _irreps_text(value: Any) -> Any:
    """``Irreps``, a pair of number and irrep, or an ``Irrep``, as e3nn's ``str`` gives them."""
    name, arguments = class_name(value), value.arguments
    if not isinstance(arguments, tuple):
        return UNKNOWN
    if len(arguments) == 1 and isinstance(arguments[0], tuple):  # a tuple subclass is made from one tuple
        arguments = arguments[0]
    if name == "Irrep":
        degree, parity = (*arguments, None, None)[:2]
        if not isinstance(degree, int) or not 0 <= degree <= 11 or parity not in (1, -1):
            return UNKNOWN
        return f"{degree}{'e' if parity == 1 else 'o'}"
    if name == "_MulIr":
        if len(arguments) != 2 or not isinstance(arguments[0], int) or class_name(arguments[1]) != "Irrep":
            return UNKNOWN
        irrep = _irreps_text(arguments[1])
        return UNKNOWN if irrep is UNKNOWN else f"{arguments[0]}x{irrep}"
    if len(arguments) > 10_000 or any(class_name(entry) != "_MulIr" for entry in arguments):
        return UNKNOWN
    parts = [_irreps_text(entry) for entry in arguments]
    return UNKNOWN if any(part is UNKNOWN for part in parts) else "+".join(parts)
