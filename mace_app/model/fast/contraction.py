"""Symmetric products of features: MACE's many-body step."""

from itertools import permutations
from typing import Any

import torch


class _Order(torch.nn.Module):
    """One order ν ≥ 2 of one output irrep, within one group of pairs."""

    table: torch.Tensor
    chosen: torch.Tensor

    def __init__(
        self, output: int, weight: int, components: int, table: torch.Tensor, chosen: torch.Tensor, degree: int
    ):
        super().__init__()
        self.output: int = output
        self.weight: int = weight  # which of the layer's weights
        self.components: int = components  # 2L + 1
        self.degree: int = degree  # of the monomials that multiply the pairs; 0 for ν = 2
        self.monomials: int = int(chosen.shape[0])
        self.rows: int = components * max(1, self.monomials)
        self.register_buffer("table", table)  # [rows · pairs, K]
        self.register_buffer("chosen", chosen)  # which monomials of that degree


class _Group(torch.nn.Module):
    """Pairs x_a·x_b of one parity, and what is contracted with them."""

    first: torch.Tensor
    second: torch.Tensor

    def __init__(self, first: torch.Tensor, second: torch.Tensor, orders: list[_Order]) -> None:
        super().__init__()
        self.register_buffer("first", first)
        self.register_buffer("second", second)
        self.pairs: int = int(first.shape[0])
        self.orders: Any = torch.nn.ModuleList(orders)
        self.sizes: list[int] = [order.rows for order in orders]


class _Linear(torch.nn.Module):
    """Order one of one output irrep."""

    table: torch.Tensor
    chosen: torch.Tensor

    def __init__(self, output: int, weight: int, components: int, table: torch.Tensor, chosen: torch.Tensor) -> None:
        super().__init__()
        self.output: int = output
        self.weight: int = weight
        self.components: int = components
        self.inputs: int = int(chosen.shape[0])
        self.register_buffer("table", table)  # [components · inputs, K]
        self.register_buffer("chosen", chosen)


