"""Points in the plane that keep the neighbours which examples have among their features.

Paper: van der Maaten and Hinton 2008, "Visualizing Data using t-SNE" (JMLR 9): equation 1 with the search for the
perplexity, equations 4 and 5, algorithm 1 with its early exaggeration and momentum; Jacobs 1988 for the gains.

Equation: the points y minimise KL(P || Q), q_ij = w_ij / sum w with w_ij = 1 / (1 + |y_i - y_j|^2), p_ij the mean of
p_j|i and p_i|j over n, p_j|i proportional to exp(-|x_i - x_j|^2 / 2 s_i^2) with the s_i of the wanted perplexity.

All pairs are computed, in float32: up to about 2,000 points this takes less time than a tree does, on one core.

When not to use: beyond some thousand points, since time and memory grow with n^2. To read distances between groups, or
their sizes, off the map: neighbours are kept, nothing else.
"""

from __future__ import annotations

import numpy as np

_PERPLEXITY = 30.0
_STEPS = 400
_EARLY = 100  # steps in which neighbours attract each other more strongly
_EXAGGERATION = 12.0
_BISECTIONS = 40


def affinities(features: np.ndarray, perplexity: float) -> np.ndarray:
    """(n, n) p_ij: symmetric, zero on the diagonal, of sum 1.

    Only the 3 x perplexity nearest neighbours of an example count, as in van der Maaten 2014 (JMLR 15), section 4.1.

    Args:
        features: (n, d).
        perplexity: 2 to the entropy of each p_j|i in bits, roughly the number of neighbours that count; below n - 1.
    """
    n = len(features)
    squares = _squared_distances(features.astype(np.float64))
    np.fill_diagonal(squares, np.inf)
    count = min(n - 1, int(3 * perplexity) + 1)
    nearest = np.argpartition(squares, count - 1, axis=1)[:, :count]
    kept = np.take_along_axis(squares, nearest, axis=1)
    kept -= kept.min(axis=1, keepdims=True)
    kept /= max(float(np.median(kept)), 1e-300)
    low, high = np.full((n, 1), -12.0), np.full((n, 1), 12.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        shares = np.exp(-(10.0**middle) * kept)
        shares /= shares.sum(axis=1, keepdims=True)
        wide = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1, keepdims=True) > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    found = np.zeros((n, n))
    np.put_along_axis(found, nearest, shares, axis=1)
    made: np.ndarray = (found + found.T) / (2 * n)
    return made


def embedded(features: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(n, 2) float64 coordinates, the same for the same input.

    Args:
        features: (n, d), n >= 4.
        start: (n, 2) where the points start; their shape counts, not their size.
    """
    n = len(features)
    wanted = affinities(features, min(_PERPLEXITY, (n - 1) / 3)).astype(np.float32)
    size = max(float(start.std()), 1e-300)
    points = ((start - start.mean(axis=0)) / size * 1e-4).astype(np.float32)
    moved, gains = np.zeros_like(points), np.ones_like(points)
    rate = np.float32(max(n / _EXAGGERATION / 4, 50.0))  # Belkina et al. 2019, as in scikit-learn
    for step in range(_STEPS):
        early = step < _EARLY
        slope = gradient(points, wanted, _EXAGGERATION if early else 1.0)
        gains = np.maximum(np.where(slope * moved < 0, gains + 0.2, gains * 0.8), 0.01).astype(np.float32)
        moved = (0.5 if early else 0.8) * moved - rate * gains * slope
        points = points + moved
        points -= points.mean(axis=0)
    return points.astype(np.float64)


def gradient(points: np.ndarray, wanted: np.ndarray, exaggeration: float) -> np.ndarray:
    """(n, 2) slope of KL(e P || Q) in the points: 4 sum_j (e p_ij - q_ij) w_ij (y_i - y_j)."""
    one, lengths = np.ones((len(points), 1), dtype=points.dtype), (points**2).sum(axis=1, keepdims=True)
    # 1 + |y_i - y_j|^2 as one product; few passes over the pairs are what makes this fast.
    near = np.hstack([-2 * points, lengths + 1, one]) @ np.hstack([points, one, lengths]).T
    np.reciprocal(np.maximum(near, 1, out=near), out=near)
    np.fill_diagonal(near, 0.0)
    pulls = near * near.dtype.type(-1 / float(near.sum(dtype=np.float64)))
    pulls += near.dtype.type(exaggeration) * wanted if exaggeration != 1 else wanted
    pulls *= near
    sums = pulls @ np.hstack([points, one])
    slope: np.ndarray = 4 * (sums[:, -1:] * points - sums[:, :-1])
    return slope


def _squared_distances(points: np.ndarray) -> np.ndarray:
    lengths = (points**2).sum(axis=1)
    found = points @ points.T
    found *= -2
    found += lengths[:, None]
    found += lengths
    made: np.ndarray = np.maximum(found, 0, out=found)
    return made
