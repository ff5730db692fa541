"""What the uncertainty of an energy is computed from, once it was fitted to training and validation structures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EnergyUncertainty:
    """σ(x) = |``factor`` · f(x)|, with f(x) the sum over the atoms of a structure of what its energy is linear in
    (``EnergyFeatures``).

    ``factor [W, W]`` is in the unit of the energy: with FᵀF = V diag(λ) Vᵀ its rows are α (λ + ς²)^(−1/2) times the
    eigenvectors. So σ² = α² fᵀ (FᵀF + ς² I)⁻¹ f is a sum of squares, which an inverse matrix would lose in rounding.
    ``alpha`` is α, ``regulariser`` ς²; ``trained_on`` and ``calibrated_on`` are numbers of structures, ``within_one``
    and ``within_two`` the share of the latter's errors below σ and 2σ (0.68 and 0.95 of a normal distribution).
    """

    factor: Floats
    alpha: float
    regulariser: float
    trained_on: int
    calibrated_on: int
    within_one: float
    within_two: float

    def sigma(self, features: Floats) -> Floats:
        """Of structures with ``features [S, W]``: [S], in the unit of the energy."""
        found: Floats = np.linalg.norm(features @ self.factor.T, axis=1)
        return found
