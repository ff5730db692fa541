"""Irreducible representations of O(3) as text, in e3nn's notation, without e3nn."""

import re
from functools import lru_cache
from typing import NamedTuple

_TERM = re.compile(r"(?:(?P<mul>\d+)\s*x\s*)?(?P<l>\d+)(?P<p>[eo])")
HIGHEST_L = 11  # e3nn 0.4.4 has no spherical harmonics beyond


class Irrep(NamedTuple):
    """``mul`` copies of the irrep with angular momentum ``l`` and parity ``p`` (+1 even, −1 odd); a vector is 1o."""

    mul: int
    l: int  # noqa: E741 — the field's symbol
    p: int

    @property
    def kind(self) -> str:
        """The irrep without its multiplicity, such as ``1o``."""
        return f"{self.l}{'e' if self.p == 1 else 'o'}"

    @property
    def dimension(self) -> int:
        """Length of the ``mul`` copies together."""
        return self.mul * (2 * self.l + 1)

    def __str__(self) -> str:
        return f"{self.mul}x{self.kind}"


def parse_irreps(text: str) -> list[Irrep]:
    """``"128x0e + 128x1o"`` as a list, in the order written.

    Raises ValueError with a sentence that names the part which can't be read.
    """
    if not text.strip():
        raise ValueError("Irreps can't be empty; write for example `32x0e + 32x1o`.")
    irreps = []
    for part in text.split("+"):
        term = part.strip()
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(
                f"`{term}` in `{text}` is no irrep: write the number of channels, `x`, the angular momentum and the "
                "parity `e` (even) or `o` (odd), for example `32x0e + 32x1o`."
            )
        irrep = Irrep(int(match["mul"] or 1), int(match["l"]), 1 if match["p"] == "e" else -1)
        if irrep.mul == 0:
            raise ValueError(f"`{term}` in `{text}` has no channels; leave it out or give it at least one.")
        if irrep.l > HIGHEST_L:
            raise ValueError(f"`{term}` in `{text}` has an angular momentum beyond {HIGHEST_L}, the highest possible.")
        irreps.append(irrep)
    return irreps


def format_irreps(irreps: list[Irrep]) -> str:
    return " + ".join(str(irrep) for irrep in irreps)


@lru_cache(maxsize=64)
def reachable_kinds(max_ell: int, correlation: int) -> frozenset[tuple[int, int]]:
    """All (l, p) that symmetric products of up to ``correlation`` copies of spherical harmonics to ``max_ell`` hold.

    These are the features MACE's first product can fill (Batatia et al., NeurIPS 2022, eq. 10); others stay zero.
    Counted by weights: a product of states (l_i, m_i) has M = Σ m_i and parity Π (−1)^l_i, the same state may occur
    repeatedly, and l occurs as often as there are more products with M = l than with M = l + 1.
    """
    products: dict[tuple[int, int, int], int] = {(0, 0, 1): 1}  # (factors, M, parity) → number of products
    for l in range(max_ell + 1):  # noqa: E741
        for m in range(-l, l + 1):
            extended = dict(products)
            for (factors, total, parity), number in products.items():
                for repeats in range(1, correlation - factors + 1):
                    key = (factors + repeats, total + repeats * m, parity * (-1) ** (l * repeats))
                    extended[key] = extended.get(key, 0) + number
            products = extended
    kinds = set()
    for factors in range(1, correlation + 1):
        for l in range(max_ell * correlation + 1):  # noqa: E741
            for parity in (1, -1):
                if products.get((factors, l, parity), 0) > products.get((factors, l + 1, parity), 0):
                    kinds.add((l, parity))
    return frozenset(kinds)
