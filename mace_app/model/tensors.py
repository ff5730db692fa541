"""Cartesian tensors of rank 2 from their irreducible parts.

T = Σ_l Q_l t_l with Q_0 = δ/√3 (trace), Q_1 = ε/√2 (antisymmetric part, an axial vector) and Q_2 the five symmetric
traceless matrices of unit norm, in the standard real order m = −l…l. For l = 1 that order is (y, z, x), for l = 2
(xy, yz, 2zz − xx − yy, xz, xx − yy). All nine matrices are orthonormal (Stone, The Theory of Intermolecular Forces,
appendix B, with real components), so a change of basis changes no norm.
"""

import math

import torch


def rank_two_basis(symmetric: bool) -> torch.Tensor:
    """Q [3, 3, 6] of ``0e + 2e``, or [3, 3, 9] of ``0e + 1e + 2e``, float64."""
    x, y, z = torch.eye(3, dtype=torch.float64)
    root = 1 / math.sqrt(2)

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (torch.outer(a, b) + torch.outer(b, a)) * root

    def rotation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (torch.outer(a, b) - torch.outer(b, a)) * root

    def square(a: torch.Tensor) -> torch.Tensor:
        return torch.outer(a, a)

    trace = [torch.eye(3, dtype=torch.float64) / math.sqrt(3)]
    antisymmetric = [rotation(z, x), rotation(x, y), rotation(y, z)]
    traceless = [
        product(x, y),
        product(y, z),
        (2 * square(z) - square(x) - square(y)) / math.sqrt(6),
        product(x, z),
        (square(x) - square(y)) * root,
    ]
    return torch.stack([*trace, *([] if symmetric else antisymmetric), *traceless], dim=-1)
