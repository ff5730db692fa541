"""Symbols of elements."""

from collections.abc import Iterable

from ase.data import chemical_symbols


def symbol(z: int) -> str:
    """`C` for 6; the number itself beyond the table."""
    return chemical_symbols[z] if 0 <= z < len(chemical_symbols) else str(z)


def symbols(numbers: Iterable[int]) -> str:
    """`H, C, O` in the order of the table."""
    return ", ".join(symbol(z) for z in sorted(set(numbers)))
