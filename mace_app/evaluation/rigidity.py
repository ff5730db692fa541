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

from mace_app.model import EnergyUncertainty

Floats = NDArray[np.float64]

# Tried as parts of the largest eigenvalue of FᵀF.
_REGULARISERS = np.logspace(-14, 0, 29)
FEWEST = 3


@dataclass(frozen=True)
class Rigidity:
    """``sigma [S]`` in the unit of the energy; the rest as in ``EnergyUncertainty``."""

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
    own = features[training]
    fitted = fit_uncertainty(own.T @ own, len(own), features[judged], errors[judged])
    if fitted is None:
        return None
    return Rigidity(
        fitted.sigma(features),
        fitted.alpha,
        fitted.regulariser,
        fitted.calibrated_on,
        fitted.within_one,
        fitted.within_two,
    )


def fit_uncertainty(gram: Floats, trained_on: int, held_out: Floats, errors: Floats) -> EnergyUncertainty | None:
    """From ``gram [W, W]``, FᵀF of the ``trained_on`` training structures, and features ``[H, W]`` and errors ``[H]``
    of held-out ones. None with less than ``FEWEST`` of the latter, and where features or errors are all zero."""
    if not trained_on or len(errors) < FEWEST or not np.any(errors) or not np.isfinite(gram).all():
        return None
    eigenvalues, vectors = np.linalg.eigh(gram)
    largest = eigenvalues[-1]
    if not largest > 0:
        return None
    eigenvalues = np.maximum(eigenvalues, 0)
    turned = (held_out @ vectors) ** 2
    best: tuple[float, float, float] | None = None
    for part in _REGULARISERS:
        regulariser = float(part * largest)
        q = turned @ (1 / (eigenvalues + regulariser))
        if not (q > 0).all():
            continue
        alpha = float(np.mean(errors**2 / q))
        surprise = float(np.mean(np.log(alpha * q)))  # the mean of error²/(α² q) is one for each
        if best is None or surprise < best[0]:
            best = surprise, alpha, regulariser
    if best is None:
        return None
    _, square, regulariser = best
    alpha = float(np.sqrt(square))
    factor = (vectors * (alpha / np.sqrt(eigenvalues + regulariser))).T
    ratios = np.abs(errors) / np.linalg.norm(held_out @ factor.T, axis=1)
    return EnergyUncertainty(
        factor=np.ascontiguousarray(factor),
        alpha=alpha,
        regulariser=regulariser,
        trained_on=trained_on,
        calibrated_on=len(errors),
        within_one=float(np.mean(ratios < 1)),
        within_two=float(np.mean(ratios < 2)),
    )
