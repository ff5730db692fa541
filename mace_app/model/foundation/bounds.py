"""Building what a stranger's numbers ask for, within bounds."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mace_app.model.foundation.errors import FoundationError

# Rebuilding makes every weight of the file once, and examples for generated code that are smaller than its tables.
_TIMES_THE_FILE = 8
_SMALL = 50_000_000


class _Budget(TorchDispatchMode):
    """Counts the numbers that tensors are made for, and stops before the one that is too large."""

    def __init__(self, numbers: int, file: str) -> None:
        super().__init__()
        self._left = numbers
        self._file = file

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], list | tuple) and all(isinstance(length, int) for length in args[0]):
            self._left -= math.prod(args[0])  # zeros, ones, randn, …: a shape comes first
            if self._left < 0:
                raise FoundationError(
                    f"`{self._file}` describes a model far larger than the weights it holds; it is damaged or a trap, "
                    "and refused."
                )
        return func(*args, **(kwargs or {}))


@contextmanager
def bounded(numbers: int, file: str) -> Iterator[None]:
    """Inside, tensors may be made for a few times ``numbers``, those the file really holds; and what mace-torch's
    constructors make of nonsense becomes a FoundationError. Random numbers are drawn in a state of their own."""
    what = f"`{file}` describes a model that mace-torch 0.3.16 can't build"
    with nonsense_refused(what), torch.random.fork_rng(devices=[]), _Budget(_TIMES_THE_FILE * numbers + _SMALL, file):
        yield


@contextmanager
def nonsense_refused(what: str) -> Iterator[None]:
    """Numbers that pass every check may still make no sense together; what stumbles over them raises all sorts of
    errors, which become a FoundationError that begins with ``what``."""
    try:
        yield
    except FoundationError:
        raise
    except (ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FoundationError(f"{what} ({first[:120]}); it is damaged or of a version that can't be read.") from error
