"""Features with fewer dimensions and nearly the same scores, for when they are scored many times over."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, hadamard

DIMENSIONS = 256  # a power of two, because there are Hadamard matrices of those sizes


def compressed(features: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """(n, d) features -> (n, dimensions): their largest principal directions, without taking off the mean.

    Distances and products between examples stay the same up to what the smallest directions held. The directions are
    turned by a Hadamard matrix, after which each of the new features has the same mean square: a score that
    standardises them leaves the proportions of the directions as they were, where it would have made all of them equal.

    Args:
        features: (n, d); returned as they are where d or n is no more than `dimensions`.
        dimensions: a power of two.

    When not to use: for a score that depends on how many features there are, such as the H-score by its shrinkage; for
    the score of a whole sample, where it costs a decomposition and saves none.
    """
    n, d = features.shape
    if min(n, d) <= dimensions:
        return features
    wide = features.astype(np.float64)
    gram = wide.T @ wide if d <= n else wide @ wide.T
    first = len(gram) - dimensions
    squares, vectors = eigh(gram, subset_by_index=(first, len(gram) - 1), overwrite_a=True, check_finite=False)
    along = wide @ vectors if d <= n else vectors * np.sqrt(np.maximum(squares, 0))
    turned: np.ndarray = along @ (hadamard(dimensions) / np.sqrt(dimensions))
    return turned.astype(features.dtype)
