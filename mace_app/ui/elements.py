"""Symbols of elements."""

from collections.abc import Iterable

from ase.data import atomic_numbers, chemical_symbols


def symbol(z: int) -> str:
    """`C` for 6; the number itself beyond the table."""
    return chemical_symbols[z] if 0 <= z < len(chemical_symbols) else str(z)


def symbols(numbers: Iterable[int]) -> str:
    """`H, C, O` in the order of the table."""
    return ", ".join(symbol(z) for z in sorted(set(numbers)))


def numbers(names: Iterable[str]) -> list[int]:
    """Atomic numbers of symbols, in their order; what is no symbol is left out."""
    return [atomic_numbers[name] for name in names if name in atomic_numbers]
