"""What a pickle's instructions become here: records of what was asked for. None of them does anything.

A pickle names functions and classes, and asks to call them. Here the name stays a name (``Global``) and the call stays
a note (``Shell``). Dictionaries are lists of pairs, so that nothing of a stranger is ever hashed or compared.
"""

from typing import Any


class Global:
    """The name of a class or function that a file refers to."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __str__(self) -> str:
        # Python 2's name for builtins, which protocol 2 uses.
        module = "builtins" if self.module == "__builtin__" else self.module
        return f"{module}.{self.name}"


class Pairs:
    """A dictionary: keys and values in the order they were put in."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[tuple[Any, Any]] = []


class Shell:
    """An object that a file asks to be made by calling ``maker`` with ``arguments``, and what it asks to put into it:
    a ``state``, ``entries`` of a list or set, ``pairs`` of a dictionary."""

    __slots__ = ("arguments", "entries", "maker", "pairs", "state")

    def __init__(self, maker: Any, arguments: Any) -> None:
        self.maker = maker
        self.arguments = arguments
        self.state: Any = None
        self.entries: list[Any] = []
        self.pairs: list[tuple[Any, Any]] = []


class Stored:
    """A reference to a part of the file outside the pickle: its storages."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key


def maker_name(value: Any) -> str:
    """``module.Class`` of what would have made a shell; empty for anything else."""
    return str(value.maker) if isinstance(value, Shell) and isinstance(value.maker, Global) else ""


def class_name(value: Any) -> str:
    """The last part of ``maker_name``."""
    return maker_name(value).rpartition(".")[2]


def entries_of(value: Any) -> dict[str, Any] | None:
    """A dictionary with texts as keys, from a literal one or an ``OrderedDict``; None for anything else."""
    if maker_name(value) not in ("", "collections.OrderedDict", "builtins.dict"):
        return None
    if not isinstance(value, Pairs | Shell):
        return None
    found: dict[str, Any] = {}
    if isinstance(value, Shell) and isinstance(value.arguments, tuple) and len(value.arguments) == 1:
        initial = value.arguments[0]
        for pair in initial if isinstance(initial, list) else []:
            if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str):
                found[pair[0]] = pair[1]
    for key, entry in value.pairs:
        if isinstance(key, str):
            found[key] = entry
    return found
