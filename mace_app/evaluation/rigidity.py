"""Uncertainty of energies from the last layer alone: prediction rigidity of Bigi, Chong, Ceriotti and Grasselli,
Mach. Learn.: Sci. Technol. 5, 045018 (2024).

With f(x) the sum over the atoms of a structure of what the energy is linear in, and F those of the training structures,

    σ²(x) = α² f(x)ᵀ (FᵀF + ς² I)⁻¹ f(x).

ς² and α are those under which the errors of held-out structures are most likely, if each is drawn from a normal
distribution of variance σ²: for every ς² the best α² is the mean of error²/q with q = σ²/α².
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Tried as parts of the largest eigenvalue of FᵀF.
_REGULARISERS = np.logspace(-14, 0, 29)
FEWEST = 3


@dataclass(frozen=True)
class Rigidity:
    """``sigma [S]`` in the unit of the energy. ``regulariser`` is ς², ``calibrated_on`` how many structures decided;
    ``within_one`` and ``within_two``: the share of their errors below σ and 2σ (0.68 and 0.95 of a normal one)."""

    sigma: Floats
    alpha: float
    regulariser: float
    calibrated_on: int
    within_one: float
    within_two: float


def last_layer_rigidity(
    features: Floats, training: NDArray[np.bool_], held_out: NDArray[np.bool_], errors: Floats
) -> Rigidity | None:
    """From ``features [S, W]`` of all structures, which of them ``[S]`` the model was trained on and which calibrate,
    and ``errors [S]`` of the energies, NaN where unknown. None with less than ``FEWEST`` structures to calibrate on."""
    judged = held_out & np.isfinite(errors)
    if not training.any() or judged.sum() < FEWEST or not np.any(errors[judged]):
        return None
    own = features[training]
    eigenvalues, vectors = np.linalg.eigh(own.T @ own)
    largest = eigenvalues[-1]
    if not largest > 0:
        return None
    turned = (features @ vectors) ** 2
    squares = errors[judged] ** 2
    best: tuple[float, float, float] | None = None
    for part in _REGULARISERS:
        regulariser = float(part * largest)
        q = turned[judged] @ (1 / (np.maximum(eigenvalues, 0) + regulariser))
        if not (q > 0).all():
            continue
        alpha = float(np.mean(squares / q))
        surprise = float(np.mean(np.log(alpha * q)))  # the mean of error²/(α² q) is one for each
        if best is None or surprise < best[0]:
            best = surprise, alpha, regulariser
    if best is None:
        return None
    _, alpha, regulariser = best
    sigma = np.sqrt(alpha * (turned @ (1 / (np.maximum(eigenvalues, 0) + regulariser))))
    ratios = np.abs(errors[judged]) / sigma[judged]
    return Rigidity(
        sigma,
        float(np.sqrt(alpha)),
        regulariser,
        int(judged.sum()),
        float(np.mean(ratios < 1)),
        float(np.mean(ratios < 2)),
    )
