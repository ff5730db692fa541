"""Spherical harmonics of unit vectors in user axes.

e3nn's order of l = 1 is (x, y, z); it is given vectors as (y, z, x), see ``Backbone``.
"""

from typing import Any

import torch

# Beyond this order the coefficients of the monomials cancel too much in float32.
HIGHEST = 4


class LibraryHarmonics(torch.nn.Module):
    """e3nn's own harmonics, for any order."""

    signs: torch.Tensor

    def __init__(self, function: Any, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("signs", _signs(function, dtype, device))

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        """Unit vectors [n, 3] → [n, Σ 2l+1]."""
        return self.function(torch.roll(units, -1, dims=-1))


class Polynomials(torch.nn.Module):
    """Y_lm(u) = Σ_μ c_{lm,μ} u^μ over the monomials u^μ of degree l in the components of a unit vector.

    All monomials come from those of one degree less times a component, and all harmonics of all l from one matrix
    product. The coefficients are found from values of the function itself, so they have its normalisation and its
    order of components. A homogeneous polynomial is determined by its values on the sphere, and the squares of these
    coefficients are multiples of 1/4096, so they are found exactly.
    """

    coefficients: torch.Tensor
    signs: torch.Tensor
    components: torch.Tensor
    parents: torch.Tensor

    sizes: list[int]

    def __init__(self, function: Any, dtype: torch.dtype, device: torch.device) -> None:
        """``function``: e3nn's ``SphericalHarmonics``."""
        super().__init__()
        orders = [int(ir.l) for _, ir in function.irreps_out]
        assert max(orders) <= HIGHEST
        exponents: list[list[tuple[int, ...]]] = [[()]]
        parents: list[list[int]] = []
        factors: list[list[int]] = []
        for degree in range(1, max(orders) + 1):
            found: list[tuple[int, ...]] = []
            parents.append([])
            factors.append([])
            for index, monomial in enumerate(exponents[degree - 1]):
                for component in range(monomial[-1] if monomial else 0, 3):
                    found.append((*monomial, component))
                    parents[-1].append(index)
                    factors[-1].append(component)
            exponents.append(found)
        self.degree: int = max(orders)
        self.register_buffer("components", torch.tensor([f for part in factors for f in part], dtype=torch.int64))
        self.register_buffer("parents", torch.tensor([p for part in parents for p in part], dtype=torch.int64))
        self.sizes: list[int] = [len(part) for part in parents]
        self.to(device)

        generator = torch.Generator().manual_seed(7)
        points = torch.randn((400, 3), generator=generator, dtype=torch.float64).to(device)
        points = points / torch.linalg.vector_norm(points, dim=1, keepdim=True)
        values: torch.Tensor = function(torch.roll(points, -1, dims=-1)).cpu()
        monomials = self._monomials(points).cpu()
        table = torch.zeros((monomials.shape[1], values.shape[1]), dtype=torch.float64)
        column = 0
        starts = [0]
        for part in exponents:
            starts.append(starts[-1] + len(part))
        for order in orders:
            rows = slice(starts[order], starts[order + 1])
            solution = torch.linalg.lstsq(monomials[:, rows], values[:, column : column + 2 * order + 1]).solution
            table[rows, column : column + 2 * order + 1] = _exact(solution)
            column += 2 * order + 1
        self.register_buffer("coefficients", table.to(device=device, dtype=dtype))
        self.register_buffer("signs", _signs(function, dtype, device))

    def _monomials(self, units: torch.Tensor) -> torch.Tensor:
        """[n, 3] → [n, monomials up to the highest order], ascending in degree."""
        found = [torch.ones_like(units[:, :1])]
        begin = 0
        for size in self.sizes:
            factors = units.index_select(1, self.components[begin : begin + size])
            found.append(found[-1].index_select(1, self.parents[begin : begin + size]) * factors)
            begin += size
        return torch.cat(found, dim=1)

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        """Unit vectors [n, 3] → [n, Σ 2l+1]."""
        return torch.matmul(self._monomials(units), self.coefficients)


def _exact(coefficients: torch.Tensor) -> torch.Tensor:
    """Solved for in floating point they differ in the last bits from one time to the next."""
    squares = coefficients**2 * 4096
    whole = torch.round(squares)
    assert bool(((squares - whole).abs() < 1e-4).all()), "harmonics of another normalisation"
    return torch.sign(coefficients) * torch.sqrt(whole / 4096)


def _signs(function: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(−1)^l of every component: what the harmonics of the opposite vector are multiplied by."""
    orders = [int(ir.l) for _, ir in function.irreps_out]
    signs = torch.cat([torch.full((2 * order + 1,), (-1.0) ** order) for order in orders])
    return signs.to(device=device, dtype=dtype)
