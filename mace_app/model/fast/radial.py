"""The networks that turn distances into weights."""

from typing import Any

import torch

from mace_app.model.fast.arrangement import Arrangement


class RadialNetwork(torch.nn.Module):
    """mace-torch's two kinds of radial network as a function of their weights.

    Kind one (e3nn's ``FullyConnectedNet``): x ← a·φ(x·W/√n), without bias, the last layer linear. Kind two
    (``RadialMLP``): linear with bias, layer norm, SiLU. In both the first layer is linear in its input, so the parts of
    an input that belong to edges, senders and receivers are multiplied before they are gathered: ``first`` once for
    each of them, ``rest`` for their sum.
    """

    factors: list[float]
    epsilons: list[float]

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.normed: bool = hasattr(network, "net")
        self.activation: torch.nn.Module = torch.nn.Identity()
        self.factors: list[float] = []  # after the activation of every hidden layer
        self._scales: list[float] = []
        self.epsilons: list[float] = []
        if self.normed:
            self.epsilons = [float(m.eps) for m in network.net if isinstance(m, torch.nn.LayerNorm)]
            return
        layers = list(network.children())
        for layer in layers[:-1]:
            assert layer.act is not None
            self._scales.append(float(layer.h_in * layer.var_in) ** -0.5)
            self.factors.append(float(layer.var_out) ** 0.5)
        last = layers[-1]
        assert last.act is None, "a radial network with an activation at its end"
        self._scales.append(float(last.h_in * last.var_in / last.var_out) ** -0.5)
        if len(layers) > 1:
            self.activation = layers[0].act

    def weights(self, network: Any) -> list[torch.Tensor]:
        """Matrices [inputs, outputs]; for kind two each followed by its bias and, but for the last, scale and shift
        of its norm."""
        found: list[torch.Tensor] = []
        if self.normed:
            for module in network.net:
                if isinstance(module, torch.nn.Linear):
                    found += [module.weight.t(), module.bias]
                elif isinstance(module, torch.nn.LayerNorm):
                    found += [module.weight, module.bias]
            return found
        for layer, scale in zip(network.children(), self._scales, strict=True):
            found.append(layer.weight * scale)
        return found

    def first(self, weights: list[torch.Tensor], values: torch.Tensor, begin: int) -> torch.Tensor:
        """Columns ``begin`` and following of the input, times their rows of the first matrix."""
        return torch.matmul(values, weights[0][begin : begin + values.shape[1]])

    def rest(self, weights: list[torch.Tensor], values: torch.Tensor) -> torch.Tensor:
        """What follows the first matrix."""
        if self.normed:
            values = values + weights[1]
            for layer, epsilon in enumerate(self.epsilons):
                scale, shift = weights[4 * layer + 2], weights[4 * layer + 3]
                values = torch.nn.functional.layer_norm(values, [values.shape[1]], scale, shift, epsilon)
                values = torch.nn.functional.silu(values)
                values = torch.addmm(weights[4 * layer + 5], values, weights[4 * layer + 4])
            return values
        for layer, factor in enumerate(self.factors):
            values = self.activation(values)
            if factor != 1.0:
                values = values * factor
            values = torch.matmul(values, weights[layer + 1])
        return values

    def forward(self, weights: list[torch.Tensor], values: torch.Tensor) -> torch.Tensor:
        """[rows, inputs] → [rows, outputs]."""
        return self.rest(weights, self.first(weights, values, 0))

    def of_both_atoms(
        self,
        weights: list[torch.Tensor],
        radial: torch.Tensor,
        senders: torch.Tensor,
        receivers: torch.Tensor,
        arrangement: Arrangement,
    ) -> torch.Tensor:
        """[E, outputs] for inputs (radial, of the sender, of the receiver) of every directed edge; ``radial`` [H, …] is
        of the given edges, ``senders`` and ``receivers`` [N, …] of the atoms at their places."""
        begin = radial.shape[1]
        values = self.first(weights, radial, 0).index_select(0, arrangement.pairs)
        values = values + self.first(weights, senders, begin).index_select(0, arrangement.senders)
        begin += senders.shape[1]
        values = values + self.first(weights, receivers, begin).index_select(0, arrangement.receivers)
        return self.rest(weights, values)
