"""A map of structures: two coordinates in which similar structures lie together."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A feature that varies by less than this part of the typical size of features is rounding.
_CONSTANT = 1e-6


def principal_components(features: Floats) -> tuple[Floats, list[float]] | None:
    """The first two principal components ``[S, 2]`` of ``features [S, F]``, each feature standardised, and the parts of
    the variance they explain; None where nothing varies.

    Signs are chosen so that the largest loading of each component is positive.
    """
    if len(features) < 2:
        return None
    deviations = features - features.mean(axis=0)
    spread = np.sqrt(np.mean(deviations**2, axis=0))
    varies = spread > _CONSTANT * np.sqrt(np.mean(features**2))
    if not varies.any():
        return None
    standardised = deviations[:, varies] / spread[varies]
    _, sizes, loadings = np.linalg.svd(standardised, full_matrices=False)
    chosen = loadings[:2]
    largest = np.argmax(np.abs(chosen).round(9), axis=1)  # of equal ones the first, whatever the rounding
    chosen = chosen * np.sign(chosen[np.arange(len(chosen)), largest])[:, None]
    coordinates = np.zeros((len(features), 2))
    coordinates[:, : len(chosen)] = standardised @ chosen.T
    explained = (sizes**2 / np.sum(sizes**2))[:2]
    return coordinates, [float(part) for part in explained]