class Contraction(torch.nn.Module):
    """B_{L,m,c} = Σ_ν Σ_k W^{ν}_{zkc} Σ_{i₁…i_ν} U^{ν}_{m,i₁…i_ν,k} x_{i₁c} … x_{i_ν c} for an atom of element z.

    The products don't depend on the order of their factors, so U is summed over it first: the last two factors become a
    pair a ≤ b, the others a monomial i₁ ≤ … ≤ i_{ν−2}. W and U are multiplied once for each element, not once for each
    atom. Pairs are split by parity, because a product of the wrong parity has no coefficients; so for every element,
    channel and parity there is one matrix product [rows, pairs] · [pairs, atoms], whose rows (all ν, L and m) are then
    multiplied by their monomials.
    """

    parents: torch.Tensor
    factors: torch.Tensor
    step_sizes: list[int]
    outputs: list[int]

    def __init__(self, product: Any) -> None:
        """``product``: mace-torch's ``SymmetricContraction``."""
        super().__init__()
        parity: list[int] = []
        for _, ir in product.irreps_in:
            parity += [int(ir.p)] * int(ir.dim)
        n = len(parity)
        self.outputs: list[int] = []
        _, first, second = _pairs(n)
        parity_of_pair = torch.tensor([parity[int(a)] * parity[int(b)] for a, b in zip(first, second, strict=True)])
        orders: dict[int, list[_Order]] = {1: [], -1: []}
        linear: list[_Linear] = []
        self.highest: int = 0
        # (output, ν) of every weight, in the order of ``weights``.
        self._weights: list[tuple[int, int]] = []
        device = torch.device("cpu")
        for output, contraction in enumerate(product.contractions):
            components = int(product.irreps_out[output].ir.dim)
            self.outputs.append(components)
            for order in range(1, int(contraction.correlation) + 1):
                table = contraction.U_tensors(order).detach()
                device, dtype = table.device, table.dtype
                table = table.double().cpu().reshape(components, *[n] * order, -1)
                if not bool(table.any()):
                    continue  # mace-torch's weights for it are fixed at zero
                weight = len(self._weights)
                self._weights.append((output, order))
                if order == 1:
                    linear.append(_linear(output, weight, table, dtype))
                    continue
                summed = _summed_over_orders(table, n, order)
                for sign in (1, -1):
                    part = summed[:, :, parity_of_pair == sign]
                    if bool(part.any()):
                        orders[sign].append(_order(output, weight, part, order - 2, dtype))
                        self.highest = max(self.highest, order - 2)
        groups = []
        for sign in (1, -1):
            if orders[sign]:
                kept_pairs = parity_of_pair == sign
                groups.append(_Group(first[kept_pairs], second[kept_pairs], orders[sign]))
        self.groups: Any = torch.nn.ModuleList(groups)
        self.linear: Any = torch.nn.ModuleList(linear)
        # Monomials of degree 2 and more, each from one of one degree less times a component.
        steps = [_step(n, degree) for degree in range(2, self.highest + 1)]
        self.step_sizes: list[int] = [len(parents) for parents, _ in steps]
        self.register_buffer("parents", torch.tensor([p for step in steps for p in step[0]], dtype=torch.int64))
        self.register_buffer("factors", torch.tensor([f for step in steps for f in step[1]], dtype=torch.int64))
        self.to(device)

    def weights(self, product: Any) -> list[torch.Tensor]:
        """[elements, channels, K] for every order of every output that has coefficients."""
        found = []
        for output, order in self._weights:
            contraction = product.contractions[output]
            highest = int(contraction.correlation)
            weight = contraction.weights_max if order == highest else contraction.weights[highest - order - 1]
            found.append(weight.transpose(1, 2))
        return found

    def forward(
        self, weights: list[torch.Tensor], features: torch.Tensor, counts: list[int], present: torch.Tensor
    ) -> list[torch.Tensor]:
        """``features`` [channels, components, N], atoms sorted by element with ``counts`` of each of the elements that
        the weights have; ``present`` those that occur. Gives [channels, 2L+1, N] for each output."""
        sizes: list[int] = []
        for count in counts:
            if count > 0:
                sizes.append(count)
        chosen: list[torch.Tensor] = []
        for weight in weights:
            if len(sizes) < len(counts):
                weight = weight.index_select(0, present)
            chosen.append(weight.reshape(-1, weight.shape[2]))
        results: dict[int, torch.Tensor] = {}
        for order in self.linear:
            table = torch.matmul(chosen[order.weight], order.table.t())
            tables = table.view(-1, order.components, order.inputs).split(features.shape[0], 0)
            output: int = order.output
            results[output] = _by_element(tables, features.index_select(1, order.chosen), sizes)
        self._add_higher_orders(chosen, features, sizes, results)
        found: list[torch.Tensor] = []
        for index, components in enumerate(self.outputs):
            if index in results:
                found.append(results[index])
            else:
                shape = [features.shape[0], components, features.shape[2]]
                found.append(torch.zeros(shape, dtype=features.dtype, device=features.device))
        return found

    def _powers(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Monomials [channels, …, N] by degree; those of degree 0 are never used."""
        powers: list[torch.Tensor] = [features, features]
        begin = 0
        for size in self.step_sizes:
            parents = powers[-1].index_select(1, self.parents[begin : begin + size])
            powers.append(parents * features.index_select(1, self.factors[begin : begin + size]))
            begin += size
        return powers

    def _add_higher_orders(
        self,
        weights: list[torch.Tensor],
        features: torch.Tensor,
        sizes: list[int],
        results: dict[int, torch.Tensor],
    ) -> None:
        """Orders ν ≥ 2, added to what ``results`` has; ``weights`` [elements · channels, K]."""
        channels, n_atoms = features.shape[0], features.shape[2]
        powers = self._powers(features)
        for group in self.groups:
            parts: list[torch.Tensor] = []
            for order in group.orders:
                table = torch.matmul(weights[order.weight], order.table.t())
                parts.append(table.view(-1, order.rows, group.pairs))
            tables = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).split(channels, 0)
            pairs = features.index_select(1, group.first) * features.index_select(1, group.second)
            products = _by_element(tables, pairs, sizes).split(group.sizes, 1)
            for index, order in enumerate(group.orders):
                values = products[index]
                if order.degree > 0:
                    values = values.view(channels, order.monomials, order.components, n_atoms)
                    factors = powers[order.degree].index_select(1, order.chosen).unsqueeze(2)
                    values = (values * factors).sum(1)
                target: int = order.output
                results[target] = results[target] + values if target in results else values


def _linear(output: int, weight: int, table: torch.Tensor, dtype: torch.dtype) -> _Linear:
    """From U [components, inputs, K]."""
    chosen = table.abs().sum(dim=(0, 2)).nonzero().reshape(-1)
    kept = table[:, chosen].reshape(-1, table.shape[-1])
    return _Linear(output, weight, int(table.shape[0]), kept.to(dtype), chosen)


def _order(output: int, weight: int, table: torch.Tensor, degree: int, dtype: torch.dtype) -> _Order:
    """From [components, monomials, pairs, K]; monomials without coefficients are left out."""
    chosen = table.abs().sum(dim=(0, 2, 3)).nonzero().reshape(-1)
    rows = table[:, chosen].transpose(0, 1).reshape(-1, table.shape[-1]).to(dtype)
    return _Order(output, weight, int(table.shape[0]), rows, chosen if degree > 0 else chosen[:0], degree)


def _summed_over_orders(table: torch.Tensor, n: int, order: int) -> torch.Tensor:
    """U [components, n, …, n, K] → [components, monomials of degree ν − 2, pairs, K]."""
    degree, components = order - 2, table.shape[0]
    pair_of, first, _ = _pairs(n)
    folded = table.reshape(components, n**degree, n * n, -1)
    summed = folded.new_zeros((components, n**degree, len(first), folded.shape[-1]))
    summed.index_add_(2, pair_of, folded)
    if degree == 0:
        return summed
    index, sets = _multisets(n, degree)
    return summed.new_zeros((components, len(sets), *summed.shape[2:])).index_add_(1, index, summed)


def _by_element(tables: list[torch.Tensor], values: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """[channels, rows, inner] of each element times [channels, inner, N] → [channels, rows, N]."""
    slices = values.split(sizes, 2)
    parts: list[torch.Tensor] = []
    for index, table in enumerate(tables):
        parts.append(torch.bmm(table, slices[index]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _pairs(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The number of the pair a ≤ b that (i, j) belongs to, [n·n]; a and b of every pair."""
    first, second = torch.triu_indices(n, n)
    number = torch.zeros((n, n), dtype=torch.int64)
    number[first, second] = torch.arange(len(first))
    number[second, first] = torch.arange(len(first))
    return number.reshape(-1), first, second


def _sorted(n: int, degree: int) -> list[tuple[int, ...]]:
    """All i₁ ≤ … ≤ i_degree below ``n``."""
    found: list[tuple[int, ...]] = [()]
    for _ in range(degree):
        found = [(*one, i) for one in found for i in range(one[-1] if one else 0, n)]
    return found


def _multisets(n: int, degree: int) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """The number of the multiset of every sequence of ``degree`` components, [n**degree]; the multisets."""
    sets = _sorted(n, degree)
    index = torch.zeros([n] * degree, dtype=torch.int64)
    for number, one in enumerate(sets):
        for other in set(permutations(one)):
            index[other] = number
    return index.reshape(-1), sets


def _step(n: int, degree: int) -> tuple[list[int], list[int]]:
    """For every multiset, the number of that without its last component, and this component."""
    before = {one: number for number, one in enumerate(_sorted(n, degree - 1))}
    sets = _sorted(n, degree)
    return [before[one[:-1]] for one in sets], [one[-1] for one in sets]
